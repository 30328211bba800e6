//! Lives that are told, as a check of the world itself.

use tidegate_core::Outcome;
use tidegate_sim::world::Behaviour;
use tidegate_trials::{Act, Call, Fault, How, Scenario, Timed, generate, run};
use tidegate_types::DeploymentId;

use crate::story::{STRATEGIES, scenario};

const SECOND: DeploymentId = DeploymentId(2);

#[test]
fn a_good_release_serves_and_a_bad_one_goes_back() {
    for strategy in STRATEGIES {
        let good = run(&scenario(strategy, Behaviour::default()));
        assert_eq!(good.breaches, [], "{strategy}");
        assert_eq!(good.outcomes[&SECOND], Outcome::Succeeded, "{strategy}");
        let bad = run(&scenario(strategy, Behaviour { errors: 0.3, ..Behaviour::default() }));
        assert_eq!(bad.breaches, [], "{strategy}");
        assert_eq!(bad.outcomes[&SECOND], Outcome::RolledBack, "{strategy}");
    }
}

/// 11: nothing but the proxy is needed to go back. The target hangs over every change of what runs.
#[test]
fn a_target_that_hangs_does_not_keep_an_abort_waiting() {
    let mut scenario = scenario(STRATEGIES[5], Behaviour::default());
    scenario.acts.push(Timed { at: 70_000, act: Act::Abort });
    let undisturbed = run(&scenario);
    assert_eq!(
        undisturbed.outcomes[&SECOND],
        Outcome::RolledBack,
        "{}",
        undisturbed.story.join("\n")
    );
    let routed_at = |verdict: &tidegate_trials::Verdict| {
        let after = |routing: &&tidegate_trials::Routing| routing.at >= 70_000;
        verdict.routings.iter().find(after).map(|routing| routing.at).unwrap()
    };
    // The one before the last brings the candidate to its full size, and is under way when the
    // abort comes; the last one takes the candidate away.
    let applies = undisturbed.calls[&Call::Apply];
    scenario.faults = (applies - 1..applies + 4)
        .map(|nth| Fault { call: Call::Apply, nth, how: How::Hangs })
        .collect();
    let hanging = run(&scenario);
    assert_eq!(hanging.breaches, []);
    assert_eq!(hanging.outcomes[&SECOND], Outcome::RolledBack);
    assert!(hanging.faults > 0);
    assert!(
        routed_at(&hanging) <= routed_at(&undisturbed) + 100,
        "{} and {}",
        routed_at(&hanging),
        routed_at(&undisturbed)
    );
}

/// 19: a second control plane that believes it is in charge undoes nothing.
#[test]
fn two_control_planes_end_where_one_does() {
    for strategy in STRATEGIES {
        for at in (60_100..72_000).step_by(1_300) {
            let mut scenario =
                scenario(strategy, Behaviour { errors: 0.3, ..Behaviour::default() });
            scenario.acts.push(Timed { at, act: Act::Zombie(20_000) });
            let verdict = run(&scenario);
            assert_eq!(verdict.breaches, [], "{strategy} at {at}");
            assert_eq!(verdict.outcomes[&SECOND], Outcome::RolledBack, "{strategy} at {at}");
        }
    }
}

#[test]
fn the_same_scenario_gives_the_same_life_and_survives_being_written() {
    for number in 0..100 {
        let scenario = generate(number);
        let read = Scenario::from_text(&scenario.to_text().unwrap()).unwrap();
        assert_eq!(read, scenario);
        let (one, other) = (run(&read).story, run(&scenario).story);
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        let place = differs.map(|place| (&one[place], &other[place]));
        assert_eq!((place, one.len()), (None, other.len()), "scenario {number}");
    }
}
