//! Deployments through the whole loop.

use std::sync::atomic::Ordering;

use tidegate_core::{FailureCode, Outcome, Rejected};
use tidegate_engine::{Command, DeploymentRequest, Error, Verb, Wish};
use tidegate_types::{DeploymentKind, Share};

use crate::world::{World, deploy, ended, request, revision, row, scope, until};

fn command(verb: Verb) -> Command {
    Command { verb, deployment: None, place: None, message: None, actor: "bo".into() }
}

fn earlier(release: Option<&str>, unverified: bool) -> DeploymentRequest {
    let wish = Wish::Earlier { release: release.map(ToOwned::to_owned), unverified };
    DeploymentRequest { wish, ..request() }
}

#[tokio::test(start_paused = true)]
async fn a_good_release_goes_through_and_is_in_the_history() {
    let world = World::new();
    let engine = world.with_first().await;
    let id = deploy(&engine).await.unwrap();
    assert_eq!(ended(&engine, id).await, Outcome::Succeeded);
    assert_eq!(row(&world, id).await, ("succeeded".into(), DeploymentKind::Deploy));
    let kinds: Vec<String> = world
        .store
        .deployment_events(id, 0, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("requested"));
    assert_eq!(kinds.last().map(String::as_str), Some("ended"));
    let epochs: Vec<u64> = world.target.tables().iter().map(|table| table.epoch.0).collect();
    assert!(epochs.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_bad_release_is_caught_by_its_error_rate() {
    let world = World::new();
    let engine = world.with_first().await;
    world.target.bad.lock().unwrap().push(revision(2));
    let id = deploy(&engine).await.unwrap();
    assert_eq!(ended(&engine, id).await, Outcome::RolledBack);
    let view = until(&engine, "confirmation", |view| view.confirmed).await;
    let failure = view.latest.unwrap().failure.unwrap();
    assert_eq!(failure.code, FailureCode::Guard);
    assert!(failure.evidence.unwrap().contains("the limit is 5%"));
    assert_eq!(world.target.share(&revision(2)), Share::NONE);
    assert_eq!(world.target.share(&revision(1)), Share::ALL);
    // 16: nothing tries it again by itself.
    let calls = world.plans.calls.load(Ordering::Relaxed);
    tokio::time::sleep(std::time::Duration::from_mins(10)).await;
    assert_eq!(world.plans.calls.load(Ordering::Relaxed), calls);
    assert!(engine.view(&scope()).await.unwrap().borrow().deployment.is_none());
}

#[tokio::test(start_paused = true)]
async fn counters_that_hang_hold_the_bake_and_never_an_abort() {
    let world = World::new();
    let engine = world.with_first().await;
    world.target.counters_hang.store(true, Ordering::Relaxed);
    let id = deploy(&engine).await.unwrap();
    until(&engine, "the hold", |view| {
        view.deployment
            .as_ref()
            .and_then(|deployment| deployment.waiting.as_ref())
            .is_some_and(|waiting| waiting.on.contains("enough evidence"))
    })
    .await;
    let before = tokio::time::Instant::now();
    engine.command(&scope(), command(Verb::Abort)).await.unwrap();
    assert_eq!(ended(&engine, id).await, Outcome::RolledBack);
    assert!(before.elapsed() < std::time::Duration::from_secs(1), "simulated time");
}

#[tokio::test(start_paused = true)]
async fn without_traffic_a_person_can_skip_the_hold() {
    let world = World::new();
    let engine = world.with_first().await;
    world.target.no_traffic.store(true, Ordering::Relaxed);
    let id = deploy(&engine).await.unwrap();
    for _ in 0..2 {
        until(&engine, "a hold", |view| {
            view.deployment
                .as_ref()
                .and_then(|deployment| deployment.waiting.as_ref())
                .is_some_and(|waiting| waiting.on.contains("0 of 20 requests"))
        })
        .await;
        engine.command(&scope(), command(Verb::Skip)).await.unwrap();
    }
    assert_eq!(ended(&engine, id).await, Outcome::Succeeded);
    let events = world.store.deployment_events(id, 0, 100).await.unwrap();
    let skips = events.iter().filter(|event| event.kind == "skipped");
    assert!(skips.clone().all(|event| event.actor.as_deref() == Some("bo")));
    assert_eq!(skips.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_deployment_is_refused_and_leaves_no_trace() {
    let world = World::new();
    let engine = world.with_first().await;
    let id = deploy(&engine).await.unwrap();
    let refused = deploy(&engine).await.unwrap_err();
    assert!(matches!(refused, Error::Rejected(Rejected::Busy { holder, .. }) if holder == id));
    assert_eq!(ended(&engine, id).await, Outcome::Succeeded);
    let next = deploy(&engine).await.unwrap();
    assert_eq!(next.0, id.0 + 1, "no number was used up");
}

#[tokio::test(start_paused = true)]
async fn a_failed_build_changes_nothing() {
    let world = World::new();
    let engine = world.with_first().await;
    world.plans.fails.store(true, Ordering::Relaxed);
    let tables = world.target.tables().len();
    let id = deploy(&engine).await.unwrap();
    assert_eq!(ended(&engine, id).await, Outcome::Failed);
    assert_eq!(world.target.tables().len(), tables);
}

#[tokio::test(start_paused = true)]
async fn rolling_back_uses_what_is_warm() {
    let world = World::new();
    let engine = world.with_first().await;
    let id = deploy(&engine).await.unwrap();
    ended(&engine, id).await;
    let id = engine.deploy(earlier(None, false)).await.unwrap();
    assert_eq!(ended(&engine, id).await, Outcome::Succeeded);
    assert_eq!(row(&world, id).await.1, DeploymentKind::Rollback);
    assert_eq!(world.target.share(&revision(1)), Share::ALL, "the very same revision");
}

#[tokio::test(start_paused = true)]
async fn without_a_verified_release_there_is_no_way_back() {
    let world = World::new();
    let engine = world.with_first().await;
    let refused = engine.deploy(earlier(None, false)).await.unwrap_err();
    assert!(matches!(refused, Error::NoTarget { .. }), "{refused}");
    let refused = engine.deploy(earlier(Some("r-9"), false)).await.unwrap_err();
    assert!(
        matches!(&refused, Error::NoTarget { mend, .. } if mend.contains("--unverified")),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_refused_fails_the_deployment_before_anything_moved() {
    let world = World::new();
    let engine = world.with_first().await;
    world.target.refuse.store(true, Ordering::Relaxed);
    let id = deploy(&engine).await.unwrap();
    assert_eq!(ended(&engine, id).await, Outcome::Failed);
    let view = engine.view(&scope()).await.unwrap().borrow().clone();
    let failure = view.latest.clone().unwrap().failure.unwrap();
    assert!(failure.what.contains("address in use"), "{}", failure.what);
    assert_eq!(world.target.share(&revision(1)), Share::ALL);
}
