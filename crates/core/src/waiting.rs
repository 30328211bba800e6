//! What an environment waits for: on what, until when, and what ends it.

use serde::{Deserialize, Serialize};
use tidegate_types::{Step, Timestamp, Verdict};

use crate::{Environment, Seen, Stage, back, forward};

/// One thing that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// On what.
    pub on: String,
    /// Until when at the latest; none when there is no limit.
    pub until: Option<Timestamp>,
    /// What ends it.
    pub ends: String,
}

/// What the deployment under way waits for; none when there is none.
#[must_use]
pub fn waiting(environment: &Environment, seen: &Seen) -> Option<Waiting> {
    let deployment = environment.deployment.as_ref()?;
    let name = &environment.scope.environment;
    if let Some(pause) = &deployment.pause {
        return Some(Waiting {
            on: format!("{} to resume it; guards keep watching", pause.actor),
            until: None,
            ends: format!("`tidegate resume {name}` goes on, `tidegate abort {name}` goes back"),
        });
    }
    match &deployment.stage {
        Stage::Preparing => Some(Waiting {
            on: "the release to be built and the plan to be made".to_owned(),
            until: None,
            ends: format!("the end of the build, or `tidegate abort {name}`"),
        }),
        Stage::Rolling(position) => {
            let Some((rollout, step)) = deployment.current() else {
                // The last step was skipped before anybody could look.
                return Some(Waiting {
                    on: "a look at the target".to_owned(),
                    until: None,
                    ends: "its answer; it is asked again until it answers".to_owned(),
                });
            };
            let component = &rollout.component;
            let candidate = rollout.candidate.as_ref();
            let facts = candidate.map(|candidate| seen.facts(&candidate.id)).unwrap_or_default();
            let (on, ends) = match step {
                Step::Scale { instances } => (
                    format!("{component}: {} of {} instances ready", facts.ready, instances.max(1)),
                    "all of them ready; one that cannot start, or the time, ends it in failure"
                        .to_owned(),
                ),
                Step::Shift { share } if position.entered => (
                    format!("{component}: the proxy to confirm {share}"),
                    "its confirmation".to_owned(),
                ),
                Step::Shift { share } => (
                    format!("{component}: enough ready instances to carry {share}"),
                    "their readiness".to_owned(),
                ),
                Step::Bake { .. } if position.held => (
                    format!("{component}: enough evidence ({})", lacking(seen, position.rollout)),
                    format!(
                        "more requests, `tidegate skip {name}` (goes on without), or `tidegate \
                         abort {name}`"
                    ),
                ),
                Step::Bake { .. } => (
                    format!("{component}: the bake"),
                    format!("the time, a breached guard (goes back), or `tidegate skip {name}`"),
                ),
                Step::Shrink { instances } => (
                    format!("{component}: old instances to drain and stop, down to {instances}"),
                    "the end of their requests, or of the drain time".to_owned(),
                ),
            };
            let until = forward::due(deployment).filter(|_| !position.held);
            Some(Waiting { on, until, ends })
        }
        Stage::GoingBack { rollout: Some(index), .. } => {
            let rollout = deployment.plan.as_ref()?.rollouts.get(*index)?;
            Some(Waiting {
                on: format!("{}: its stable revision to be ready again", rollout.component),
                until: back::due(environment, deployment),
                ends: "its readiness".to_owned(),
            })
        }
        Stage::GoingBack { rollout: None, .. } => Some(Waiting {
            on: "the proxy to confirm that the stable revisions have all of the traffic".to_owned(),
            until: None,
            ends: "its confirmation; it is asked again until it answers".to_owned(),
        }),
    }
}

/// What the guards say that have not enough evidence.
fn lacking(seen: &Seen, rollout: usize) -> String {
    let sentences: Vec<&str> = seen
        .readings
        .get(rollout)
        .into_iter()
        .flatten()
        .filter(|reading| reading.verdict == Verdict::InsufficientEvidence)
        .map(|reading| reading.evidence.as_str())
        .collect();
    sentences.join("; ")
}
