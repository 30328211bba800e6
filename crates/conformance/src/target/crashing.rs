//! The control plane dies between doing and seeing.

use tidegate_types::{Duration, Epoch, Workload};

use super::{
    Behaviour, Harness,
    world::{
        Load, answers_come_from, apply, facts, forgotten, good, in_flight, observe, ready,
        revision, route, stays, until, wanted,
    },
};

async fn restart(harness: &mut dyn Harness) {
    harness.crash().await;
    harness.start().await;
}

/// What was asked for and not yet seen is found, however often that happens.
pub async fn a_crash_between_apply_and_observe_starts_nothing_twice(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 2)];
    for _ in 0..5 {
        apply(harness, 1, &list).await;
        restart(harness).await;
    }
    apply(harness, 1, &list).await;
    let facts = ready(harness, "api@1", 2).await;
    assert_eq!(facts.exits, 0, "{facts:?}");
    stays(harness, "two instances", async || {
        super::world::facts(harness, "api@1").await.running == 2
    })
    .await;
    assert_eq!(harness.starts(&revision("api@1")), 2);
}

/// An instance that is not ready yet is waited for by whoever comes next.
pub async fn a_crash_while_instances_start_starts_nothing_twice(harness: &mut dyn Harness) {
    let list = [wanted(harness, "api@1", Behaviour::Slow, 2)];
    apply(harness, 1, &list).await;
    until(harness, "two instances", async || {
        (facts(harness, "api@1").await.running == 2).then_some(())
    })
    .await;
    restart(harness).await;
    assert_eq!(facts(harness, "api@1").await.running, 2);
    apply(harness, 1, &list).await;
    let facts = ready(harness, "api@1", 2).await;
    assert_eq!(facts.exits, 0, "{facts:?}");
    assert_eq!(harness.starts(&revision("api@1")), 2);
}

/// A table that was answered is in force whoever looks, and no request notices who died.
pub async fn a_crash_between_route_and_observe_loses_no_table(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 1), good(harness, "api@2", 1)];
    apply(harness, 1, &list).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    let address = route(harness, 1, &[("api@1", 100), ("api@2", 0)]).await;
    let load = Load::on(harness, &address);
    for epoch in 2..6 {
        let (name, shares) = if epoch % 2 == 0 { ("api@2", [0, 100]) } else { ("api@1", [100, 0]) };
        let shares = [("api@1", shares[0]), ("api@2", shares[1])];
        let table = super::world::table(harness, epoch, &shares);
        harness.target().route(&table).await.unwrap();
        harness.crash().await;
        answers_come_from(harness, &address, name).await;
        harness.start().await;
        until(harness, "the table in force", async || {
            let routes = observe(harness).await.routes;
            let told = routes.epoch?;
            assert_eq!((told, routes.address.as_ref()), (Epoch(epoch), Some(&address)));
            Some(())
        })
        .await;
        apply(harness, 1, &list).await;
        answers_come_from(harness, &address, name).await;
        assert_eq!(route(harness, epoch, &shares).await, address);
    }
    load.assert_all_answered().await;
    assert_eq!(harness.starts(&revision("api@1")), 1);
    assert_eq!(harness.starts(&revision("api@2")), 1);
}

/// It tells what it finds, also of instances that died meanwhile, and waits to be told.
pub async fn a_new_control_plane_starts_and_stops_nothing_unasked(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 2), good(harness, "api@2", 1)];
    apply(harness, 1, &list).await;
    ready(harness, "api@1", 2).await;
    ready(harness, "api@2", 1).await;
    restart(harness).await;
    let found = observe(harness).await;
    assert_eq!(found.revisions[&revision("api@1")].ready, 2, "{found:?}");
    assert_eq!(found.revisions[&revision("api@2")].ready, 1, "{found:?}");
    stays(harness, "as it was found", async || {
        let revisions = observe(harness).await.revisions;
        revisions[&revision("api@1")].running == 2 && revisions[&revision("api@2")].running == 1
    })
    .await;
    harness.kill_instances().await;
    until(harness, "none running", async || {
        (facts(harness, "api@1").await.running == 0).then_some(())
    })
    .await;
    stays(harness, "none started", async || facts(harness, "api@1").await.running == 0).await;
    assert_eq!(harness.starts(&revision("api@1")), 2);
    apply(harness, 1, &list).await;
    ready(harness, "api@1", 2).await;
}

