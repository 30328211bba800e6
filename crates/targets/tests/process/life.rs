//! Instances come, serve and go as they are told.

use tidegate_targets::Target;
use tidegate_types::{Duration, InstanceState, Probe, RevisionId};

use crate::world::{Load, World, app, get, is_alive, process, until, until_true, wanted};

#[tokio::test]
async fn what_is_wanted_is_started_and_told_what_it_has_to_know() {
    let world = World::new();
    let mut told = process("env; sleep 600");
    told.health.live = Probe::Running { minimum: Duration::ZERO };
    told.environment.insert("DECLARED".to_owned(), "yes".to_owned());
    world.apply(&[wanted("api@1", &told, 2)]).await;
    let facts = world.ready("api@1", 2).await;
    assert_eq!(facts.exits, 0);
    assert!(facts.failure.is_none());
    assert!(facts.instances.iter().all(|instance| instance.state == InstanceState::Ready));
    let places: Vec<_> = facts.instances.iter().map(|instance| &instance.place).collect();
    assert_ne!(places[0], places[1]);
    let data = world.home().join("data/shop/production/api");
    assert!(data.is_dir());
    let expected = [
        "DECLARED=yes".to_owned(),
        "HOST=127.0.0.1".to_owned(),
        format!("PORT={}", places[1].rsplit(':').next().unwrap()),
        "TIDEGATE_PROJECT=shop".to_owned(),
        "TIDEGATE_ENVIRONMENT=production".to_owned(),
        "TIDEGATE_COMPONENT=api".to_owned(),
        "TIDEGATE_RELEASE=r-1".to_owned(),
        "TIDEGATE_VERSION=1.0".to_owned(),
        "TIDEGATE_REVISION=api@1".to_owned(),
        "TIDEGATE_INSTANCE=api@1.2".to_owned(),
        format!("TIDEGATE_DATA={}", data.display()),
        format!("PWD={}", world.path("artifacts/app").canonicalize().unwrap().display()),
    ];
    let found = until("the output", async || {
        let lines =
            world.target().logs(&world.scope, &[RevisionId::new("api@1")], 100).await.unwrap();
        let texts: Vec<_> = lines
            .into_iter()
            .filter(|line| line.instance.as_str() == "api@1.2")
            .map(|line| line.text)
            .collect();
        expected.iter().all(|line| texts.contains(line)).then_some(texts)
    })
    .await;
    assert!(!found.iter().any(|line| line.starts_with("CARGO")), "{found:?}");
}

#[tokio::test]
async fn a_shrink_loses_no_request_and_takes_the_newest() {
    let world = World::new();
    let spec = app(&world, "version=one");
    world.apply(&[wanted("api@1", &spec, 3)]).await;
    world.ready("api@1", 3).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    let load = Load::on(address);
    let slow = tokio::spawn(async move { get(address, "/slow?ms=300").await });
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let facts = world.ready("api@1", 1).await;
    assert_eq!(facts.instances[0].id.as_str(), "api@1.1");
    assert_eq!(facts.exits, 0);
    assert_eq!(world.reported("stopped").len(), 2);
    world.apply(&[wanted("api@1", &spec, 3)]).await;
    let facts = world.ready("api@1", 3).await;
    // Numbers are never used again.
    let ids: Vec<_> = facts.instances.iter().map(|instance| instance.id.as_str()).collect();
    assert_eq!(ids, ["api@1.1", "api@1.4", "api@1.5"]);
    let (status, body) = slow.await.unwrap().unwrap();
    assert_eq!(status, 200, "{body}");
    load.assert_none_failed().await;
}

#[tokio::test]
async fn an_instance_that_leaves_answers_what_it_was_asked() {
    let world = World::new();
    let spec = app(&world, "version=one");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    let slow = tokio::spawn(async move { get(address, "/slow?ms=1000").await });
    until("the request in flight", async || {
        let traffic = world.target().traffic(&world.scope).await.unwrap();
        (traffic.in_flight.values().sum::<u64>() == 1).then_some(())
    })
    .await;
    world.apply(&[wanted("api@1", &spec, 0)]).await;
    world.until("api@1", "draining", |facts| facts.draining == 1 && facts.ready == 0).await;
    let (status, body) = slow.await.unwrap().unwrap();
    assert_eq!((status, &*body), (200, "one api@1.1 /slow?ms=1000\n"));
    world.gone("api@1").await;
    assert_eq!(world.facts("api@1").await.exits, 0);
}

#[tokio::test]
async fn requests_that_never_end_are_waited_for_no_longer_than_the_drain() {
    let world = World::new();
    let mut spec = app(&world, "on_term=ignore");
    spec.stop.drain = Duration::from_millis(100);
    spec.stop.timeout = Duration::from_millis(100);
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    let endless = tokio::spawn(async move { get(address, "/slow?ms=600000").await });
    until("the request in flight", async || {
        let traffic = world.target().traffic(&world.scope).await.unwrap();
        (traffic.in_flight.values().sum::<u64>() == 1).then_some(())
    })
    .await;
    world.apply(&[wanted("api@1", &spec, 0)]).await;
    world.gone("api@1").await;
    // Killed, because it ignores the signal; that was asked for and is no failure.
    let facts = world.facts("api@1").await;
    assert_eq!((facts.exits, facts.failure), (0, None));
    endless.abort();
}

#[tokio::test]
async fn what_an_instance_forked_goes_with_it() {
    let world = World::new();
    let spec = app(&world, "fork=1");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    let children = world.reported("forked");
    assert!(children.len() == 1 && is_alive(children[0]));
    world.apply(&[wanted("api@1", &spec, 0)]).await;
    world.gone("api@1").await;
    assert!(!is_alive(children[0]));
}

#[tokio::test]
async fn a_worker_needs_no_port_and_does_not_drain() {
    let world = World::new();
    let mut worker = process("test -z \"$PORT\" && exec sleep 600");
    worker.listens = false;
    worker.health.live = Probe::Running { minimum: Duration::from_millis(20) };
    world.apply(&[wanted("worker@1", &worker, 2)]).await;
    world.ready("worker@1", 2).await;
    // Nobody routes to it, so its long drain is no reason to wait.
    world.apply(&[wanted("worker@1", &worker, 0)]).await;
    world.gone("worker@1").await;
}

#[tokio::test]
async fn a_revision_that_is_not_named_is_stopped_and_forgotten() {
    let world = World::new();
    let spec = app(&world, "");
    world.apply(&[wanted("api@1", &spec, 1), wanted("api@2", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    world.ready("api@2", 1).await;
    world.apply(&[wanted("api@2", &spec, 1)]).await;
    until("the revision to be forgotten", async || {
        let known = world.observe().await.revisions;
        (!known.contains_key(&RevisionId::new("api@1"))).then_some(())
    })
    .await;
    until_true("its folder to be gone", || !world.instance("api@1", 1).parent().unwrap().exists())
        .await;
    assert_eq!(world.facts("api@2").await.ready, 1);
}

#[tokio::test]
async fn a_flood_of_output_is_bounded_and_its_end_can_be_read() {
    let world = World::new();
    let spec = app(&world, "flood=1");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    let folder = world.instance("api@1", 1);
    until_true("a rotation", || folder.join("log.1").exists()).await;
    let lines = world.target().logs(&world.scope, &[RevisionId::new("api@1")], 50).await.unwrap();
    assert!(!lines.is_empty() && lines.len() <= 50);
    assert!(lines.iter().all(|line| line.release.as_str() == "r-1"));
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        // One that was rotated away meanwhile has no size.
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        assert!(size <= 100_000, "{:?} {size}", entry.path());
    }
}
