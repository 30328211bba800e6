//! The way through the plan: 8, 9, 10, 18.

use tidegate_core::{Event, Input, Outcome, Place, Stage};
use tidegate_types::{
    ComponentName, GuardReading, Rollout, Step, Timestamp, Verdict, WithoutEvidence,
};

use super::{Case, rolling};
use crate::Breaches;

pub(super) fn check(case: &Case<'_>, breaches: &mut Breaches) {
    failed_is_failed(case, breaches);
    let Some(mut walk) = Walk::begin(case) else {
        let steps =
            |event: &&Event| matches!(event, Event::StepEntered { .. } | Event::StepDone { .. });
        let step = case.events.iter().find(steps);
        breaches.check(10, step.is_none(), || format!("not on the way forward, and {step:?}"));
        return;
    };
    for event in case.events {
        walk.follow(event, breaches);
    }
    walk.arrive(breaches);
}

/// 10: a guard that fails is the end of the way forward.
fn failed_is_failed(case: &Case<'_>, breaches: &mut Breaches) {
    let Some((_, position)) = rolling(case.before) else { return };
    let begun = case.rollouts().iter().take(position.rollout + 1).zip(&case.seen.readings);
    let failed = begun
        .filter(|(rollout, _)| rollout.candidate.is_some())
        .flat_map(|(_, readings)| readings)
        .find(|reading| reading.verdict == Verdict::Fail);
    let Some(reading) = failed else { return };
    let succeeded = case.ended()
        && case.after.latest.as_ref().is_none_or(|ended| ended.outcome == Outcome::Succeeded);
    breaches.check(10, rolling(case.after).is_none() && !succeeded, || {
        format!("`{}` failed, and the deployment goes on", reading.guard)
    });
}

/// Follows the events of a transition along the steps of the plan.
struct Walk<'a> {
    case: &'a Case<'a>,
    rollouts: &'a [Rollout],
    place: Place,
    entered: bool,
    since: Timestamp,
    /// A person's word to end the bake at hand.
    skipped: bool,
    /// The journal says that a bake goes on without evidence.
    without: bool,
    rerouted: bool,
    paused: bool,
}

impl<'a> Walk<'a> {
    fn begin(case: &'a Case<'a>) -> Option<Self> {
        let (place, entered, since) = match rolling(case.before) {
            Some((deployment, position)) => {
                let resumed = case.events.iter().any(|e| matches!(e, Event::Resumed { .. }));
                let pause = deployment.pause.as_ref().filter(|_| resumed);
                let paused = pause.map(|pause| case.now.since(pause.since.max(position.since)));
                let since = paused.map_or(position.since, |time| position.since.after(time));
                (position.place(), position.entered, since)
            }
            None if case.just_planned() => (Place { rollout: 0, step: 0 }, false, case.now),
            None => return None,
        };
        let pause = case.before.deployment.as_ref()?.pause.as_ref();
        let mut walk = Self {
            case,
            rollouts: case.rollouts(),
            place,
            entered,
            since,
            skipped: false,
            without: false,
            rerouted: false,
            paused: pause.is_some(),
        };
        walk.settle();
        Some(walk)
    }

    /// After the last step of a rollout comes the first of the next.
    fn settle(&mut self) {
        while self
            .rollouts
            .get(self.place.rollout)
            .is_some_and(|rollout| self.place.step >= rollout.steps.len())
        {
            self.place = Place { rollout: self.place.rollout + 1, step: 0 };
            self.entered = false;
        }
    }

    fn current(&self) -> Option<(&'a Rollout, Step)> {
        let rollout = self.rollouts.get(self.place.rollout)?;
        Some((rollout, *rollout.steps.get(self.place.step)?))
    }

    fn is_here(&self, component: &ComponentName, index: usize, step: Step) -> bool {
        self.current().is_some_and(|(rollout, current)| {
            rollout.component == *component && self.place.step == index && current == step
        })
    }

