//! A strategy as a list of steps.

use tidegate_manifest::{Strategy, StrategyStep};
use tidegate_types::{Duration, Share, Step};

/// What a strategy has to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Instances that the candidate shall have; 0 for a static site.
    pub replicas: u32,
    /// Instances that the stable revision has; none when there is no stable revision.
    pub stable: Option<u32>,
    /// Whether the component takes requests.
    pub routed: bool,
}

/// The steps that take a component from its stable revision to the candidate.
#[must_use]
pub fn steps(strategy: &Strategy, situation: Situation) -> Vec<Step> {
    let Situation { replicas, stable, routed } = situation;
    let mut steps = match (strategy, stable) {
        (strategy, None) => vec![
            Step::Scale { instances: replicas },
            Step::Shift { share: Share::ALL },
            Step::Bake { time: last_bake(strategy) },
        ],
        (Strategy::Recreate { bake }, Some(_)) => vec![
            Step::Shrink { instances: 0 },
            Step::Scale { instances: replicas },
            Step::Shift { share: Share::ALL },
            Step::Bake { time: *bake },
        ],
        (Strategy::Rolling { max_surge, max_unavailable, bake }, Some(stable)) => {
            let mut steps = rolling(replicas, stable, *max_surge, *max_unavailable);
            steps.push(Step::Bake { time: *bake });
            steps
        }
        (Strategy::BlueGreen { canary, bake, .. }, Some(_)) => {
            let mut steps = vec![Step::Scale { instances: replicas }];
            // Without requests there is nothing to give a share of.
            if let Some(canary) = canary.filter(|_| routed) {
                steps.extend([
                    Step::Shift { share: canary.share },
                    Step::Bake { time: canary.bake },
                ]);
            }
            steps.extend([Step::Shift { share: Share::ALL }, Step::Bake { time: *bake }]);
            steps
        }
        (Strategy::Canary { steps: shares, .. }, Some(_)) if routed => canary(replicas, shares),
        (strategy @ Strategy::Canary { .. }, Some(_)) => {
            vec![Step::Scale { instances: replicas }, Step::Bake { time: last_bake(strategy) }]
        }
    };
    steps.retain(|step| match step {
        Step::Shift { .. } => routed,
        Step::Bake { time } => !time.is_zero(),
        Step::Scale { .. } | Step::Shrink { .. } => true,
    });
    steps
}

/// How long the stable revision stays warm after the strategy is through.
#[must_use]
pub fn keep(strategy: &Strategy) -> Duration {
    match strategy {
        Strategy::BlueGreen { keep, .. } | Strategy::Canary { keep, .. } => *keep,
        Strategy::Recreate { .. } | Strategy::Rolling { .. } => Duration::ZERO,
    }
}

/// The watch after the last shift.
#[must_use]
pub fn last_bake(strategy: &Strategy) -> Duration {
    match strategy {
        Strategy::Recreate { bake }
        | Strategy::Rolling { bake, .. }
        | Strategy::BlueGreen { bake, .. } => *bake,
        Strategy::Canary { steps, .. } => steps.last().map_or(Duration::ZERO, |step| step.bake),
    }
}

/// Each share gets the instances to carry it, and the stable revision keeps all of its own: going
/// back is one write at every step.
fn canary(replicas: u32, shares: &[StrategyStep]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut instances = None;
    for StrategyStep { share, bake } in shares {
        let needed = share.of_count(replicas);
        if instances != Some(needed) {
            steps.push(Step::Scale { instances: needed });
            instances = Some(needed);
        }
        steps.extend([Step::Shift { share: *share }, Step::Bake { time: *bake }]);
    }
    steps
}

