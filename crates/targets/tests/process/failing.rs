//! Instances that fail in every way there is.

use std::{fs, net::TcpListener};

use tidegate_types::{Digest, Duration, InstanceState, Probe};

use crate::world::{World, app, get, kill, process, until, until_true, wanted};

#[tokio::test]
async fn a_command_that_does_not_exist_is_fatal() {
    let world = World::new();
    let spec = process("no-such-command --port $PORT");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let facts = world.until("api@1", "a failure", |facts| facts.failure.is_some()).await;
    let failure = facts.failure.unwrap();
    assert!(failure.fatal);
    assert!(failure.what.contains("not found"), "{}", failure.what);
    assert!(failure.log.concat().contains("no-such-command"), "{:?}", failure.log);
    assert_eq!((facts.exits, failure.instance.as_str()), (1, "api@1.1"));
    // No second start for half a minute.
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    assert!(!world.instance("api@1", 2).exists());
}

#[tokio::test]
async fn a_file_that_cannot_be_executed_is_fatal() {
    let world = World::new();
    fs::write(world.path("artifacts/app/app"), "#!/bin/sh\n").unwrap();
    world.apply(&[wanted("api@1", &process("./app"), 1)]).await;
    let facts = world.until("api@1", "a failure", |facts| facts.failure.is_some()).await;
    let failure = facts.failure.unwrap();
    assert!(failure.fatal && failure.what.contains("could not be executed"), "{failure:?}");
}

#[tokio::test]
async fn a_missing_artifact_is_fatal_and_named() {
    let world = World::new();
    let mut lost = wanted("api@1", &process("true"), 1);
    lost.spec.artifact = Digest::new("sha256-lost");
    world.apply(&[lost]).await;
    let facts = world.until("api@1", "a failure", |facts| facts.failure.is_some()).await;
    let failure = facts.failure.unwrap();
    assert!(failure.fatal && failure.what.contains("sha256-lost"), "{failure:?}");
}

#[tokio::test]
async fn exits_are_counted_and_not_forgotten_when_the_control_plane_dies() {
    let mut world = World::new();
    let spec = process("echo going; exit 3");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let facts = world.until("api@1", "three exits", |facts| facts.exits >= 3).await;
    let failure = facts.failure.unwrap();
    assert!(!failure.fatal && failure.what.starts_with("exited with code 3 after"), "{failure:?}");
    assert_eq!(failure.log, ["going"]);
    world.crash();
    world.start();
    let adopted = world.facts("api@1").await;
    assert!(adopted.exits >= facts.exits, "{adopted:?}");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.until("api@1", "more exits", |facts| facts.exits > adopted.exits).await;
}

#[tokio::test]
async fn dead_instances_do_not_pile_up_and_stay_counted() {
    let world = World::new();
    let spec = app(&world, "");
    world.apply(&[wanted("api@1", &spec, 4)]).await;
    world.ready("api@1", 4).await;
    for _ in 0..2 {
        let before = world.facts("api@1").await.exits;
        for pid in world.reported("started") {
            kill(pid);
        }
        world.until("api@1", "all exits", |facts| facts.exits == before + 4).await;
        world.ready("api@1", 4).await;
    }
    let folder = world.instance("api@1", 1).parent().unwrap().to_owned();
    until_true("few folders", || {
        let folders = fs::read_dir(&folder).unwrap().flatten();
        folders.filter(|entry| entry.path().is_dir()).count() <= 4 + 5
    })
    .await;
    assert_eq!(world.facts("api@1").await.exits, 8);
}

