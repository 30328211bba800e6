//! When something is over, late, or to be looked at again.

use tidegate_core::{
    Command, Event, FailureCode, Input, Outcome, Place, Position, Rejected, Seen, Stage, step,
    waiting,
};
use tidegate_manifest::Strategy;
use tidegate_types::{DeploymentId, DeploymentKind, Share, Step, Timestamp};

use crate::{
    going_back::{never_ready, release, service},
    stories::{api, canary, revision, second, share, with_first},
    world::{Behaviour, GOOD, Part, World},
};

fn position(world: &World) -> Position {
    match &world.environment.deployment.as_ref().unwrap().stage {
        Stage::Rolling(position) => *position,
        stage => panic!("it does not roll: {stage:?}"),
    }
}

fn entered(world: &World) -> Option<Step> {
    let (_, step) = world.environment.deployment.as_ref()?.current()?;
    position(world).entered.then_some(step)
}

fn in_bake(world: &World) -> bool {
    matches!(entered(world), Some(Step::Bake { .. }))
}

fn after(since: Timestamp, seconds: u64) -> Timestamp {
    since.after(second(seconds))
}

fn code(world: &World) -> FailureCode {
    let failed = world.events.iter().rev().find_map(|(_, event)| match event {
        Event::Failed { failure } => Some(failure.code),
        _ => None,
    });
    failed.unwrap()
}

#[test]
fn every_moment_at_which_something_is_due_is_told() {
    let mut world = with_first(&[api(canary())]);
    assert_eq!(world.wake_at, None);
    world.deploy(2, &[api(canary())]).unwrap();
    while world.environment.deployment.is_some() {
        let since = position(&world).since;
        let expected = match entered(&world).unwrap() {
            // Five of its own, and ten for the target.
            Step::Scale { .. } => 15,
            Step::Shift { .. } => 30,
            Step::Bake { .. } => 5,
            Step::Shrink { .. } => panic!("a canary shrinks nothing"),
        };
        assert_eq!(world.wake_at, Some(after(since, expected)));
        world.tick();
    }
    assert_eq!(world.wake_at, Some(after(world.time(), 60)), "the end of what is warm");
}

#[test]
fn a_bake_is_looked_at_when_its_requests_are_counted_and_then_held() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a bake", in_bake);
    world.uncounted = true;
    let since = position(&world).since;
    world.until("its end", |world| world.time() == after(since, 5));
    assert_eq!(world.wake_at, Some(after(since, 7)), "a moment later");
    let held = |world: &World| position(world).held;
    world.until("the hold", held);
    assert_eq!(world.time(), after(since, 7));
    assert_eq!(world.wake_at, None, "for as long as it takes");

    // Each hold is one of its own.
    world.uncounted = false;
    world.until("the next share", |world| !held(world));
    assert_ne!(world.wake_at, None);
    world.until("the next bake", in_bake);
    world.uncounted = true;
    world.until("the next hold", held);
    let holds = world.events.iter().filter(|(_, event)| matches!(event, Event::Held { .. }));
    assert_eq!(holds.count(), 2);
}

#[test]
fn a_bake_that_is_held_fails_only_when_its_instances_are_gone() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.uncounted = true;
    world.until("the hold", |world| position(world).held);
    world.now += 3_600_000;
    world.tick();
    assert!(!world.going_back(), "a person may come tomorrow");
    never_ready(&mut world, revision("api", 2));
    world.tick();
    assert!(world.going_back());
    assert_eq!(code(&world), FailureCode::Start);
}

#[test]
fn instances_that_are_gone_at_the_end_of_a_bake_are_looked_at_when_they_are_late() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a bake", in_bake);
    let since = position(&world).since;
    never_ready(&mut world, revision("api", 2));
    world.until("its end", |world| world.time() == after(since, 8));
    assert_eq!(world.wake_at, Some(after(since, 20)));
}

