//! One revision and its instances, kept as a target keeps them.

use tidegate_types::{
    InstanceFacts, InstanceFailure, InstanceId, InstanceState, RevisionFacts, Timestamp,
    WantedRevision, Workload,
};

use super::{Behaviour, instance::Instance};

/// The pause before a first restart; it doubles with each further one.
const FIRST_PAUSE: u64 = 100;
const LONGEST_PAUSE: u64 = 30_000;

/// How far a control plane looks after a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// There is none, or none that was told a list: nothing is started and nothing is retired.
    Nobody,
    /// The proxy may send requests to each instance and does not answer: as many as there are stay.
    Held,
    /// All of it.
    Full,
}

#[derive(Debug, Clone)]
pub(crate) struct Revision {
    pub(crate) wanted: WantedRevision,
    /// Nobody wants it any more.
    pub(crate) leaving: bool,
    pub(crate) behaviour: Behaviour,
    pub(crate) instances: Vec<Instance>,
    next_number: u32,
    /// How many instances were ever started.
    pub(crate) started: u32,
    exits: u32,
    failures: u32,
    failure: Option<InstanceFailure>,
    restart_at: u64,
}

impl Revision {
    pub(crate) fn new(wanted: WantedRevision, behaviour: Behaviour) -> Self {
        Self {
            wanted,
            leaving: false,
            behaviour,
            instances: Vec::new(),
            next_number: 1,
            started: 0,
            exits: 0,
            failures: 0,
            failure: None,
            restart_at: 0,
        }
    }

    fn is_static(&self) -> bool {
        matches!(self.wanted.spec.workload, Workload::Static(_))
    }

    /// How many instances take requests; a static site counts as one.
    pub(crate) fn ready(&self, now: u64) -> u32 {
        if self.is_static() {
            return u32::from(!self.leaving);
        }
        count(self.instances.iter().filter(|instance| instance.is_ready(&self.behaviour, now)))
    }

    /// The share of failures and the median latency of what answers now.
    pub(crate) fn quality(&self, now: u64) -> (f64, f64) {
        let answering: Vec<u64> = self
            .instances
            .iter()
            .filter(|instance| instance.is_ready(&self.behaviour, now))
            .map(|instance| instance.age(now))
            .collect();
        if answering.is_empty() {
            return (self.behaviour.error_rate(0), self.behaviour.median_latency(0));
        }
        #[expect(clippy::cast_precision_loss, reason = "few instances")]
        let mean = |value: fn(&Behaviour, u64) -> f64| {
            let sum: f64 = answering.iter().map(|age| value(&self.behaviour, *age)).sum();
            sum / answering.len() as f64
        };
        (mean(Behaviour::error_rate), mean(Behaviour::median_latency))
    }

    pub(crate) fn facts(&self, now: u64) -> RevisionFacts {
        let draining = self.instances.iter().filter(|instance| instance.stopping.is_some());
        let interval = self.interval();
        let failed_checks = self
            .instances
            .iter()
            .filter_map(|instance| instance.failing_since)
            .map(|since| u32::try_from((now - since) / interval + 1).unwrap_or(u32::MAX))
            .max();
        RevisionFacts {
            ready: self.ready(now),
            running: count(self.instances.iter()),
            draining: count(draining),
            exits: self.exits,
            failed_checks: failed_checks.unwrap_or(0),
            failure: self.failure.clone(),
            instances: self
                .instances
                .iter()
                .map(|instance| InstanceFacts {
                    id: InstanceId::of(&self.wanted.id, instance.number),
                    state: match (instance.stopping, instance.is_ready(&self.behaviour, now)) {
                        (Some(_), _) => InstanceState::Draining,
                        (None, true) => InstanceState::Ready,
                        (None, false) if instance.was_ready => InstanceState::Unready,
                        (None, false) => InstanceState::Starting,
                    },
                    place: String::new(),
                    since: Timestamp::default(),
                })
                .collect(),
        }
    }

    fn interval(&self) -> u64 {
        match &self.wanted.spec.workload {
            Workload::Process(process) => process.health.interval.as_millis().max(1),
            Workload::Static(_) => 1_000,
        }
    }

    fn fail(&mut self, number: u32, at: Timestamp, now: u64, what: &str, fatal: bool) {
        self.failure = Some(InstanceFailure {
            instance: InstanceId::of(&self.wanted.id, number),
            at,
            what: what.to_owned(),
            fatal,
            log: Vec::new(),
        });
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.restart_at = now + pause;
    }

    /// An instance exits by itself. Says whether there was one.
    pub(crate) fn kill_one(&mut self, at: Timestamp, now: u64) -> bool {
        let Some(index) = self.instances.iter().position(|instance| instance.stopping.is_none())
        else {
            return false;
        };
        let number = self.instances.remove(index).number;
        self.exits += 1;
        self.fail(number, at, now, "killed by signal 9", false);
        true
    }

    /// From being told to stop to being gone.
    fn stops_after(&self) -> u64 {
        match &self.wanted.spec.workload {
            Workload::Process(process) => {
                self.behaviour.stops_after.min(process.stop.timeout.as_millis())
            }
            Workload::Static(_) => 0,
        }
    }