#[tokio::test]
async fn an_instance_that_dies_is_replaced_and_leaves_the_endpoints() {
    let world = World::new();
    let die = world.path("die");
    let spec = app(&world, &format!("version=one die_when={}", die.display()));
    world.apply(&[wanted("api@1", &spec, 2)]).await;
    world.ready("api@1", 2).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    fs::write(&die, "").unwrap();
    world.until("api@1", "an exit", |facts| facts.exits == 1).await;
    let facts = world.ready("api@1", 2).await;
    assert_eq!(facts.exits, 1);
    let failure = facts.failure.unwrap();
    assert!(failure.what.starts_with("exited with code 1 after"), "{failure:?}");
    assert!(failure.log.concat().contains("dying as told by a file"), "{failure:?}");
    let dead = failure.instance.as_str();
    until("answers from the living only", async || {
        for _ in 0..4 {
            let (status, body) = get(address, "/").await.unwrap();
            if status != 200 || body.contains(&format!(" {dead} ")) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn never_ready_is_a_failure_at_the_deadline() {
    let world = World::new();
    let mut spec = app(&world, "ready=never");
    spec.health.deadline = Duration::from_millis(500);
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let facts = world.until("api@1", "a failure", |facts| facts.failure.is_some()).await;
    let failure = facts.failure.unwrap();
    assert_eq!(failure.what, "not ready within 500ms: GET /health answered 503");
    // A rollout does not wait for a second try; the target makes one all the same.
    assert_eq!((failure.fatal, facts.exits, facts.ready), (true, 1, 0));
    world.until("api@1", "another try", |facts| facts.exits >= 2).await;
    // Told to stop each time, though there was nothing to drain.
    assert!(!world.reported("stopped").is_empty());
}

#[tokio::test]
async fn ready_and_then_not_takes_no_requests_and_comes_back() {
    let world = World::new();
    let unready = world.path("unready");
    let mut spec = app(&world, &format!("unready_while={}", unready.display()));
    spec.health.live = Probe::Tcp;
    spec.health.ready = Some(Probe::Http { path: "/ready".to_owned() });
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    fs::write(&unready, "").unwrap();
    let facts =
        world.until("api@1", "unready", |facts| facts.ready == 0 && facts.failed_checks >= 3).await;
    assert_eq!(facts.instances[0].state, InstanceState::Unready);
    until("no endpoint", async || (get(address, "/").await.unwrap().0 == 503).then_some(())).await;
    fs::remove_file(&unready).unwrap();
    let facts = world.ready("api@1", 1).await;
    // The same instance: it was alive all the time.
    assert_eq!(facts.instances[0].id.as_str(), "api@1.1");
    assert_eq!((facts.exits, facts.failed_checks), (0, 0));
    until("an endpoint", async || (get(address, "/").await.unwrap().0 == 200).then_some(())).await;
}

#[tokio::test]
async fn an_instance_that_is_not_alive_any_more_is_replaced() {
    let world = World::new();
    let unready = world.path("unready");
    let spec = app(&world, &format!("unready_while={}", unready.display()));
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    fs::write(&unready, "").unwrap();
    // The only instance stays until its successor is ready.
    let facts = world.until("api@1", "a successor", |facts| facts.running == 2).await;
    assert_eq!((facts.exits, facts.draining), (0, 0));
    fs::remove_file(&unready).unwrap();
    // Either the first recovers and the second is not needed, or the second takes over.
    let facts = world.ready("api@1", 1).await;
    assert!(facts.exits <= 1);
}

#[tokio::test]
async fn one_of_two_that_hangs_is_replaced_and_says_why() {
    let world = World::new();
    let hang = world.path("hang");
    let mut spec = app(&world, &format!("hang_when={}", hang.display()));
    spec.health.timeout = Duration::from_millis(300);
    spec.health.retries = 2;
    world.apply(&[wanted("api@1", &spec, 2)]).await;
    world.ready("api@1", 2).await;
    fs::write(&hang, "").unwrap();
    let facts = world.until("api@1", "a replacement", |facts| facts.exits >= 1).await;
    let what = facts.failure.clone().unwrap().what;
    assert!(
        what.starts_with("replaced after ")
            && what.ends_with("failed checks in a row: GET /health did not answer within 300ms"),
        "{what}"
    );
    // One at a time: the other one is still there.
    assert!(facts.draining <= 1, "{facts:?}");
    fs::remove_file(&hang).unwrap();
    world.ready("api@1", 2).await;
}

#[tokio::test]
async fn a_taken_port_is_named_and_used_when_it_is_free() {
    let world = World::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let mut spec = app(&world, "");
    spec.fixed_port = Some(port);
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let facts = world.until("api@1", "a failure", |facts| facts.failure.is_some()).await;
    let failure = facts.failure.unwrap();
    assert!(failure.what.contains(&format!("port {port} is already taken")), "{failure:?}");
    world
        .until("api@1", "no more hope", |facts| {
            facts.failure.as_ref().is_some_and(|failure| failure.fatal)
        })
        .await;
    drop(other);
    let facts = world.ready("api@1", 1).await;
    assert_eq!(facts.instances[0].place, format!("127.0.0.1:{port}"));
    // On one port there is never more than one.
    world.apply(&[wanted("api@1", &spec, 0)]).await;
    world.gone("api@1").await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_started() {
    let world = World::new();
    // A file where the folder should be fails every write, as a full disk does.
    let folder = world.instance("api@1", 1).parent().unwrap().to_owned();
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    fs::write(&folder, "").unwrap();
    let spec = app(&world, "");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let facts = world.until("api@1", "a failure", |facts| facts.failure.is_some()).await;
    assert_eq!((facts.running, facts.exits), (0, 0));
    fs::remove_file(&folder).unwrap();
    world.ready("api@1", 1).await;
}
