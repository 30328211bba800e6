//! One deployment from its request to its end, and the hour after it.

use std::collections::BTreeMap;

use tidegate_core::{Environment, Event, Input, Outcome, Seen, Stage, step};
use tidegate_engine::evidence::{self, Samples};
use tidegate_types::{
    Counters, DeploymentKind, Duration, Observation, Plan, RevisionId, Timestamp, Verdict,
    WantedRevision,
};

use super::{
    Fault,
    fault::{INCIDENT, INCIDENT_ERRORS},
    subject::{FINEST, Pace, Subject},
};
use crate::world::{Behaviour, Fleet, Settings, Tally};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Ended(Outcome),
    /// It waits for evidence, and would go on to.
    Held,
}

/// What came of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    pub(crate) end: End,
    /// From the start of the component's rollout to the decision to go back.
    pub(crate) decided: Option<u64>,
    /// From the request to the end.
    pub(crate) took: u64,
    /// Requests to the component meanwhile.
    pub(crate) requests: u64,
    /// Requests to it that the fault or the plan spoiled.
    pub(crate) harmed: f64,
    /// The same in the hour after, when the new version was not taken back.
    pub(crate) harmed_after: Option<f64>,
    /// What decided, as the guard or the failure says.
    pub(crate) decided_by: Option<String>,
}

/// The fleet before a deployment has this long to come up.
const BEFORE: u64 = 2_000;
/// What goes on after the end is counted for this long.
const AFTER: u64 = 3_600_000;
/// While a bake is held the state machine is asked at least this often.
const HELD: Duration = Duration::from_secs(5);
/// No plan takes so much longer than its bakes; one that does waits for something.
const LONGEST_BESIDES: u64 = 6 * 3_600_000;

/// The control plane and its world at one moment.
struct Life {
    environment: Environment,
    fleet: Fleet,
    told: Vec<WantedRevision>,
    seen: Seen,
    /// Of the fleet, when `seen` was.
    changes: Option<u64>,
    samples: Samples,
    base: Option<(Timestamp, BTreeMap<RevisionId, Counters>)>,
    window: Duration,
    asked: Option<Asked>,
    /// Asks the state machine at every look, also where its answer is known.
    always: bool,
}

/// On what the state machine last said that nothing follows.
struct Asked {
    at: Timestamp,
    wake_at: Option<Timestamp>,
    verdicts: Vec<Vec<Verdict>>,
}

impl Life {
    fn new(environment: Environment, fleet: Fleet) -> Self {
        Self {
            environment,
            fleet,
            told: Vec::new(),
            seen: Seen { observation: Observation::default(), fresh: true, readings: Vec::new() },
            changes: None,
            samples: Samples::default(),
            base: None,
            window: Duration::ZERO,
            asked: None,
            always: false,
        }
    }

    /// Tells the fleet what is wanted, as the engine does: what is new first, then the traffic, and
    /// what leaves last.
    fn perform(&mut self) {
        let wanted = self.environment.wanted();
        if wanted != self.told {
            let new = wanted.iter().filter(|new| !self.told.iter().any(|known| known.id == new.id));
            let both: Vec<WantedRevision> = self.told.iter().chain(new).cloned().collect();
            let generation = self.environment.generation;
            // A fleet with one control plane refuses nothing.
            let _ = self.fleet.apply(generation.previous(), &both);
        }
        let table = self.environment.route_table();
        if table.epoch.0 > 0 {
            let _ = self.fleet.route(&table);
        }
        if wanted != self.told {
            let _ = self.fleet.apply(self.environment.generation, &wanted);
            self.told = wanted;
        }
    }

    /// Counts what came since the last time.
    fn sample(&mut self) {
        let Some(traffic) = self.fleet.traffic() else { return };
        let now = self.fleet.clock();
        if let Some((from, before)) = &self.base {
            if *from == now {
                return;
            }
            self.samples.add(evidence::between(*from, before, now, &traffic.revisions));
            self.samples.forget(self.window, now);
        }
        self.base = Some((now, traffic.revisions));
    }

