//! Deployments told from their request to their end.

use tidegate_core::{
    Command, Event, FailureCode, Input, Outcome, Rejected, Seen, Stage, step, waiting,
};
use tidegate_manifest::{Strategy, StrategyStep};
use tidegate_types::{DeploymentId, DeploymentKind, Duration, RevisionId, Share, Timestamp};

use crate::world::{Behaviour, GOOD, Part, World, component};

pub(crate) fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn share(percent: u32) -> StrategyStep {
    StrategyStep { share: Share::percent(percent), bake: second(5) }
}

pub(crate) fn canary() -> Strategy {
    Strategy::Canary { steps: vec![share(10), share(50), share(100)], keep: second(60) }
}

pub(crate) fn api(strategy: Strategy) -> Part {
    Part { name: "api", replicas: 4, strategy, routed: true }
}

/// A world in which deployment 1 of `parts` serves.
pub(crate) fn with_first(parts: &[Part]) -> World {
    let mut world = World::new();
    world.deploy(1, parts).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    world
}

pub(crate) fn revision(name: &str, deployment: u64) -> RevisionId {
    RevisionId::of(&component(name), DeploymentId(deployment))
}

#[test]
fn a_good_canary_serves_and_the_old_stays_warm_until_its_time_is_over() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    assert_eq!(world.serving("api").as_deref(), Some("api@2"));
    assert_eq!(world.share("api", 2), Share::ALL);
    assert_eq!(world.facts(&revision("api", 1)).ready, 4, "the old one is warm");
    let ended = world.now;
    world.until("the old one to stop", |world| world.facts(&revision("api", 1)).running == 0);
    assert!(world.now - ended >= 60_000, "not before its time");
    assert_eq!(world.serving("api").as_deref(), Some("api@2"));
}

#[test]
fn a_bad_canary_goes_back_in_one_write_and_is_stopped_only_afterwards() {
    let mut world = with_first(&[api(canary())]);
    world.behaviours.insert(revision("api", 2), Behaviour { bad_after: Some(8_000), ..GOOD });
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("the way back", World::going_back);
    assert_eq!(world.share("api", 2), Share::NONE, "traffic first, in the same transition");
    assert_eq!(world.share("api", 1), Share::ALL);
    assert!(world.facts(&revision("api", 2)).draining == 0, "it stops after the confirmation");
    assert_eq!(world.settle(), Outcome::RolledBack);
    assert_eq!(world.serving("api").as_deref(), Some("api@1"));
    let failure = world.environment.latest.clone().unwrap().failure.unwrap();
    assert_eq!(failure.code, FailureCode::Guard);
    assert_eq!(failure.evidence.as_deref(), Some("error_rate > 5%: true"));
    assert!(!world.environment.is_verified(&tidegate_types::ReleaseId::new("r-2")));
}

#[test]
fn one_that_is_never_ready_changes_nothing() {
    let mut world = with_first(&[api(canary())]);
    world.behaviours.insert(revision("api", 2), Behaviour { ready_after: None, ..GOOD });
    world.deploy(2, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::Failed);
    assert!(world.tables.iter().all(|table| {
        table
            .routes
            .iter()
            .flat_map(|route| &route.backends)
            .all(|backend| backend.revision != revision("api", 2) || backend.share == Share::NONE)
    }));
}

#[test]
fn one_that_dies_after_a_while_goes_back_by_its_restarts() {
    let mut world = with_first(&[api(canary())]);
    world.behaviours.insert(revision("api", 2), Behaviour { dies_after: Some(3_000), ..GOOD });
    world.deploy(2, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::RolledBack);
    let failure = world.environment.latest.clone().unwrap().failure.unwrap();
    assert!(failure.evidence.unwrap().contains("restarts >= 3"));
    assert_eq!(failure.log, ["boom"]);
}