    fn follow(&mut self, event: &Event, breaches: &mut Breaches) {
        match event {
            Event::Resumed { .. } => self.paused = false,
            Event::Paused { .. } => self.paused = true,
            Event::Routed { .. } | Event::CaughtUp { .. } => self.rerouted = true,
            Event::WithoutEvidence { component, readings } => {
                self.without = true;
                let allowed = self.current().is_some_and(|(rollout, _)| {
                    rollout.component == *component
                        && rollout.without_evidence == WithoutEvidence::Proceed
                });
                breaches.check(9, allowed && !readings.is_empty(), || {
                    format!("{component} goes on without evidence, which its plan does not allow")
                });
            }
            Event::Skipped { component, index, .. } => {
                self.skipped = true;
                let asked = matches!(self.case.input, Input::Command { .. });
                let bake = matches!(self.current(), Some((_, Step::Bake { .. })));
                let here =
                    self.current().is_some_and(|(rollout, _)| rollout.component == *component);
                breaches.check(8, asked && bake && here && self.place.step == *index, || {
                    format!("step {index} of {component} was skipped at {:?}", self.place)
                });
            }
            Event::StepEntered { component, index, step, .. } => {
                let here = self.is_here(component, *index, *step) && !self.entered;
                breaches.check(8, here && !self.paused, || {
                    format!("step {index} of {component} began at {:?}", self.place)
                });
                breaches.check(8, self.case.seen.fresh, || {
                    format!("step {index} of {component} began on a look that is not of now")
                });
                self.entered = true;
                self.since = self.case.now;
            }
            Event::StepDone { component, index, step, readings, .. } => {
                let here = self.is_here(component, *index, *step);
                breaches.check(8, here && (self.entered || self.skipped), || {
                    format!("step {index} of {component} ended at {:?}", self.place)
                });
                let told = self.case.seen.readings.get(self.place.rollout);
                breaches.check(
                    27,
                    told.map_or(readings.is_empty(), |told| told == readings),
                    || format!("step {index} of {component} ended on {readings:?}, seen {told:?}"),
                );
                if !self.skipped
                    && let Some((rollout, step)) = self.current()
                {
                    self.done(rollout, step, readings, breaches);
                }
                self.skipped = false;
                self.without = false;
                self.place.step += 1;
                self.entered = false;
                self.since = self.case.now;
                self.settle();
            }
            _ => {}
        }
    }

    /// A step that ended by itself.
    fn done(
        &self,
        rollout: &Rollout,
        step: Step,
        readings: &[GuardReading],
        breaches: &mut Breaches,
    ) {
        let seen = self.case.seen;
        let at = || format!("step {} of {}", self.place.step, rollout.component);
        breaches.check(8, seen.fresh && !self.paused, || {
            format!("{} ended paused or on a look that is not of now", at())
        });
        let ready = rollout.candidate.as_ref().map_or(0, |one| seen.facts(&one.id).ready);
        match step {
            Step::Scale { instances } => breaches.check(8, ready >= instances.max(1), || {
                format!("{} ended with {ready} of {instances} instances ready", at())
            }),
            Step::Shift { .. } => {
                breaches.check(8, self.case.confirmed_before() && !self.rerouted, || {
                    format!("{} ended, and its table is not confirmed", at())
                });
            }
            Step::Shrink { instances } => {
                let running = rollout.stable.as_ref().map_or(0, |id| seen.facts(id).running);
                breaches.check(8, running <= instances, || {
                    format!("{} ended with {running} of {instances} instances running", at())
                });
            }
            Step::Bake { time } => {
                let over = self.since.after(time);
                breaches.check(18, self.case.now >= over, || {
                    format!("{} ended at {:?}, before {over:?}", at(), self.case.now)
                });
                let passed =
                    readings.iter().filter(|reading| reading.verdict == Verdict::Pass).count();
                let enough = passed >= rollout.guards.len() && passed == readings.len();
                breaches.check(9, enough || self.without || time.is_zero(), || {
                    format!("{} ended well with {readings:?}", at())
                });
                let wanted = rollout.candidate.as_ref().map_or(0, |candidate| {
                    let wanted = self.case.before.revisions.get(&candidate.id);
                    wanted.map_or(1, |wanted| wanted.replicas).max(1)
                });
                breaches.check(8, ready >= wanted, || {
                    format!("{} ended with {ready} of {wanted} instances ready", at())
                });
            }
        }
    }

    fn arrive(&mut self, breaches: &mut Breaches) {
        let case = self.case;
        if let Some((_, position)) = rolling(case.after) {
            let (place, entered) = (self.place, self.entered);
            self.place = position.place();
            self.entered = position.entered;
            self.settle();
            breaches.check(8, (self.place, self.entered) == (place, entered), || {
                format!("the journal leads to {place:?}, and the state is at {:?}", self.place)
            });
            breaches.check(18, position.since == self.since, || {
                format!(
                    "{place:?} began at {:?}, and the state says {:?}",
                    self.since, position.since
                )
            });
            return;
        }
        let outcome = case.after.latest.as_ref().map(|latest| latest.outcome);
        let through = self.place.rollout >= self.rollouts.len();
        if case.ended() && outcome == Some(Outcome::Succeeded) {
            breaches.check(8, through && !self.paused && case.seen.fresh, || {
                format!("it succeeded at {:?}", self.place)
            });
        } else {
            let preparing = case.after.deployment.as_ref().map(|deployment| &deployment.stage);
            breaches.check(8, preparing != Some(&Stage::Preparing), || {
                "a plan was frozen and is gone".to_owned()
            });
        }
    }
}
