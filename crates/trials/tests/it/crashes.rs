//! Killed at every place where it can be killed, it ends where it would have ended.

use std::collections::BTreeMap;

use tidegate_core::{Environment, Outcome};
use tidegate_sim::world::Behaviour;
use tidegate_trials::{Fault, How, Scenario, Verdict, crash_points, run, with_crash};
use tidegate_types::{DeploymentId, RevisionId, Share};

use crate::story::{STRATEGIES, scenario};

/// What has to be the same: how each deployment ended, what serves, who gets what.
type End = (BTreeMap<DeploymentId, Outcome>, Vec<RevisionId>, Vec<(RevisionId, Share)>);

fn end(verdict: &Verdict) -> End {
    let components = verdict.environment.as_ref().map(|environment: &Environment| {
        let components = environment.components.values();
        let shares = components.clone().flat_map(|component| component.shares.clone()).collect();
        (components.filter_map(|component| component.serving.clone()).collect(), shares)
    });
    let (serving, shares) = components.unwrap_or_default();
    (verdict.outcomes.clone(), serving, shares)
}

fn seconds() -> Vec<(&'static str, Behaviour)> {
    let good = Behaviour::default();
    vec![
        ("good", good.clone()),
        ("fails requests", Behaviour { errors: 0.3, ..good.clone() }),
        ("never ready", Behaviour { ready_after: None, ..good.clone() }),
        ("exits", Behaviour { exits_after: Some(1_500), ..good }),
    ]
}

/// All of a scenario's crash points; how many there are, and those that end otherwise.
fn kill_everywhere(scenario: &Scenario, twice: bool) -> (usize, Vec<(Fault, End)>) {
    let undisturbed = run(scenario);
    assert_eq!(undisturbed.breaches, []);
    let points = crash_points(&undisturbed, 200);
    let otherwise = points.iter().filter_map(|point| {
        let mut killed = with_crash(scenario, point);
        if twice {
            // Once more at the next such call, which is a part of the recovery.
            let how = if matches!(point.how, How::CrashBefore(_)) {
                How::CrashAfter(200)
            } else {
                How::CrashBefore(200)
            };
            killed = with_crash(&killed, &Fault { nth: point.nth + 1, how, ..point.clone() });
        }
        let verdict = run(&killed);
        assert_eq!(verdict.breaches, [], "killed at {point:?}");
        assert!(verdict.faults >= 1, "{point:?} was not reached");
        (end(&verdict) != end(&undisturbed)).then(|| (point.clone(), end(&verdict)))
    });
    (points.len(), otherwise.collect())
}

fn all(twice: bool) -> usize {
    let mut sum = 0;
    for strategy in STRATEGIES {
        for (name, second) in seconds() {
            let (count, otherwise) = kill_everywhere(&scenario(strategy, second), twice);
            // A request that was not stored when the control plane died was never taken.
            let lost: Vec<_> = otherwise.into_iter().filter(|(_, end)| end.0.len() == 2).collect();
            assert_eq!(lost, [], "{strategy}, {name}");
            sum += count;
        }
    }
    sum
}

#[test]
fn killed_at_every_crash_point() {
    println!("{} crash points, all of those existing", all(false));
}

#[test]
fn killed_at_every_crash_point_and_again_while_it_recovers() {
    println!("{} pairs of crashes", all(true));
}