#[test]
fn a_way_back_tells_until_when_it_waits_and_a_pause_that_it_does_not() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a bake", in_bake);
    world.command(Command::Pause).unwrap();
    assert_eq!(world.wake_at, None);
    world.confirm_after = 1_000_000;
    let begun = world.time();
    world.command(Command::Abort).unwrap();
    // Five to become ready, two to stop, ten for the target.
    while world.time() < after(begun, 17) {
        assert_eq!(world.wake_at, Some(after(begun, 17)));
        world.tick();
    }
    assert_eq!(world.wake_at, None, "only the proxy can end it now");
}

#[test]
fn a_pause_uses_up_no_deadline() {
    let mut world = with_first(&[api(canary())]);
    never_ready(&mut world, revision("api", 2));
    world.deploy(2, &[api(canary())]).unwrap();
    world.command(Command::Pause).unwrap();
    world.now += 60_000;
    world.tick();
    assert!(!world.going_back());
    world.command(Command::Resume).unwrap();
    let resumed = world.now;
    world.until("the way back", World::going_back);
    assert_eq!(world.now - resumed, 15_000);
}

#[test]
fn what_was_not_seen_now_is_not_late() {
    let mut world = with_first(&[api(canary())]);
    never_ready(&mut world, revision("api", 2));
    world.deploy(2, &[api(canary())]).unwrap();
    let before = Seen { fresh: false, ..world.look() };
    let later = world.time().after(second(3_600));
    let decision = step(&world.environment, &Input::Look, &before, later).unwrap();
    assert_eq!((decision.environment, decision.events), (world.environment.clone(), vec![]));
}

#[test]
fn one_that_is_ready_at_its_deadline_is_not_late() {
    let mut world = with_first(&[api(canary())]);
    let slow = Behaviour { ready_after: Some(15_000), ..GOOD };
    world.behaviours.insert(revision("api", 2), slow);
    world.deploy(2, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
}

/// A world in which the bake of a tenth was skipped while the only instance was not ready.
fn without_capacity() -> World {
    let alone = || Part { replicas: 1, ..api(canary()) };
    let mut world = with_first(&[alone()]);
    world.deploy(2, &[alone()]).unwrap();
    world.until("a bake", in_bake);
    never_ready(&mut world, revision("api", 2));
    world.command(Command::Skip).unwrap();
    world
}

#[test]
fn a_share_waits_for_instances_to_carry_it_and_the_proxy_has_its_time_from_then_on() {
    let mut world = without_capacity();
    let told = waiting(&world.environment, &world.look()).unwrap();
    assert_eq!(told.on, "api: enough ready instances to carry 50%");
    assert_eq!(told.until, Some(after(world.time(), 15)));
    world.now += 10_000;
    world.tick();
    assert_eq!(world.share("api", 2), Share::percent(10));
    world.behaviours.clear();
    world.confirm_after = 25_000;
    world.tick();
    assert_eq!(world.share("api", 2), Share::percent(50));
    assert_eq!(world.wake_at, Some(after(world.time(), 30)));
    world.until("the next bake", in_bake);
}

#[test]
fn a_share_whose_instances_do_not_come_is_a_failed_start() {
    let mut world = without_capacity();
    let skipped = world.now;
    world.until("the way back", World::going_back);
    assert_eq!(world.now - skipped, 15_000);
    assert_eq!(code(&world), FailureCode::Start);
}

#[test]
fn old_instances_that_do_not_stop_within_half_an_hour_are_a_failure() {
    let rolling = || api(Strategy::Rolling { max_surge: 1, max_unavailable: 0, bake: second(5) });
    let mut world = with_first(&[rolling()]);
    let busy = Behaviour { drains_for: 100_000_000, ..GOOD };
    world.behaviours.insert(revision("api", 1), busy);
    world.deploy(2, &[rolling()]).unwrap();
    world.until("a shrink", |world| matches!(entered(world), Some(Step::Shrink { .. })));
    world.now += 1_799_900;
    assert!(!world.going_back());
    world.tick();
    assert!(world.going_back());
    assert_eq!(code(&world), FailureCode::Stop);
}

#[test]
fn exits_count_from_the_beginning_of_a_deployment() {
    let exits_before =
        |world: &World| world.environment.deployment.as_ref().unwrap().progress[0].exits_before;
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a bake", in_bake);
    let dies = Behaviour { dies_after: Some(0), ..GOOD };
    world.behaviours.insert(revision("api", 2), dies);
    world.tick();
    world.behaviours.clear();
    assert_eq!(world.facts(&revision("api", 2)).exits, 1);
    world.until("half", |world| world.share("api", 2) == Share::percent(50));
    assert_eq!(exits_before(&world), 0, "the one exit counts in every step");

    // A revision that was warm did die before, but not for this deployment.
    let mut world = World::new();
    world.ship(1, DeploymentKind::Deploy, &release(1, vec![service(1, 1)])).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    world.behaviours.insert(revision("api", 1), dies);
    world.tick();
    world.behaviours.clear();
    world.ship(2, DeploymentKind::Deploy, &release(2, vec![service(1, 2)])).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    world.ship(3, DeploymentKind::Rollback, &release(1, vec![service(1, 1)])).unwrap();
    assert_eq!(exits_before(&world), 1);
    assert_eq!(world.settle(), Outcome::Succeeded);
    assert_eq!(world.serving("api").as_deref(), Some("api@1"));
    assert_eq!(world.share("api", 1), Share::ALL);
}

#[test]
fn a_share_of_nothing_is_no_traffic() {
    let by_header =
        Strategy::BlueGreen { canary: Some(share(0)), bake: second(5), keep: second(60) };
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(by_header)]).unwrap();
    world.until("a bake", in_bake);
    let first =
        |world: &World| world.environment.deployment.as_ref().unwrap().progress[0].first_traffic_at;
    assert_eq!(first(&world), None);
    world.until("all", |world| world.share("api", 2) == Share::ALL);
    world.until("a bake", in_bake);
    assert_eq!(first(&world), Some(world.time()));
}