#[test]
fn the_first_release_has_nowhere_to_go_back_to() {
    let mut world = World::new();
    world.behaviours.insert(revision("api", 1), Behaviour { bad_after: Some(1_000), ..GOOD });
    world.deploy(1, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::Degraded);
    assert_eq!(world.share("api", 1), Share::ALL, "it keeps serving: there is nothing else");
    assert!(world.environment.verified.is_empty());
    let mut world = World::new();
    world.behaviours.insert(revision("api", 1), Behaviour { ready_after: None, ..GOOD });
    world.deploy(1, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::Failed);
    assert!(world.environment.revisions.is_empty(), "nothing of it is left");
}

#[test]
fn a_broken_stable_never_blocks_the_mend() {
    let mut world = with_first(&[api(canary())]);
    world.behaviours.insert(revision("api", 1), Behaviour { ready_after: None, ..GOOD });
    world.deploy(2, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
}

#[test]
fn with_a_broken_stable_the_traffic_stays_where_instances_are() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("half of the traffic", |world| world.share("api", 2) == Share::percent(50));
    world.behaviours.insert(revision("api", 1), Behaviour { ready_after: None, ..GOOD });
    world.command(Command::Abort).unwrap();
    assert_eq!(world.settle(), Outcome::Degraded);
    assert_eq!(world.serving("api").as_deref(), Some("api@2"));
    assert_eq!(world.share("api", 2), Share::ALL);
}

#[test]
fn components_go_back_together_the_last_one_first() {
    let parts = || {
        [
            api(Strategy::BlueGreen { canary: None, bake: second(1), keep: second(60) }),
            Part {
                name: "web",
                replicas: 2,
                strategy: Strategy::BlueGreen { canary: None, bake: second(5), keep: second(60) },
                routed: true,
            },
        ]
    };
    let mut world = with_first(&parts());
    world.behaviours.insert(revision("web", 2), Behaviour { bad_after: Some(1_000), ..GOOD });
    world.deploy(2, &parts()).unwrap();
    world.until("the way back", World::going_back);
    assert_eq!(world.share("api", 1), Share::ALL, "switched before, and back in the same write");
    assert_eq!(world.share("web", 1), Share::ALL);
    assert_eq!(world.settle(), Outcome::RolledBack);
    let order: Vec<String> = world
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::WentBack { component, .. } => Some(component.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["web", "api"]);
}

#[test]
fn what_serves_again_may_die_in_the_last_moment_of_the_way_back() {
    let comes_up_again = |ready_after| {
        let mut world = with_first(&[api(canary())]);
        world.behaviours.insert(revision("api", 2), Behaviour { bad_after: Some(8_000), ..GOOD });
        world.deploy(2, &[api(canary())]).unwrap();
        world.until("the way back", World::going_back);
        // As when the machine goes down: all of it is gone, and started again.
        let stable = revision("api", 1);
        world.behaviours.insert(stable.clone(), Behaviour { dies_after: Some(0), ..GOOD });
        world.tick();
        assert_eq!(world.facts(&stable).ready, 0);
        assert!(world.going_back());
        world.behaviours.insert(stable, Behaviour { ready_after, ..GOOD });
        world.settle()
    };
    assert_eq!(comes_up_again(Some(2_000)), Outcome::RolledBack);
    assert_eq!(comes_up_again(None), Outcome::Degraded, "not for ever");
}

#[test]
fn rolling_back_a_rolling_update_starts_the_old_ones_again_first() {
    let rolling = || api(Strategy::Rolling { max_surge: 1, max_unavailable: 0, bake: second(5) });
    let mut world = with_first(&[rolling()]);
    world.behaviours.insert(revision("api", 2), Behaviour { bad_after: Some(3_000), ..GOOD });
    world.deploy(2, &[rolling()]).unwrap();
    world.until("the way back", World::going_back);
    assert!(world.facts(&revision("api", 1)).ready < 4, "some of the old ones had stopped");
    assert_eq!(world.settle(), Outcome::RolledBack);
    assert_eq!(world.facts(&revision("api", 1)).ready, 4);
    assert_eq!(world.share("api", 1), Share::ALL);
}