/// As many new ones as surge allows, then as few old ones as unavailability allows, until all are
/// new. Shares follow the numbers of instances. Kubernetes' bounds: at most `replicas + max_surge`
/// run, at least `replicas - max_unavailable` are ready.
fn rolling(replicas: u32, stable: u32, max_surge: u32, max_unavailable: u32) -> Vec<Step> {
    // Neither more nor fewer allows no step at all; one fewer is the smallest that does.
    let max_unavailable = if max_surge == 0 { max_unavailable.max(1) } else { max_unavailable };
    let (mut old, mut new) = (stable, 0);
    let mut steps = Vec::new();
    if replicas == 0 {
        // A static site: nothing to count.
        return vec![Step::Scale { instances: 0 }, Step::Shift { share: Share::ALL }];
    }
    // The last new ones leave no reason for an old one to stay.
    while new < replicas {
        let grown = replicas.min((replicas + max_surge).saturating_sub(old)).max(new);
        if grown > new {
            new = grown;
            steps.push(Step::Scale { instances: new });
        }
        let shrunk = replicas.saturating_sub(max_unavailable).saturating_sub(new).min(old);
        if shrunk < old {
            old = shrunk;
            if new > 0 {
                steps.push(Step::Shift { share: Share::of(new, new + old) });
            }
            steps.push(Step::Shrink { instances: old });
        }
    }
    let all = Step::Shift { share: Share::ALL };
    if !steps.contains(&all) {
        // All of the old ones had to go before the first new one came.
        steps.push(all);
    }
    steps
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn scale(instances: u32) -> Step {
        Step::Scale { instances }
    }
    fn shift(percent: u32) -> Step {
        Step::Shift { share: Share::percent(percent) }
    }
    fn shrink(instances: u32) -> Step {
        Step::Shrink { instances }
    }
    fn bake() -> Step {
        Step::Bake { time: MINUTE }
    }
    fn share(percent: u32) -> StrategyStep {
        StrategyStep { share: Share::percent(percent), bake: MINUTE }
    }
    fn situation(replicas: u32, stable: u32) -> Situation {
        Situation { replicas, stable: Some(stable), routed: true }
    }

    #[test]
    fn the_first_release_has_nobody_to_share_with() {
        let strategy = Strategy::Canary { steps: vec![share(10), share(100)], keep: MINUTE };
        let first = Situation { replicas: 2, stable: None, routed: true };
        assert_eq!(steps(&strategy, first), [scale(2), shift(100), bake()]);
    }

    #[test]
    fn a_canary_gets_the_instances_for_its_share_and_stable_keeps_its_own() {
        let strategy =
            Strategy::Canary { steps: vec![share(10), share(50), share(100)], keep: MINUTE };
        assert_eq!(
            steps(&strategy, situation(4, 4)),
            [
                scale(1),
                shift(10),
                bake(),
                scale(2),
                shift(50),
                bake(),
                scale(4),
                shift(100),
                bake()
            ]
        );
    }

    #[test]
    fn one_instance_is_scaled_once() {
        let strategy = Strategy::Canary { steps: vec![share(10), share(100)], keep: MINUTE };
        assert_eq!(
            steps(&strategy, situation(1, 1)),
            [scale(1), shift(10), bake(), shift(100), bake()]
        );
    }

    #[test]
    fn blue_green_starts_all_before_any_traffic_moves() {
        let strategy = Strategy::BlueGreen { canary: Some(share(10)), bake: MINUTE, keep: MINUTE };
        assert_eq!(
            steps(&strategy, situation(2, 2)),
            [scale(2), shift(10), bake(), shift(100), bake()]
        );
        let without = Strategy::BlueGreen { canary: None, bake: Duration::ZERO, keep: MINUTE };
        assert_eq!(steps(&without, situation(2, 2)), [scale(2), shift(100)]);
    }

    #[test]
    fn recreate_never_runs_both() {
        assert_eq!(
            steps(&Strategy::Recreate { bake: MINUTE }, situation(2, 3)),
            [shrink(0), scale(2), shift(100), bake()]
        );
    }

    #[test]
    fn rolling_goes_in_batches() {
        let strategy = Strategy::Rolling { max_surge: 1, max_unavailable: 0, bake: MINUTE };
        assert_eq!(
            steps(&strategy, situation(2, 2)),
            [scale(1), shift(50), shrink(1), scale(2), shift(100), shrink(0), bake()]
        );
        let without_surge = Strategy::Rolling { max_surge: 0, max_unavailable: 1, bake: MINUTE };
        assert_eq!(
            steps(&without_surge, situation(2, 2)),
            [shrink(1), scale(1), shift(100), shrink(0), scale(2), bake()]
        );
    }

    #[test]
    fn a_worker_is_never_shifted() {
        let worker = Situation { routed: false, ..situation(1, 1) };
        let strategy = Strategy::Canary { steps: vec![share(10), share(100)], keep: MINUTE };
        assert_eq!(steps(&strategy, worker), [scale(1), bake()]);
    }

    proptest! {
        /// Invariant 5: the bounds hold after every step, and all instances are new at the end.
        #[test]
        fn rolling_keeps_its_bounds(
            replicas in 1_u32..20, stable in 1_u32..20, surge in 0_u32..6, unavailable in 0_u32..6,
        ) {
            let steps = rolling(replicas, stable, surge, unavailable);
            let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
            let (mut old, mut new, mut last_share) = (stable, 0, Share::NONE);
            for step in &steps {
                match step {
                    Step::Scale { instances } => {
                        prop_assert!(*instances > new);
                        new = *instances;
                        prop_assert!(new + old <= (replicas + surge).max(stable), "{steps:?}");
                    }
                    Step::Shrink { instances } => {
                        prop_assert!(*instances < old);
                        old = *instances;
                        let least = replicas.saturating_sub(unavailable).min(stable);
                        prop_assert!(new + old >= least, "{steps:?}");
                    }
                    Step::Shift { share } => {
                        prop_assert!(*share >= last_share, "{steps:?}");
                        last_share = *share;
                    }
                    Step::Bake { .. } => {}
                }
            }
            prop_assert_eq!((old, new, last_share), (0, replicas, Share::ALL));
        }
    }
}