    /// Requests in flight get this long to end.
    fn drain(&self) -> u64 {
        match &self.wanted.spec.workload {
            Workload::Process(process) => process.stop.drain.as_millis(),
            Workload::Static(_) => 0,
        }
    }

    /// Tells those that leave and answer nothing any more to stop, and lets go of those that have.
    fn stop(&mut self, now: u64) {
        let (drain, stops_after) = (self.drain(), self.stops_after());
        for instance in &mut self.instances {
            let has_left = |since| instance.visits == 0 || now >= since + drain;
            if instance.told.is_none() && instance.stopping.is_some_and(has_left) {
                instance.told = Some(now);
            }
        }
        self.instances.retain(|instance| instance.told.is_none_or(|told| now < told + stops_after));
    }

    /// Lets happen what is due: ends, exits, failures, starts. `at` is what the engine's clock says.
    pub(crate) fn settle(&mut self, now: u64, at: Timestamp, care: Care) {
        self.stop(now);
        let Workload::Process(process) = &self.wanted.spec.workload else { return };
        let deadline = process.health.deadline.as_millis();
        let patience = u64::from(process.health.retries.max(1)) * self.interval();
        let mut instances = std::mem::take(&mut self.instances);
        instances.retain_mut(|instance| {
            if instance.stopping.is_some() {
                return true;
            }
            let age = instance.age(now);
            if self.behaviour.exits_after.is_some_and(|after| age >= after) {
                self.exits += 1;
                self.fail(instance.number, at, now, "exited with code 1", false);
                return false;
            }
            if instance.is_ready(&self.behaviour, now) {
                instance.was_ready = true;
                instance.failing_since = None;
            } else if instance.was_ready {
                let since = *instance.failing_since.get_or_insert(now);
                if now - since >= patience && care != Care::Nobody {
                    self.exits += 1;
                    self.fail(instance.number, at, now, "its checks failed", false);
                    return false;
                }
            } else if age >= deadline && care != Care::Nobody {
                self.exits += 1;
                self.fail(instance.number, at, now, "not ready in time", true);
                return false;
            }
            true
        });
        self.instances = instances;
        if care == Care::Nobody {
            return;
        }
        let replicas = if self.leaving { 0 } else { self.wanted.replicas as usize };
        let live = self.instances.iter().filter(|instance| instance.stopping.is_none()).count();
        if care == Care::Full {
            let leave = self.instances.iter_mut().rev();
            let leave = leave.filter(|instance| instance.stopping.is_none());
            for instance in leave.take(live.saturating_sub(replicas)) {
                instance.stopping = Some(now);
            }
            self.stop(now);
        }
        if live < replicas && now >= self.restart_at {
            for _ in live..replicas {
                let number = self.next_number;
                self.next_number += 1;
                if self.behaviour.broken {
                    self.fail(number, at, now, "the command was not found", true);
                    break;
                }
                self.started += 1;
                self.instances.push(Instance::new(number, now));
            }
        }
    }

    /// A visit comes to whoever is ready and has fewest.
    pub(crate) fn begin_visit(&mut self, now: u64) -> Option<u32> {
        let behaviour = &self.behaviour;
        let ready = self.instances.iter_mut().filter(|instance| instance.is_ready(behaviour, now));
        let instance = ready.min_by_key(|instance| instance.visits)?;
        instance.visits += 1;
        Some(instance.number)
    }

    /// A visit ends. Says whether its instance is still there to answer it.
    pub(crate) fn end_visit(&mut self, number: u32) -> bool {
        let instance = self.instances.iter_mut().find(|instance| instance.number == number);
        instance.map(|instance| instance.visits = instance.visits.saturating_sub(1)).is_some()
    }

    /// The next moment after `now` at which something happens by itself.
    pub(crate) fn next_change(&self, now: u64) -> Option<u64> {
        let Workload::Process(process) = &self.wanted.spec.workload else { return None };
        let deadline = process.health.deadline.as_millis();
        let interval = self.interval();
        let of_instances = self.instances.iter().filter_map(|instance| {
            if let Some(told) = instance.told {
                return Some(told + self.stops_after());
            }
            if let Some(since) = instance.stopping {
                return Some(since + self.drain());
            }
            let own = self.behaviour.next_change(instance.age(now));
            let own = own.map(|age| instance.started + age);
            let checked = instance
                .failing_since
                .map(|since| since + ((now - since) / interval + 1) * interval);
            let late = (!instance.was_ready).then_some(instance.started + deadline);
            [own, checked, late].into_iter().flatten().filter(|time| *time > now).min()
        });
        let replicas = if self.leaving { 0 } else { self.wanted.replicas as usize };
        let live = self.instances.iter().filter(|instance| instance.stopping.is_none()).count();
        let restart = (live < replicas).then_some(self.restart_at);
        of_instances.chain(restart).filter(|time| *time > now).min()
    }
}

fn count<T>(of: impl Iterator<Item = T>) -> u32 {
    u32::try_from(of.count()).unwrap_or(u32::MAX)
}