#[test]
fn recreate_never_runs_both_not_even_on_the_way_back() {
    let recreate = || Part {
        name: "worker",
        replicas: 1,
        strategy: Strategy::Recreate { bake: second(5) },
        routed: false,
    };
    let mut world = with_first(&[recreate()]);
    world.behaviours.insert(revision("worker", 2), Behaviour { dies_after: Some(500), ..GOOD });
    world.deploy(2, &[recreate()]).unwrap();
    while world.environment.deployment.is_some() {
        world.tick();
        let both = world.facts(&revision("worker", 1)).running > 0
            && world.facts(&revision("worker", 2)).running > 0;
        assert!(!both, "both ran at {}", world.now);
    }
    assert_eq!(world.environment.latest.as_ref().unwrap().outcome, Outcome::RolledBack);
    assert_eq!(world.facts(&revision("worker", 1)).ready, 1);
}

#[test]
fn a_pause_neither_shortens_a_bake_nor_blinds_the_guards() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a tenth", |world| world.share("api", 2) == Share::percent(10));
    world.command(Command::Pause).unwrap();
    for _ in 0..600 {
        world.tick();
    }
    assert_eq!(world.share("api", 2), Share::percent(10), "held for a minute");
    world.command(Command::Resume).unwrap();
    let resumed = world.now;
    world.until("half", |world| world.share("api", 2) == Share::percent(50));
    assert!(world.now - resumed >= 4_000, "the bake was not used up by the pause");
    world.command(Command::Pause).unwrap();
    world.behaviours.insert(revision("api", 2), Behaviour { bad_after: Some(0), ..GOOD });
    world.tick();
    assert!(world.going_back());
}

#[test]
fn skip_ends_a_bake_and_nothing_else() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    assert!(matches!(world.command(Command::Skip), Err(Rejected::Pointless { .. })));
    world.until("a tenth", |world| world.share("api", 2) == Share::percent(10));
    while world.command(Command::Skip).is_err() {
        world.tick();
    }
    let skipped = world.now;
    world.until("half", |world| world.share("api", 2) == Share::percent(50));
    assert!(world.now - skipped < 5_000);
}

#[test]
fn a_second_deployment_is_told_who_holds_the_environment() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    let before = world.environment.clone();
    let refused = world.deploy(3, &[api(canary())]).unwrap_err();
    assert_eq!(refused.to_string(), "deployment 2 of ana is under way in shop/production");
    assert_eq!(world.environment, before);
}

#[test]
fn aborting_twice_is_aborting_once_and_without_a_deployment_it_is_nothing() {
    let mut world = with_first(&[api(canary())]);
    assert!(matches!(world.command(Command::Abort), Err(Rejected::Idle { .. })));
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a tenth", |world| world.share("api", 2) == Share::percent(10));
    world.command(Command::Abort).unwrap();
    let before = world.environment.clone();
    if world.environment.deployment.is_some() {
        world.command(Command::Abort).unwrap();
    }
    assert_eq!(world.environment, before);
    assert_eq!(world.settle(), Outcome::RolledBack);
}

#[test]
fn a_command_for_another_deployment_is_refused() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    let stale = Input::Command {
        command: Command::Abort,
        deployment: Some(DeploymentId(1)),
        place: None,
        actor: "bo".into(),
    };
    let now = Timestamp::from_millis(2_000_000);
    assert_eq!(
        step(&world.environment, &stale, &Seen::default(), now),
        Err(Rejected::Stale { meant: DeploymentId(1), running: DeploymentId(2) })
    );
}

