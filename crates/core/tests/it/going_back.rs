//! Ways back told from what went wrong to what serves in the end.

use tidegate_core::{Command, Event, FailureCode, Outcome};
use tidegate_manifest::Strategy;
use tidegate_types::{DeploymentKind, InstanceId, RevisionId, Share};

use crate::{
    shop::{Kind, Piece, Shipment},
    stories::{api, canary, revision, second, with_first},
    world::{Behaviour, GOOD, Part, World, component},
};

const HOUR: u64 = 3_600_000;

/// A release of these pieces.
pub(crate) fn release(number: u32, pieces: Vec<Piece>) -> Shipment {
    Shipment {
        number,
        pieces,
        guards: "[error_rate > 5% for 5s]".to_owned(),
        without_evidence: "hold",
        port: 8080,
    }
}

pub(crate) fn service(replicas: u32, content: u32) -> Piece {
    Piece {
        name: "api",
        kind: Kind::Service,
        replicas,
        strategy: "{ blue_green: { bake: 5s, keep: 1m } }".to_owned(),
        content,
        path: "/",
    }
}

fn back(world: &World, name: &str) -> bool {
    world.events.iter().any(
        |(_, event)| matches!(event, Event::WentBack { component, .. } if component.as_str() == name),
    )
}

/// Why a component could not go back.
fn nowhere(world: &World) -> Option<&str> {
    world.events.iter().find_map(|(_, event)| match event {
        Event::CouldNotGoBack { why, .. } => Some(why.as_str()),
        _ => None,
    })
}

pub(crate) fn never_ready(world: &mut World, revision: RevisionId) {
    world.behaviours.insert(revision, Behaviour { ready_after: None, ..GOOD });
}

#[test]
fn a_table_that_is_refused_before_any_traffic_moved_touched_nothing() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("the first share", |world| world.share("api", 2) == Share::percent(10));
    world.refuses = true;
    world.until("the way back", World::going_back);
    world.refuses = false;
    assert_eq!(world.settle(), Outcome::Failed);
}

#[test]
fn a_table_that_is_refused_after_traffic_moved_is_rolled_back() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("half of the traffic", |world| world.share("api", 2) == Share::percent(50));
    world.refuses = true;
    world.until("the way back", World::going_back);
    // What was refused is not the table of the way back, which takes its time.
    world.refuses = false;
    world.confirm_after = 500;
    assert_eq!(world.settle(), Outcome::RolledBack);
}

#[test]
fn a_proxy_that_refuses_the_way_back_keeps_the_candidate_for_a_day() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    world.deploy(3, &[api(canary())]).unwrap();
    world.until("half of the traffic", |world| world.share("api", 3) == Share::percent(50));
    world.tick();
    world.tick();
    world.refuses = true;
    world.command(Command::Abort).unwrap();
    assert_eq!(world.settle(), Outcome::Degraded);
    assert_eq!(world.serving("api").as_deref(), Some("api@2"));
    assert_eq!(world.share("api", 2), Share::ALL);
    let wanted = |world: &World, deployment| {
        world.environment.revisions.contains_key(&revision("api", deployment))
    };
    assert!(!wanted(&world, 1), "the candidate is kept in the place of the one before");
    assert!(wanted(&world, 3), "requests may still come to it");
    world.now += 23 * HOUR;
    world.tick();
    assert!(wanted(&world, 3));
    world.now += HOUR;
    world.tick();
    assert!(!wanted(&world, 3));
    assert!(wanted(&world, 2));
}

#[test]
fn a_first_release_keeps_running_under_a_proxy_that_refuses_to_let_it_go() {
    let mut world = with_first(&[api(canary())]);
    let help = || Part {
        name: "help",
        replicas: 1,
        strategy: Strategy::BlueGreen { canary: None, bake: second(60), keep: second(60) },
        routed: true,
    };
    world.deploy(2, &[help()]).unwrap();
    world.until("its traffic", |world| world.share("help", 2) == Share::ALL);
    world.tick();
    world.tick();
    world.refuses = true;
    never_ready(&mut world, revision("help", 2));
    world.command(Command::Abort).unwrap();
    assert_eq!(world.settle(), Outcome::Degraded);
    assert_eq!(world.serving("help").as_deref(), Some("help@2"));
    assert_eq!(world.share("help", 2), Share::ALL);
}

