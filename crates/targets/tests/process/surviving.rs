//! The control plane dies at the worst moments, and nobody notices.

use std::fs;

use tidegate_shim::ProcessIdentity;
use tidegate_targets::ProcessTarget;
use tidegate_types::{Duration, Probe};

use crate::world::{Load, World, app, get, is_alive, kill, process, until, until_true, wanted};

#[tokio::test]
async fn a_new_control_plane_finds_everything_as_it_was() {
    let mut world = World::new();
    let spec = app(&world, "version=one");
    world.apply(&[wanted("api@1", &spec, 2)]).await;
    world.ready("api@1", 2).await;
    let address = world.route(&world.routes(7, &[("api@1", 100)])).await;
    let proxy = world.proxy().unwrap();
    let load = Load::on(address);
    for _ in 0..3 {
        world.crash();
        world.start();
        // Known at once, before anybody says what is wanted.
        let facts = world.facts("api@1").await;
        assert_eq!((facts.running, facts.ready, facts.exits), (2, 2, 0), "{facts:?}");
        until("the table in force", async || {
            world.observe().await.routes.epoch.map(|epoch| assert_eq!(epoch.0, 7))
        })
        .await;
        world.apply(&[wanted("api@1", &spec, 2)]).await;
        assert_eq!(world.route(&world.routes(7, &[("api@1", 100)])).await, address);
    }
    world.ready("api@1", 2).await;
    load.assert_none_failed().await;
    assert_eq!(world.proxy(), Some(proxy));
    assert_eq!(world.reported("started").len(), 2);
    // It goes on from where the tables were.
    world.route(&world.routes(8, &[("api@1", 100)])).await;
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
}

#[tokio::test]
async fn endpoints_are_kept_up_to_date_before_anybody_routes_again() {
    let mut world = World::new();
    let spec = app(&world, "version=one");
    world.apply(&[wanted("api@1", &spec, 2)]).await;
    world.ready("api@1", 2).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    world.crash();
    kill(world.reported("started")[0]);
    world.start();
    // What has ended meanwhile is counted, and nothing is started unasked.
    let facts = world.until("api@1", "one left", |facts| facts.running == 1).await;
    assert_eq!((facts.exits, facts.ready), (1, 1));
    let living = facts.instances[0].id.to_string();
    until("answers from the living only", async || {
        for _ in 0..4 {
            let (status, body) = get(address, "/").await.unwrap();
            if status != 200 || !body.contains(&living) {
                return None;
            }
        }
        Some(())
    })
    .await;
    world.apply(&[wanted("api@1", &spec, 2)]).await;
    assert_eq!(world.ready("api@1", 2).await.exits, 1);
}

#[tokio::test]
async fn a_drain_goes_on_where_it_was() {
    let mut world = World::new();
    let spec = app(&world, "version=one");
    world.apply(&[wanted("api@1", &spec, 2)]).await;
    world.ready("api@1", 2).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    // At least one request for each instance. The proxy asks first whom it knows to be ready.
    let mut slow = Vec::new();
    loop {
        slow.push(tokio::spawn(async move { get(address, "/slow?ms=1000").await }));
        let begun = slow.len() as u64;
        let in_flight = until("the request in flight", async || {
            use tidegate_targets::Target;
            let traffic = world.target().traffic(&world.scope).await.unwrap();
            (traffic.in_flight.values().sum::<u64>() == begun).then_some(traffic.in_flight)
        })
        .await;
        if in_flight.len() == 2 {
            break;
        }
    }
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.until("api@1", "draining", |facts| facts.draining == 1).await;
    world.crash();
    world.start();
    assert_eq!(world.facts("api@1").await.draining, 1);
    // Nobody has to say again that it leaves.
    let facts = world.until("api@1", "one left", |facts| facts.running == 1).await;
    assert_eq!((facts.exits, facts.ready), (0, 1));
    for request in slow {
        assert_eq!(request.await.unwrap().unwrap().0, 200);
    }
}