#[test]
fn aborted_while_preparing_nothing_happens_and_a_late_plan_is_dropped() {
    let mut world = with_first(&[api(canary())]);
    let mut other = with_first(&[api(canary())]);
    other.deploy(2, &[api(canary())]).unwrap();
    let plan = other.environment.deployment.as_ref().unwrap().plan.clone().unwrap();
    let request = Input::Request {
        deployment: DeploymentId(2),
        kind: DeploymentKind::Deploy,
        actor: "ana".into(),
    };
    let now = Timestamp::from_millis(2_000_000);
    let seen = Seen::default();
    world.environment = step(&world.environment, &request, &seen, now).unwrap().environment;
    world.command(Command::Abort).unwrap();
    assert_eq!(world.environment.latest.as_ref().unwrap().outcome, Outcome::Failed);
    let before = world.environment.clone();
    let late = step(&world.environment, &Input::Prepared(plan), &seen, now).unwrap();
    assert_eq!((late.environment, late.events), (before, vec![]));
}

#[test]
fn a_proxy_that_never_confirms_is_a_failure_not_a_success() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.confirm_after = 40_000;
    world.until("the way back", World::going_back);
    assert_eq!(world.settle(), Outcome::RolledBack);
    let failure = world.environment.latest.clone().unwrap().failure.unwrap();
    assert_eq!(failure.code, FailureCode::Route);
}

#[test]
fn a_component_that_takes_over_a_route_has_it_with_its_first_traffic_and_gives_it_back() {
    let blue_green = || Strategy::BlueGreen { canary: None, bake: second(5), keep: second(60) };
    let part = |name| Part { name, replicas: 1, strategy: blue_green(), routed: true };
    let mut world = with_first(&[part("help")]);
    world.route = Some("/help".into());
    world.deploy(2, &[part("manual")]).unwrap();
    let owner = |world: &World| {
        let table = world.environment.route_table();
        let owners: Vec<String> = table
            .routes
            .iter()
            .filter(|route| route.rule.path == "/help")
            .map(|route| route.component.to_string())
            .collect();
        owners.join(" and ")
    };
    assert_eq!(owner(&world), "help");
    world.until("traffic", |world| world.share("manual", 2) == Share::ALL);
    assert_eq!(owner(&world), "manual");
    world.behaviours.insert(revision("manual", 2), Behaviour { bad_after: Some(0), ..GOOD });
    assert_eq!(world.settle(), Outcome::RolledBack);
    assert_eq!(owner(&world), "help");
    assert!(!world.environment.components.contains_key(&component("manual")));
}

#[test]
fn evidence_that_is_a_moment_late_holds_nothing() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a tenth", |world| world.share("api", 2) == Share::percent(10));
    world.uncounted = true;
    for _ in 0..65 {
        world.tick();
    }
    assert_eq!(world.share("api", 2), Share::percent(10), "the bake of 5 s is over, uncounted");
    world.uncounted = false;
    world.until("half", |world| world.share("api", 2) == Share::percent(50));
    let held = |world: &World| world.events.iter().any(|(_, e)| matches!(e, Event::Held { .. }));
    assert!(!held(&world));
    world.uncounted = true;
    world.until("the hold", held);
    assert_eq!(world.share("api", 2), Share::percent(50));
}

#[test]
fn a_data_plane_that_is_ahead_is_told_again_and_never_taken_for_a_confirmation() {
    let mut world = with_first(&[api(canary())]);
    let older = world.environment.clone();
    for id in 2..5 {
        world.deploy(id, &[api(canary())]).unwrap();
        world.settle();
    }
    let ahead = world.environment.epoch;
    // An older copy of the store is put back.
    world.environment = older;
    assert!(world.environment.epoch < ahead);
    world.tick();
    assert!(world.environment.epoch > ahead, "said anew, with an epoch that counts");
    world.deploy(9, &[api(canary())]).unwrap();
    world.confirm_after = 1_000_000;
    world.until("the way back", World::going_back);
    world.confirm_after = 100;
    assert_eq!(world.settle(), Outcome::RolledBack);
}