#[test]
fn a_share_that_nobody_confirmed_is_taken_back_although_old_instances_have_stopped() {
    let rolling = || api(Strategy::Rolling { max_surge: 1, max_unavailable: 0, bake: second(5) });
    let mut world = with_first(&[rolling()]);
    world.deploy(2, &[rolling()]).unwrap();
    world.until("half of the traffic", |world| world.share("api", 2) == Share::percent(50));
    assert_eq!(world.facts(&revision("api", 1)).ready, 3);
    world.command(Command::Abort).unwrap();
    assert_eq!(world.share("api", 2), Share::percent(25), "what it had before");
    assert_eq!(world.share("api", 1), Share::percent(75));
    assert_eq!(world.settle(), Outcome::RolledBack);
    assert_eq!(world.share("api", 1), Share::ALL);
}

#[test]
fn instances_that_were_given_up_for_a_smaller_size_come_back_before_it_is_back() {
    let web = |content| Piece { name: "web", path: "/web", ..service(1, content) };
    let smaller = || {
        let mut world = World::new();
        let before = release(1, vec![service(4, 1), web(1)]);
        world.ship(1, DeploymentKind::Deploy, &before).unwrap();
        assert_eq!(world.settle(), Outcome::Succeeded);
        let after = release(2, vec![service(2, 1), web(2)]);
        world.ship(2, DeploymentKind::Deploy, &after).unwrap();
        let stable = revision("api", 1);
        world.until("fewer of them", |world| world.facts(&stable).running == 2);
        world
    };
    let stable = revision("api", 1);
    let mut world = smaller();
    world.command(Command::Abort).unwrap();
    while !back(&world, "api") {
        assert!(world.going_back());
        world.tick();
    }
    assert_eq!(world.facts(&stable).ready, 4);
    assert_eq!(world.settle(), Outcome::RolledBack);
    assert_eq!(world.environment.revisions[&stable].spec.replicas, 4);

    // They do not come.
    let mut world = smaller();
    world.behaviours.insert(stable.clone(), Behaviour { ready_after: Some(1_000_000_000), ..GOOD });
    world.command(Command::Abort).unwrap();
    assert_eq!(world.settle(), Outcome::Degraded);
    let why = nowhere(&world).unwrap();
    assert!(why.starts_with("only 0 of 4 instances of api@1 became ready"), "{why}");
}

#[test]
fn one_that_was_only_to_grow_is_back_at_once() {
    let mut world = World::new();
    world.ship(1, DeploymentKind::Deploy, &release(1, vec![service(2, 1)])).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    world.ship(2, DeploymentKind::Deploy, &release(2, vec![service(4, 1)])).unwrap();
    world.command(Command::Abort).unwrap();
    assert!(back(&world, "api"), "its two instances served all the time");
    assert_eq!(world.settle(), Outcome::Failed);
    assert_eq!(world.environment.revisions[&revision("api", 1)].replicas, 2);
}

#[test]
fn a_candidate_without_traffic_gets_none_when_the_stable_one_is_gone() {
    let mut world = with_first(&[api(canary())]);
    never_ready(&mut world, revision("api", 2));
    world.deploy(2, &[api(canary())]).unwrap();
    never_ready(&mut world, revision("api", 1));
    world.command(Command::Abort).unwrap();
    world.behaviours.insert(revision("api", 2), GOOD);
    assert_eq!(world.settle(), Outcome::Degraded);
    let why = "no instance of api@1 became ready, nor does the candidate serve";
    assert_eq!(nowhere(&world), Some(why));
    assert_eq!(world.serving("api").as_deref(), Some("api@1"), "it may come again");
}

#[test]
fn with_nothing_ready_the_stable_one_is_what_shall_serve() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("half of the traffic", |world| world.share("api", 2) == Share::percent(50));
    never_ready(&mut world, revision("api", 1));
    never_ready(&mut world, revision("api", 2));
    world.command(Command::Abort).unwrap();
    assert_eq!(world.settle(), Outcome::Degraded);
    assert_eq!(world.serving("api").as_deref(), Some("api@1"));
    assert_eq!(world.share("api", 1), Share::ALL);
    assert!(!world.environment.revisions.contains_key(&revision("api", 2)));
}