#[test]
fn a_word_for_a_step_that_is_over_is_refused() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a bake", in_bake);
    let skip = |place| Input::Command {
        command: Command::Skip,
        deployment: Some(DeploymentId(2)),
        place: Some(place),
        actor: "bo".into(),
    };
    let here = position(&world).place();
    let passed = Place { step: here.step - 1, ..here };
    let refused = world.feed(&skip(passed)).unwrap_err();
    assert_eq!(refused, Rejected::Passed { meant: passed, component: "api".to_owned() });
    assert_eq!(refused.to_string(), "step 2 of api is over");
    world.feed(&skip(here)).unwrap();
    assert_ne!(position(&world).place(), here);
    assert!(matches!(world.feed(&skip(here)), Err(Rejected::Passed { .. })), "said twice");
}

#[test]
fn a_bake_ends_only_with_all_of_its_instances() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("half", |world| world.share("api", 2) == Share::percent(50));
    world.until("a bake", in_bake);
    let since = position(&world).since;
    world.until("nearly its end", |world| world.time() == after(since, 4));
    // The older of the two dies, and takes a while to come again.
    let old_age = Behaviour { dies_after: Some(6_000), ..GOOD };
    world.behaviours.insert(revision("api", 2), old_age);
    world.tick();
    let slow = Behaviour { ready_after: Some(3_000), ..GOOD };
    world.behaviours.insert(revision("api", 2), slow);
    world.tick();
    assert_eq!(world.facts(&revision("api", 2)).ready, 1);
    world.until("the bake to be over", |world| world.time() == after(since, 6));
    assert!(in_bake(&world));
    assert_eq!(position(&world).since, since);
    assert_eq!(world.settle(), Outcome::Succeeded);
}
