//! What can be judged from one transition of the state machine alone.

mod endings;
mod numbering;
mod people;
mod reasons;
mod routing;
mod sizes;
mod steps;
mod time;

use tidegate_core::{
    Decision, Deployment, Environment, Event, Input, Position, Progress, Rejected, Seen, Stage,
};
use tidegate_types::{Plan, Rollout, Timestamp};

use crate::{Breach, Breaches};

/// Judges one transition: state, input, what was seen, time, and what followed.
#[must_use]
pub fn transition(
    before: &Environment,
    input: &Input,
    seen: &Seen,
    now: Timestamp,
    result: &Result<Decision, Rejected>,
) -> Vec<Breach> {
    let mut breaches = Breaches::default();
    people::check(before, input, result.as_ref().err(), &mut breaches);
    if let Ok(decision) = result {
        let case = Case {
            before,
            input,
            seen,
            now,
            after: &decision.environment,
            events: &decision.events,
            wake_at: decision.wake_at,
        };
        people::check_taken(&case, &mut breaches);
        numbering::check(&case, &mut breaches);
        routing::check(&case, &mut breaches);
        sizes::check(&case, &mut breaches);
        steps::check(&case, &mut breaches);
        endings::check(&case, &mut breaches);
        time::check(&case, &mut breaches);
        reasons::check(&case, &mut breaches);
    }
    breaches.0
}

/// A transition that took place.
struct Case<'a> {
    before: &'a Environment,
    input: &'a Input,
    seen: &'a Seen,
    now: Timestamp,
    after: &'a Environment,
    events: &'a [Event],
    wake_at: Option<Timestamp>,
}

impl<'a> Case<'a> {
    /// Whether the plan of the deployment under way came in this transition.
    fn just_planned(&self) -> bool {
        match (self.input, &self.before.deployment) {
            (Input::Prepared(plan), Some(deployment)) => {
                deployment.id == plan.deployment && deployment.stage == Stage::Preparing
            }
            _ => false,
        }
    }

    /// The plan that is followed, if there is one by now.
    fn plan(&self) -> Option<&'a Plan> {
        match (self.input, self.just_planned()) {
            (Input::Prepared(plan), true) => Some(plan),
            _ => self.before.deployment.as_ref()?.plan.as_ref(),
        }
    }

    fn rollouts(&self) -> &'a [Rollout] {
        self.plan().map_or(&[], |plan| &plan.rollouts)
    }

    /// What is remembered of a rollout, as it is now or was last.
    fn progress(&self, index: usize) -> Progress {
        let of = |environment: &Environment| {
            environment.deployment.as_ref()?.progress.get(index).copied()
        };
        of(self.after).or_else(|| of(self.before)).unwrap_or_default()
    }

    /// Whether the deployment that was under way has ended.
    fn ended(&self) -> bool {
        self.before.deployment.is_some() && self.after.deployment.is_none()
    }

    /// Whether the decision to go back was made in this transition.
    fn turned(&self) -> bool {
        !going_back(self.before) && self.events.iter().any(|e| matches!(e, Event::Failed { .. }))
    }

    /// Whether the data plane follows the table of the state before.
    fn confirmed_before(&self) -> bool {
        self.before.epoch.0 == 0 || self.seen.observation.routes.epoch == Some(self.before.epoch)
    }
}

fn going_back(environment: &Environment) -> bool {
    let stage = environment.deployment.as_ref().map(|deployment| &deployment.stage);
    matches!(stage, Some(Stage::GoingBack { .. }))
}

fn rolling(environment: &Environment) -> Option<(&Deployment, &Position)> {
    let deployment = environment.deployment.as_ref()?;
    match &deployment.stage {
        Stage::Rolling(position) => Some((deployment, position)),
        Stage::Preparing | Stage::GoingBack { .. } => None,
    }
}

/// Whether a rollout only changes the number of instances.
fn resizes(rollout: &Rollout) -> bool {
    rollout.candidate.as_ref().is_some_and(|one| Some(&one.id) == rollout.stable.as_ref())
}