    /// Takes an input, and then all that follows from it at this moment.
    fn decide(&mut self, input: &Input, mut told: impl FnMut(&Event, u64)) {
        let mut input = input;
        loop {
            if self.changes != Some(self.fleet.changes()) {
                self.seen.observation = self.fleet.observe();
                self.changes = Some(self.fleet.changes());
                self.asked = None;
            }
            let now = self.fleet.clock();
            let verdicts =
                evidence::verdicts(&self.environment, &self.seen.observation, &self.samples, now);
            if *input == Input::Look && self.is_answered(&verdicts, now) {
                return;
            }
            self.seen.readings =
                evidence::readings(&self.environment, &self.seen.observation, &self.samples, now);
            // The inputs of a forecast are always possible.
            let Ok(decision) = step(&self.environment, input, &self.seen, now) else { return };
            decision.events.iter().for_each(|event| told(event, self.fleet.now()));
            let changed = !decision.events.is_empty() || decision.environment != self.environment;
            if !changed && *input == Input::Look {
                self.asked = Some(Asked { at: now, wake_at: decision.wake_at, verdicts });
                return;
            }
            self.environment = decision.environment;
            self.asked = None;
            self.perform();
            input = &Input::Look;
        }
    }

    /// Whether the state machine has said already that nothing follows from this. It is pure: the
    /// same state, facts and verdicts give the same answer until the time that it named itself.
    fn is_answered(&self, verdicts: &[Vec<Verdict>], now: Timestamp) -> bool {
        let Some(asked) = self.asked.as_ref().filter(|_| !self.always) else { return false };
        // While it is held it names no time.
        let again = asked.wake_at.unwrap_or_else(|| asked.at.after(HELD));
        asked.verdicts == verdicts && now < again
    }

    /// The next moment at which something can change.
    fn next(&self, every: Option<u64>, wake: Option<u64>) -> u64 {
        let now = self.fleet.now();
        let sample = every.map(|every| (now / every + 1) * every);
        let clock = self.fleet.clock();
        let asked = self.asked.as_ref().and_then(|asked| asked.wake_at);
        let asked =
            asked.filter(|again| *again > clock).map(|again| now + again.since(clock).as_millis());
        let times = [sample, asked, self.fleet.next_change(), wake];
        times.into_iter().flatten().filter(|time| *time > now).min().unwrap_or(now + FINEST)
    }

    fn is_held(&self) -> bool {
        self.environment.deployment.as_ref().is_some_and(
            |deployment| matches!(&deployment.stage, Stage::Rolling(position) if position.held),
        )
    }
}

fn fleet(
    seed: u64,
    rate: f64,
    latencies: bool,
    behaviour: Box<dyn Fn(&tidegate_types::RevisionSpec) -> Behaviour + Send + Sync>,
) -> Fleet {
    Fleet::new(Settings { seed, rate, latencies, behaviour, began: Timestamp::default() })
}

/// Brings the release that serves before: without requests, and without anything that fails.
pub(crate) fn first(environment: Environment, plan: Plan, usual: &Behaviour) -> Environment {
    let usual = usual.clone();
    let fleet = fleet(0, 0.0, false, Box::new(move |_| usual.clone()));
    let mut life = Life::new(environment, fleet);
    begin(&mut life, plan, &mut |_, _| {});
    while life.environment.deployment.is_some() && life.fleet.now() < LONGEST_BESIDES {
        let next = life.next(None, None);
        life.fleet.advance(next);
        life.decide(&Input::Look, |_, _| {});
    }
    life.environment
}

fn begin(life: &mut Life, plan: Plan, told: &mut impl FnMut(&Event, u64)) {
    let request = Input::Request {
        deployment: plan.deployment,
        kind: DeploymentKind::Deploy,
        actor: "simulate".to_owned(),
    };
    life.decide(&request, &mut *told);
    life.decide(&Input::Prepared(plan), told);
    life.window = evidence::longest_window(&life.environment);
}

/// Runs the plan once with this fault.
pub(crate) fn run(subject: &Subject, fault: Fault, seed: u64) -> Run {
    watch(subject, fault, seed, false)
}