#[test]
fn what_is_warm_stays_so_until_a_newer_release_has_proved_itself() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.settle();
    world.behaviours.insert(revision("api", 3), Behaviour { bad_after: Some(500), ..GOOD });
    world.deploy(3, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::RolledBack);
    assert_eq!(world.facts(&revision("api", 1)).ready, 4, "still warm");
    world.deploy(4, &[api(canary())]).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    world.until("the former one to stop", |w| w.facts(&revision("api", 1)).running == 0);
    assert_eq!(world.facts(&revision("api", 2)).ready, 4, "the one before is warm");
}

#[test]
fn aborted_before_the_old_one_has_stopped_the_old_one_is_wanted_again() {
    for strategy in [
        Strategy::Recreate { bake: second(5) },
        Strategy::Rolling { max_surge: 0, max_unavailable: 4, bake: second(5) },
        Strategy::Rolling { max_surge: 0, max_unavailable: 1, bake: second(5) },
    ] {
        let mut world = with_first(&[api(strategy.clone())]);
        world.deploy(2, &[api(strategy)]).unwrap();
        // All four still run and are ready: the wish to stop them was stored just now.
        assert_eq!(
            world.facts(&revision("api", 1)).ready + world.facts(&revision("api", 1)).draining,
            4
        );
        world.command(Command::Abort).unwrap();
        assert_eq!(world.settle(), Outcome::RolledBack);
        assert_eq!(world.environment.revisions[&revision("api", 1)].replicas, 4);
        assert_eq!(world.facts(&revision("api", 1)).ready, 4);
    }
}

#[test]
fn what_is_warm_does_not_wait_for_another_component_that_starts_again() {
    let parts = || {
        [
            api(Strategy::BlueGreen { canary: None, bake: second(1), keep: second(60) }),
            Part {
                name: "worker",
                replicas: 1,
                strategy: Strategy::Recreate { bake: second(5) },
                routed: false,
            },
        ]
    };
    let mut world = with_first(&parts());
    world.deploy(2, &parts()).unwrap();
    world.until("the new worker", |world| world.facts(&revision("worker", 2)).ready == 1);
    assert_eq!(world.share("api", 2), Share::ALL);
    world.command(Command::Abort).unwrap();
    assert_eq!(world.share("api", 1), Share::ALL, "although the worker has yet to start again");
    assert_eq!(world.settle(), Outcome::RolledBack);
}

#[test]
fn a_stable_one_that_comes_back_late_is_not_stopped_for_the_candidate() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("half of the traffic", |world| world.share("api", 2) == Share::percent(50));
    world.behaviours.insert(revision("api", 1), Behaviour { ready_after: None, ..GOOD });
    world.confirm_after = 1_000_000;
    world.command(Command::Abort).unwrap();
    let could_not = |world: &World| {
        world.events.iter().any(|(_, event)| matches!(event, Event::CouldNotGoBack { .. }))
    };
    world.until("giving up", could_not);
    world.behaviours.insert(revision("api", 1), GOOD);
    world.confirm_after = 100;
    world.settle();
    assert_eq!(world.serving("api").as_deref(), Some("api@1"));
    assert_eq!(world.share("api", 1), Share::ALL);
}

#[test]
fn the_request_of_a_deployment_that_is_over_begins_nothing() {
    let world = with_first(&[api(canary())]);
    let again = Input::Request {
        deployment: DeploymentId(1),
        kind: DeploymentKind::Deploy,
        actor: "ana".into(),
    };
    let now = Timestamp::from_millis(2_000_000);
    let decision = step(&world.environment, &again, &Seen::default(), now).unwrap();
    assert_eq!((decision.environment, decision.events), (world.environment, vec![]));
}