#[test]
fn a_first_release_that_nobody_could_reach_yet_leaves_nothing_behind() {
    let mut world = World::new();
    world.deploy(1, &[api(canary())]).unwrap();
    world.until("its traffic", |world| world.share("api", 1) == Share::ALL);
    world.command(Command::Abort).unwrap();
    assert_eq!(world.settle(), Outcome::RolledBack);
    assert!(world.environment.components.is_empty());
    assert!(world.environment.revisions.is_empty());
}

#[test]
fn a_new_component_keeps_serving_as_nobody_else_has_its_route() {
    let web = || Part { name: "web", ..api(canary()) };
    let mut world = with_first(&[api(canary())]);
    world.behaviours.insert(revision("web", 2), Behaviour { bad_after: Some(1_000), ..GOOD });
    world.deploy(2, &[web()]).unwrap();
    assert_eq!(world.settle(), Outcome::Degraded);
    assert_eq!(world.share("web", 2), Share::ALL);
    assert_eq!(world.share("api", 1), Share::ALL);
    assert_eq!(world.serving("web").as_deref(), Some("web@2"));
    assert_eq!(
        nowhere(&world),
        Some("there is no verified release to go back to; the new one keeps serving")
    );
    assert!(world.environment.components.contains_key(&component("web")));
}

#[test]
fn aborted_between_two_shares_it_is_a_roll_back() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("the second instance", |world| {
        world.environment.revisions[&revision("api", 2)].replicas == 2
    });
    assert_eq!(world.share("api", 2), Share::percent(10));
    world.command(Command::Abort).unwrap();
    assert_eq!(world.settle(), Outcome::RolledBack, "a tenth had met it");
}

#[test]
fn a_crash_is_a_failed_start_before_any_traffic_and_a_breached_guard_after_it() {
    let dies_after = |after| {
        let mut world = with_first(&[api(canary())]);
        let dies = Behaviour { dies_after: Some(after), ..GOOD };
        world.behaviours.insert(revision("api", 2), dies);
        world.deploy(2, &[api(canary())]).unwrap();
        world.settle();
        world.environment.latest.unwrap().failure.unwrap()
    };
    let before = dies_after(100);
    assert_eq!((before.code, before.what.as_str()), (FailureCode::Start, "exited with code 1"));
    assert_eq!(before.evidence.as_deref(), Some("restarts >= 3: true"));
    assert_eq!(before.log, ["boom"]);
    let after = dies_after(3_000);
    assert_eq!(after.code, FailureCode::Guard);
    assert_eq!(after.what, "api breached the guard `restarts >= 3`");
    assert_eq!(after.evidence.as_deref(), Some("restarts >= 3: true; exited with code 1"));
    assert_eq!(after.log, ["boom"]);
    assert_eq!(after.instance, Some(InstanceId::of(&revision("api", 2), 3)));
}

#[test]
fn a_route_that_nobody_else_could_answer_now_stays_with_the_new_component() {
    let web = |content, path| Piece { name: "web", path, ..service(1, content) };
    let manual = || Piece { name: "manual", path: "/help", ..service(1, 1) };
    let mut world = World::new();
    let before = release(1, vec![web(1, "/help")]);
    world.ship(1, DeploymentKind::Deploy, &before).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    let after = release(2, vec![web(2, "/"), manual()]);
    world.ship(2, DeploymentKind::Deploy, &after).unwrap();
    world.until("the new component to serve", |world| {
        let deployment = world.environment.deployment.as_ref().unwrap();
        deployment.progress.iter().all(|progress| progress.first_traffic_at.is_some())
    });
    never_ready(&mut world, revision("web", 1));
    world.command(Command::Abort).unwrap();
    assert_eq!(world.settle(), Outcome::Degraded);
    assert_eq!(world.serving("manual").as_deref(), Some("manual@2"));
    assert_eq!(world.share("manual", 2), Share::ALL);
}