/// `always` asks the state machine at every look, to see that leaving questions out changes nothing.
pub(crate) fn watch(subject: &Subject, fault: Fault, seed: u64, always: bool) -> Run {
    let behaviours: BTreeMap<_, _> = subject
        .plan
        .rollouts
        .iter()
        .filter_map(|rollout| rollout.candidate.as_ref())
        .map(|candidate| &candidate.spec)
        .chain(subject.before.revisions.values().map(|wanted| &wanted.spec))
        .map(|spec| {
            let key = (spec.component.clone(), spec.release.clone());
            (key, subject.behaviour(spec, fault))
        })
        .collect();
    let behaviour = move |spec: &tidegate_types::RevisionSpec| {
        let key = (spec.component.clone(), spec.release.clone());
        behaviours.get(&key).cloned().unwrap_or_default()
    };
    let fleet = fleet(seed, subject.rate, subject.latencies, Box::new(behaviour));
    let mut life = Life::new(subject.before.clone(), fleet);
    life.always = always;
    life.perform();
    life.fleet.advance(BEFORE);

    let began = life.fleet.now();
    let before = Count::take(&life.fleet, subject);
    let Pace { every, patience, watched } = subject.pace;
    let mut incident = (fault == Fault::IncidentBoth).then(|| began + within(seed, watched));
    let incident_ends = incident.map(|from| from + INCIDENT);
    let mut notes = Notes::default();
    let mut told = |event: &Event, now: u64| notes.take(event, now, subject);
    begin(&mut life, subject.plan.clone(), &mut told);
    life.sample();
    let mut held_since = None;
    let latest = began.saturating_add(watched.saturating_mul(2)).saturating_add(LONGEST_BESIDES);
    let end = loop {
        if life.environment.deployment.is_none() {
            let ended = life.environment.latest.as_ref();
            break End::Ended(ended.map_or(Outcome::Degraded, |ended| ended.outcome));
        }
        let now = life.fleet.now();
        held_since = life.is_held().then(|| held_since.unwrap_or(now));
        if now > latest || held_since.is_some_and(|since| now - since >= patience) {
            break End::Held;
        }
        let wake = incident.into_iter().chain(incident_ends).filter(|time| *time > now).min();
        let next = life.next(every, wake);
        life.fleet.advance(next);
        if incident.is_some_and(|from| from <= next) {
            life.fleet.set_trouble(INCIDENT_ERRORS);
            incident = None;
        } else if incident_ends.is_some_and(|until| until <= next) {
            life.fleet.set_trouble(0.0);
        }
        let on_the_grid = every.is_some_and(|every| next.is_multiple_of(every));
        // A coarse look at another moment, such as the end of a bake, has to have counted by then.
        if on_the_grid || every.is_some_and(|every| every > FINEST) {
            life.sample();
        }
        life.decide(&Input::Look, &mut told);
    };
    let after = Count::take(&life.fleet, subject);
    let took = life.fleet.now() - began;
    let through = matches!(end, End::Held | End::Ended(Outcome::Succeeded | Outcome::Degraded));
    let harmed_after = (through && fault.is_bad()).then(|| {
        life.fleet.advance(life.fleet.now() + AFTER);
        Count::take(&life.fleet, subject).harmed_since(&after, subject, fault)
    });
    Run {
        end,
        decided: notes.decided.map(|at| at - notes.started.unwrap_or(began)),
        took,
        requests: after.requests_since(&before),
        harmed: after.harmed_since(&before, subject, fault),
        harmed_after,
        decided_by: notes.decided_by,
    }
}

/// A moment in so many milliseconds, drawn from the seed.
fn within(seed: u64, millis: u64) -> u64 {
    use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};
    if millis == 0 {
        return 0;
    }
    Xoshiro256PlusPlus::seed_from_u64(!seed).random_range(0..millis)
}

/// What the journal says that the figures need.
#[derive(Default)]
struct Notes {
    started: Option<u64>,
    decided: Option<u64>,
    decided_by: Option<String>,
}

impl Notes {
    fn take(&mut self, event: &Event, now: u64, subject: &Subject) {
        match event {
            Event::StepEntered { component, index: 0, .. } if *component == subject.component => {
                self.started = Some(now);
            }
            Event::Failed { failure } => {
                self.decided = Some(now);
                self.decided_by = Some(failure.what.clone());
            }
            _ => {}
        }
    }
}

/// What became of the requests to the component so far.
struct Count {
    stable: Tally,
    candidate: Tally,
    unanswered: u64,
}

impl Count {
    fn take(fleet: &Fleet, subject: &Subject) -> Self {
        let of = |revision| fleet.tallies().get(revision).copied().unwrap_or_default();
        Self {
            stable: of(&subject.stable()),
            candidate: of(&subject.candidate()),
            unanswered: fleet.unanswered_of(&subject.component),
        }
    }

    const fn requests_since(&self, before: &Self) -> u64 {
        self.stable.requests + self.candidate.requests + self.unanswered
            - before.stable.requests
            - before.candidate.requests
            - before.unanswered
    }

    /// Requests that nobody answered; of those that the bad version answered the ones that it
    /// slowed, or that failed beyond what is usual.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn harmed_since(&self, before: &Self, subject: &Subject, fault: Fault) -> f64 {
        let unanswered = (self.unanswered - before.unanswered) as f64;
        let requests = (self.candidate.requests - before.candidate.requests) as f64;
        let errors = (self.candidate.errors - before.candidate.errors) as f64;
        unanswered
            + match fault {
                Fault::Healthy | Fault::IncidentBoth => 0.0,
                fault if fault.slows() => requests,
                _ => errors - requests * subject.usual.errors,
            }
    }
}

#[cfg(test)]
#[path = "life_tests.rs"]
pub(super) mod tests;