#[test]
fn a_step_that_came_up_in_a_pause_waits_from_then_on_only() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a tenth", |world| world.share("api", 2) == Share::percent(10));
    world.until("the bake", |world| {
        matches!(
            world.events.last(),
            Some((_, Event::StepEntered { step: tidegate_types::Step::Bake { .. }, .. }))
        )
    });
    world.command(Command::Pause).unwrap();
    for _ in 0..50 {
        world.tick();
    }
    world.command(Command::Skip).unwrap();
    world.command(Command::Resume).unwrap();
    let Some(Stage::Rolling(position)) =
        world.environment.deployment.as_ref().map(|deployment| deployment.stage.clone())
    else {
        panic!("it goes on");
    };
    assert!(position.since <= Timestamp::from_millis(i64::try_from(world.now).unwrap()));
}

#[test]
fn a_change_made_while_the_data_plane_is_ahead_has_a_number_that_counts() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("a tenth", |world| world.share("api", 2) == Share::percent(10));
    let mut seen = Seen { fresh: true, ..Seen::default() };
    let ahead = tidegate_types::Epoch(world.environment.epoch.0 + 7);
    seen.observation.routes.epoch = Some(ahead);
    let abort = Input::Command {
        command: Command::Abort,
        deployment: None,
        place: None,
        actor: "bo".into(),
    };
    let now = Timestamp::from_millis(2_000_000);
    // The listener changes in the same transition as the number is caught up.
    world.environment.deployment.as_mut().unwrap().gateway_before.listen =
        tidegate_types::Listen::Address("127.0.0.1:9090".parse().unwrap());
    let decision = step(&world.environment, &abort, &seen, now).unwrap();
    assert_eq!(decision.environment.epoch, ahead.next());
}

#[test]
fn what_is_waited_for_is_told_in_every_step() {
    let told = |world: &World| waiting(&world.environment, &world.look());
    let mut world = with_first(&[api(canary())]);
    assert_eq!(told(&world), None, "nothing is under way");
    world.deploy(2, &[api(canary())]).unwrap();
    let mut order: Vec<String> = Vec::new();
    while let Some(waiting) = told(&world) {
        let since = match &world.environment.deployment.as_ref().unwrap().stage {
            Stage::Rolling(position) => position.since,
            _ => panic!("it goes well"),
        };
        if waiting.on == "api: the bake" {
            assert_eq!(waiting.until, Some(since.after(second(5))));
        }
        if order.last() != Some(&waiting.on) {
            order.push(waiting.on);
        }
        world.tick();
    }
    let expected = [
        "api: 0 of 1 instances ready",
        "api: the proxy to confirm 10%",
        "api: the bake",
        "api: 1 of 2 instances ready",
        "api: the proxy to confirm 50%",
        "api: the bake",
        "api: 2 of 4 instances ready",
        "api: the proxy to confirm 100%",
        "api: the bake",
    ];
    assert_eq!(order, expected);
    for (_, event) in &world.events {
        assert_eq!(serde_json::to_value(event).unwrap()["event"], event.kind());
    }
}

#[test]
fn evidence_that_is_missing_is_named_and_nothing_ends_the_wait_by_itself() {
    let mut world = with_first(&[api(canary())]);
    world.deploy(2, &[api(canary())]).unwrap();
    world.uncounted = true;
    world.until("the hold", |world| {
        world.events.iter().any(|(_, event)| matches!(event, Event::Held { .. }))
    });
    let mut seen = world.look();
    seen.readings[0][1].verdict = tidegate_types::Verdict::Pass;
    let held = waiting(&world.environment, &seen).unwrap();
    assert_eq!(held.on, "api: enough evidence (error_rate > 5%: false)");
    assert_eq!(held.until, None);
}

#[test]
fn a_code_is_the_same_word_for_people_and_in_the_store() {
    for code in [
        FailureCode::Prepare,
        FailureCode::Build,
        FailureCode::Start,
        FailureCode::Guard,
        FailureCode::Evidence,
        FailureCode::Route,
        FailureCode::Stop,
        FailureCode::Aborted,
    ] {
        assert_eq!(serde_json::to_value(code).unwrap(), code.to_string());
    }
}