#[tokio::test]
async fn an_instance_outlives_its_shim_and_its_end_is_unknown() {
    let world = World::new();
    let spec = app(&world, "version=one");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    let claim = fs::read(world.instance("api@1", 1).join("claim")).unwrap();
    let shim: ProcessIdentity = serde_json::from_slice(&claim).unwrap();
    kill(shim.pid);
    until_true("the shim's end", || !shim.is_alive()).await;
    assert_eq!(get(address, "/").await.unwrap().0, 200);
    assert_eq!(world.facts("api@1").await.exits, 0);
    kill(world.reported("started")[0]);
    let facts = world.until("api@1", "an exit", |facts| facts.exits == 1).await;
    let what = facts.failure.unwrap().what;
    assert!(what.contains("unknown"), "{what}");
    world.ready("api@1", 1).await;
}

#[tokio::test]
async fn an_instance_that_became_ready_unseen_is_not_too_late() {
    let mut world = World::new();
    let go = world.path("unready");
    fs::write(&go, "").unwrap();
    let mut spec = app(&world, &format!("unready_while={}", go.display()));
    spec.health.deadline = Duration::from_secs(3);
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let facts = world.until("api@1", "a start", |facts| facts.running == 1).await;
    let started = facts.instances[0].since;
    world.crash();
    fs::remove_file(&go).unwrap();
    until_true("the deadline", || crate::world::now().since(started) > Duration::from_secs(3))
        .await;
    world.start();
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let facts = world.ready("api@1", 1).await;
    assert_eq!((facts.exits, facts.failure), (0, None));
}

#[tokio::test]
async fn down_leaves_nothing_running_and_forgets_nothing() {
    let mut world = World::new();
    let spec = app(&world, "fork=1");
    let mut worker = process("exec sleep 600");
    worker.listens = false;
    worker.health.live = Probe::Running { minimum: Duration::ZERO };
    world.apply(&[wanted("api@1", &spec, 2), wanted("worker@1", &worker, 1)]).await;
    world.ready("api@1", 2).await;
    world.ready("worker@1", 1).await;
    world.route(&world.routes(1, &[("api@1", 100)])).await;
    let processes: Vec<u32> = world.reports().into_iter().map(|(_, pid)| pid).collect();
    assert_eq!(processes.len(), 4);
    let proxy = world.proxy().unwrap();
    world.target().shutdown(true).await;
    assert!(!processes.into_iter().any(is_alive));
    assert!(!is_alive(proxy));
    assert_eq!(world.reported("stopped").len(), 2);
    world.crash();
    world.start();
    let facts = world.facts("api@1").await;
    assert_eq!((facts.running, facts.exits), (0, 0));
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let facts = world.ready("api@1", 1).await;
    assert_eq!(facts.instances[0].id.as_str(), "api@1.3");
}

#[tokio::test]
async fn down_finds_what_was_just_being_started() {
    let world = World::new();
    let spec = app(&world, "");
    world.apply(&[wanted("api@1", &spec, 3)]).await;
    until_true("the first folder", || world.instance("api@1", 1).exists()).await;
    world.target().shutdown(true).await;
    assert!(!world.reported("started").into_iter().any(is_alive));
    assert_eq!(world.proxy(), None);
}

#[tokio::test]
async fn instances_are_found_without_the_record_of_their_revision() {
    let mut world = World::new();
    let spec = app(&world, "");
    world.apply(&[wanted("api@1", &spec, 2)]).await;
    world.ready("api@1", 2).await;
    world.crash();
    let record = world.instance("api@1", 1).with_file_name("revision.json");
    fs::write(&record, "{").unwrap();
    world.start();
    world.apply(&[wanted("api@1", &spec, 2)]).await;
    world.ready("api@1", 2).await;
    assert_eq!(world.reported("started").len(), 2);
}

#[tokio::test]
async fn a_control_plane_that_ends_leaves_everything_running() {
    let world = World::new();
    let spec = app(&world, "version=one");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    world.target().shutdown(false).await;
    assert_eq!(get(address, "/").await.unwrap().0, 200);
    assert!(world.reported("stopped").is_empty());
}

#[tokio::test]
async fn a_home_too_deep_for_a_socket_is_told() {
    let world = World::new();
    let mut options = world.options();
    options.home = world.path(&"deep/".repeat(20));
    let error = ProcessTarget::new(options).unwrap_err();
    assert!(error.to_string().contains("shorter path"), "{error}");
}
