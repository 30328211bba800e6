//! Every place where a control plane can be killed.

use crate::{
    Verdict,
    scenario::{Call, Fault, How, Scenario},
};

/// The calls around which something can be lost.
const CALLS: [Call; 10] = [
    Call::Request,
    Call::Accept,
    Call::Pending,
    Call::Load,
    Call::Commit,
    Call::Prepare,
    Call::Apply,
    Call::Route,
    Call::Samples,
    Call::Logs,
];

/// All crash points of a scenario that was lived as `undisturbed` says: before and after each of its
/// calls. Looks change nothing, and are left out.
#[must_use]
pub fn crash_points(undisturbed: &Verdict, away: u64) -> Vec<Fault> {
    CALLS
        .into_iter()
        .flat_map(|call| {
            let count = undisturbed.calls.get(&call).copied().unwrap_or(0);
            (1..=count).flat_map(move |nth| {
                [How::CrashBefore(away), How::CrashAfter(away)].map(|how| Fault { call, nth, how })
            })
        })
        .collect()
}

/// The scenario with one crash more.
#[must_use]
pub fn with_crash(scenario: &Scenario, crash: &Fault) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.faults.push(crash.clone());
    scenario
}
