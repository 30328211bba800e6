//! Scenarios that are told.

use std::collections::BTreeMap;

use tidegate_sim::world::Behaviour;
use tidegate_trials::{Act, Kind, Made, Part, Scenario, Timed};
use tidegate_types::WithoutEvidence;

/// All strategies, each short.
pub(crate) const STRATEGIES: [&str; 6] = [
    "{ recreate: { bake: 4s } }",
    "{ rolling: { max_surge: 1, max_unavailable: 0, bake: 4s } }",
    "{ rolling: { max_surge: 0, max_unavailable: 1, bake: 4s } }",
    "{ blue_green: { bake: 4s, keep: 30s } }",
    "{ blue_green: { canary: { share: 10%, bake: 4s }, bake: 4s, keep: 30s } }",
    "{ canary: { steps: [10%, 50%, 100%], bake: 4s, keep: 30s } }",
];

/// A good release of one service with two instances, and a second one that behaves so.
pub(crate) fn scenario(strategy: &str, second: Behaviour) -> Scenario {
    let made = |behaviour| Made {
        changes: BTreeMap::from([("api".to_owned(), behaviour)]),
        takes: 500,
        ..Made::default()
    };
    Scenario {
        seed: 1,
        rate: 100.0,
        components: vec![Part {
            name: "api".into(),
            kind: Kind::Service,
            replicas: 2,
            strategy: strategy.into(),
        }],
        guards: vec![("error_rate > 5% for 2s".into(), 20), ("restarts >= 3".into(), 0)],
        without_evidence: WithoutEvidence::Hold,
        releases: vec![made(Behaviour::default()), made(second)],
        acts: vec![Timed { at: 0, act: Act::Deploy(0) }, Timed { at: 60_000, act: Act::Deploy(1) }],
        faults: Vec::new(),
    }
}