#[test]
fn what_serves_is_told_by_its_releases_each_once() {
    let part = |name| Part { name, ..api(canary()) };
    let mut world = with_first(&[part("api"), part("web")]);
    let released = |world: &World| {
        world.environment.serving_releases().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(released(&world), ["r-1"]);
    world.deploy(2, &[part("web")]).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    assert_eq!(released(&world), ["r-1", "r-2"]);
}

#[test]
fn a_route_that_was_taken_over_is_given_back_also_after_it_served_for_a_while() {
    let blue_green = || Strategy::BlueGreen { canary: None, bake: second(5), keep: second(60) };
    let part = |name| Part { name, replicas: 1, strategy: blue_green(), routed: true };
    let mut world = with_first(&[part("help")]);
    world.route = Some("/help".into());
    world.behaviours.insert(revision("manual", 2), Behaviour { bad_after: Some(2_000), ..GOOD });
    world.deploy(2, &[part("manual")]).unwrap();
    assert_eq!(world.settle(), Outcome::RolledBack);
    assert_eq!(world.share("help", 1), Share::ALL);
    assert!(!world.environment.components.contains_key(&component("manual")));
}

#[test]
fn where_nothing_takes_requests_there_is_no_table_to_number() {
    let mut world = World::new();
    world.environment.gateway.listen =
        tidegate_types::Listen::Address("127.0.0.1:9090".parse().unwrap());
    let worker = Part {
        name: "worker",
        replicas: 1,
        strategy: Strategy::Recreate { bake: second(1) },
        routed: false,
    };
    world.deploy(1, &[worker]).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    assert_eq!(world.environment.epoch, tidegate_types::Epoch::default());
}

#[test]
fn a_start_is_late_at_its_deadline_and_not_before() {
    let mut world = with_first(&[api(canary())]);
    world.behaviours.insert(revision("api", 2), Behaviour { ready_after: None, ..GOOD });
    let begun = world.now;
    world.deploy(2, &[api(canary())]).unwrap();
    world.until("the way back", |world| {
        world.events.iter().any(|(_, event)| matches!(event, Event::Failed { .. }))
    });
    // Its own five seconds, and ten for the target.
    assert_eq!(world.now - begun, 15_000);
}

#[test]
fn what_is_not_to_be_kept_is_retired_because_its_successor_serves() {
    let strategy = || Strategy::BlueGreen { canary: None, bake: second(1), keep: second(0) };
    let mut world = with_first(&[api(strategy())]);
    world.deploy(2, &[api(strategy())]).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    let why = world.events.iter().find_map(|(_, event)| match event {
        Event::Retired { revision: retired, why } if *retired == revision("api", 1) => Some(why),
        _ => None,
    });
    assert_eq!(why.map(String::as_str), Some("its successor serves"));
}

#[test]
fn instances_gone_at_the_end_of_a_bake_have_the_time_of_a_start_to_come_back() {
    let gone_for = |ticks| {
        let mut world = with_first(&[api(canary())]);
        world.deploy(2, &[api(canary())]).unwrap();
        world.until("the bake of a tenth", |world| {
            world.share("api", 2) == Share::percent(10)
                && matches!(
                    world.events.last(),
                    Some((_, Event::StepEntered { step: tidegate_types::Step::Bake { .. }, .. }))
                )
        });
        world.behaviours.insert(revision("api", 2), Behaviour { ready_after: None, ..GOOD });
        for _ in 0..ticks {
            world.tick();
        }
        let going_back = world.going_back();
        world.behaviours.insert(revision("api", 2), GOOD);
        (going_back, world.settle())
    };
    // The bake of five seconds, then five of its deadline and ten for the target.
    assert_eq!(gone_for(199), (false, Outcome::Succeeded));
    assert_eq!(gone_for(200), (true, Outcome::RolledBack));
}
