//! Whatever happens, the invariants hold and every deployment ends.

use proptest::{prelude::*, strategy::Strategy as Generator};
use tidegate_core::{Command, Outcome};
use tidegate_manifest::{Strategy, StrategyStep};
use tidegate_types::{DeploymentId, Duration, RevisionId, Share};

use crate::world::{Behaviour, Part, World, component};

fn strategies() -> impl Generator<Value = Strategy> {
    let bake = (0_u64..4).prop_map(Duration::from_secs);
    prop_oneof![
        bake.clone().prop_map(|bake| Strategy::Recreate { bake }),
        (0_u32..3, 0_u32..3, bake.clone()).prop_map(|(max_surge, max_unavailable, bake)| {
            Strategy::Rolling { max_surge, max_unavailable, bake }
        }),
        (proptest::option::of(1_u32..100), bake.clone(), 0_u64..30).prop_map(
            |(canary, bake, keep)| Strategy::BlueGreen {
                canary: canary.map(|percent| StrategyStep { share: Share::percent(percent), bake }),
                bake,
                keep: Duration::from_secs(keep),
            }
        ),
        (proptest::collection::btree_set(1_u32..100, 0..4), bake, 0_u64..30).prop_map(
            |(shares, bake, keep)| Strategy::Canary {
                steps: shares
                    .into_iter()
                    .chain([100])
                    .map(|percent| StrategyStep { share: Share::percent(percent), bake })
                    .collect(),
                keep: Duration::from_secs(keep),
            }
        ),
    ]
}

fn behaviours() -> impl Generator<Value = Behaviour> {
    let some = |limit: u64| proptest::option::weighted(0.3, 0..limit);
    (proptest::option::weighted(0.85, 0_u64..4_000), some(8_000), 0_u64..2_000, some(8_000))
        .prop_map(|(ready_after, dies_after, drains_for, bad_after)| Behaviour {
            ready_after,
            dies_after,
            drains_for,
            bad_after,
        })
}

/// When which command is given.
type Commands = Vec<(u64, u8)>;

#[derive(Debug, Clone)]
struct Scenario {
    parts: Vec<(u32, Strategy, bool)>,
    deployments: Vec<(Vec<Behaviour>, Commands)>,
    confirm_after: u64,
}

const NAMES: [&str; 3] = ["api", "web", "worker"];

fn scenarios() -> impl Generator<Value = Scenario> {
    let parts = proptest::collection::vec((1_u32..5, strategies(), any::<bool>()), 1..=3);
    let commands = proptest::collection::vec((0_u64..20_000, 0_u8..4), 0..4);
    let deployment = (proptest::collection::vec(behaviours(), 3), commands);
    (parts, proptest::collection::vec(deployment, 1..4), 0_u64..3_000).prop_map(
        |(parts, deployments, confirm_after)| Scenario { parts, deployments, confirm_after },
    )
}

fn parts(scenario: &Scenario) -> Vec<Part> {
    NAMES
        .into_iter()
        .zip(&scenario.parts)
        .map(|(name, (replicas, strategy, routed))| Part {
            name,
            replicas: *replicas,
            strategy: strategy.clone(),
            routed: *routed,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_deployment_ends_and_the_invariants_hold(scenario in scenarios()) {
        let mut world = World::new();
        world.confirm_after = scenario.confirm_after;
        for (index, (behaviours, commands)) in scenario.deployments.iter().enumerate() {
            let id = index as u64 + 1;
            for (name, behaviour) in NAMES.into_iter().zip(behaviours) {
                let revision = RevisionId::of(&component(name), DeploymentId(id));
                world.behaviours.insert(revision, *behaviour);
            }
            let served_before: Vec<Option<String>> =
                NAMES.iter().map(|name| world.serving(name)).collect();
            world.deploy(id, &parts(&scenario)).unwrap();
            let start = world.now;
            let mut commands = commands.clone();
            commands.sort_unstable();
            let mut condemned = false;
            for (at, command) in commands {
                while world.now < start + at && world.environment.deployment.is_some() {
                    world.tick();
                    world.check();
                    // 10: once on the way back, always on the way back.
                    if condemned && world.environment.deployment.is_some() {
                        prop_assert!(world.going_back());
                    }
                    condemned |= world.going_back();
                }
                let command = [Command::Pause, Command::Resume, Command::Skip, Command::Abort]
                    [usize::from(command)];
                // Refusals are part of the life; what matters is that they change nothing.
                let before = world.environment.clone();
                if world.command(command).is_err() {
                    prop_assert_eq!(&world.environment, &before);
                }
            }
            // 17: when people and faults have stopped, it ends. A pause waits for a person.
            let _ = world.command(Command::Resume);
            let outcome = world.settle();
            for (name, served) in NAMES.iter().zip(&served_before).take(scenario.parts.len()) {
                match outcome {
                    Outcome::Succeeded => {
                        prop_assert_eq!(world.serving(name), Some(format!("{name}@{id}")));
                    }
                    Outcome::Failed | Outcome::RolledBack => {
                        prop_assert_eq!(&world.serving(name), served);
                    }
                    Outcome::Degraded => {}
                }
            }
            // 14: only what finished its bake can be gone back to.
            let verified = world
                .environment
                .is_verified(&tidegate_types::ReleaseId::new(format!("r-{id}")));
            prop_assert_eq!(verified, outcome == Outcome::Succeeded);
            // 21: an ended deployment is a fixed point until a warm revision's time is over.
            let before = world.environment.clone();
            world.tick();
            let mut after = world.environment.clone();
            after.components.clone_from(&before.components);
            after.revisions.clone_from(&before.revisions);
            prop_assert_eq!(after, before);
        }
    }
}