/// What leaves goes on leaving, and what it still answers is answered.
pub async fn a_drain_goes_on_over_a_crash(harness: &mut dyn Harness) {
    let two = good(harness, "api@2", 1);
    apply(harness, 1, &[good(harness, "api@1", 1), two.clone()]).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    let address = route(harness, 1, &[("api@1", 100), ("api@2", 0)]).await;
    let visit = harness.visitor()(&address, Duration::from_millis(1_000));
    let held = tokio::spawn(visit);
    in_flight(harness, 1).await;
    route(harness, 2, &[("api@1", 0), ("api@2", 100)]).await;
    apply(harness, 2, std::slice::from_ref(&two)).await;
    restart(harness).await;
    apply(harness, 2, &[two]).await;
    let answer = held.await.unwrap();
    assert_eq!((answer.status, answer.revision), (200, Some(revision("api@1"))));
    forgotten(harness, "api@1").await;
    assert_eq!(facts(harness, "api@2").await.running, 1);
}

/// Every exit is counted once, and the count never falls.
pub async fn exits_are_counted_and_never_forgotten(harness: &mut dyn Harness) {
    let list = [wanted(harness, "api@1", Behaviour::Dying, 1)];
    let mut counted = 0;
    for _ in 0..4 {
        apply(harness, 1, &list).await;
        counted = until(harness, "one more exit", async || {
            let facts = facts(harness, "api@1").await;
            assert!(facts.exits >= counted, "{facts:?}");
            (facts.exits > counted && facts.failure.is_some()).then_some(facts.exits)
        })
        .await;
        assert!(counted <= harness.starts(&revision("api@1")));
        restart(harness).await;
        let found = facts(harness, "api@1").await;
        assert!(found.exits >= counted && found.failure.is_some(), "{found:?}");
    }
}

/// Nobody looked when they died; whoever looks next knows.
pub async fn exits_that_nobody_saw_are_counted(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 3)];
    apply(harness, 1, &list).await;
    ready(harness, "api@1", 3).await;
    harness.crash().await;
    harness.kill_instances().await;
    for _ in 0..2 {
        harness.start().await;
        until(harness, "three exits", async || {
            let facts = facts(harness, "api@1").await;
            assert!(facts.exits <= 3, "{facts:?}");
            (facts.exits == 3 && facts.running == 0 && facts.failure.is_some()).then_some(())
        })
        .await;
        harness.crash().await;
    }
    harness.start().await;
    apply(harness, 1, &list).await;
    assert_eq!(ready(harness, "api@1", 3).await.exits, 3);
}

/// One that was given up because it was never ready is counted when that is decided, and not again
/// when it has ended, whoever sees that.
pub async fn what_is_never_ready_is_counted_once(harness: &mut dyn Harness) {
    let mut late = wanted(harness, "api@1", Behaviour::Slow, 1);
    let Workload::Process(process) = &mut late.spec.workload else { return };
    process.health.deadline = Duration::from_millis(20);
    let mut counted = 0;
    for round in 0..4 {
        apply(harness, 1, std::slice::from_ref(&late)).await;
        counted = until(harness, "one more", async || {
            let exits = facts(harness, "api@1").await.exits;
            (exits > counted).then_some(exits)
        })
        .await;
        if round % 2 == 0 {
            restart(harness).await;
        }
        stays(harness, "counted once", async || {
            let found = facts(harness, "api@1").await;
            let failed = found.failure.expect("one failed").instance;
            let number = failed.as_str().rsplit('.').next().and_then(|number| number.parse().ok());
            found.exits >= counted && number.is_some_and(|number: u32| found.exits <= number)
        })
        .await;
    }
}
