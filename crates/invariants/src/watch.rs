//! A whole life, followed.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::{Decision, Environment, Event, Input, Outcome, Rejected, Seen};
use tidegate_types::{
    ComponentName, DeploymentId, Duration, Epoch, Generation, InstanceId, RevisionFacts,
    RevisionId, RouteTable, Share, Step, Timestamp, WantedRevision, Workload,
};

use crate::{Breach, Breaches, transition};

/// An instance that was told to stop: told by the engine's wish, not lost.
#[derive(Debug, Clone)]
pub struct Stopped<'a> {
    /// Which one.
    pub instance: &'a InstanceId,
    /// Of which revision.
    pub revision: &'a RevisionId,
    /// The share of its revision in the table in force; none when there is no table, or nobody
    /// knows.
    pub share: Option<Share>,
    /// Its requests in flight at that moment; none when nobody knows.
    pub in_flight: Option<u64>,
    /// For how long it had taken no new requests.
    pub drained_for: Duration,
    /// Other instances of the revision that are ready.
    pub others_ready: u32,
}

/// Follows one environment and judges what one transition cannot show.
///
/// Every method takes what happened in the world as it is, not as the engine saw it, and answers
/// with the breaches. What is never told is never judged.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Of the state that was stored last.
    stored: Option<Mark>,
    /// In force in the data plane.
    table: Option<RouteTable>,
    /// Followed by the target.
    generation: Option<Generation>,
    followed: BTreeMap<RevisionId, WantedRevision>,
    /// When a revision last had a ready instance.
    ready_at: BTreeMap<RevisionId, Timestamp>,
    /// Since when it has had one without a break.
    ready_since: BTreeMap<RevisionId, Timestamp>,
    /// Candidates of a deployment that goes back or failed.
    condemned: BTreeSet<RevisionId>,
    /// Who was known to be ready when the latest decision to go back was made.
    known_ready: BTreeSet<RevisionId>,
    bounds: BTreeMap<ComponentName, Bounds>,
    drain: BTreeMap<RevisionId, Duration>,
}

/// What of a state has to be found again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    epoch: Epoch,
    generation: Generation,
    deployment: Option<DeploymentId>,
    latest: Option<DeploymentId>,
}

impl Mark {
    fn of(environment: &Environment) -> Self {
        Self {
            epoch: environment.epoch,
            generation: environment.generation,
            deployment: environment.deployment.as_ref().map(|deployment| deployment.id),
            latest: environment.latest.as_ref().map(|latest| latest.deployment),
        }
    }
}

/// Of a rolling update.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    surge: u32,
    unavailable: u32,
}

/// Between a look and the act that rests on it an instance may die.
const DELTA: Duration = Duration::from_secs(5);

impl Watch {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A transition that was stored, or an input that was refused. Judges it by itself, too.
    pub fn decided(
        &mut self,
        before: &Environment,
        input: &Input,
        seen: &Seen,
        now: Timestamp,
        result: &Result<Decision, Rejected>,
    ) -> Vec<Breach> {
        let mut breaches = Breaches(transition(before, input, seen, now, result));
        let mark = Mark::of(before);
        breaches.check(19, self.stored.as_ref().is_none_or(|stored| *stored == mark), || {
            format!("stored was {:?}, and {mark:?} goes on", self.stored)
        });
        self.stored = Some(mark);
        let Ok(decision) = result else { return breaches.0 };
        let after = &decision.environment;
        self.stored = Some(Mark::of(after));
        for (id, wanted) in &after.revisions {
            if !self.drain.contains_key(id)
                && let Workload::Process(process) = &wanted.spec.workload
            {
                self.drain.insert(id.clone(), process.stop.drain);
            }
        }
        self.condemn(before, seen, decision);
        self.rolling(after, &mut breaches);
        breaches.0
    }

    /// An older copy of the store was put back: what is stored now is older than what was.
    pub fn set_back(&mut self) {
        self.stored = None;
    }

    /// The bounds of a component's rolling update (5); `None` when it is none.
    pub fn bound(&mut self, component: &ComponentName, bounds: Option<(u32, u32)>) {
        match bounds {
            // Neither more nor fewer allows no step at all; one fewer is the smallest that does.
            Some((surge, unavailable)) => {
                let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
                self.bounds.insert(component.clone(), Bounds { surge, unavailable });
            }
            None => {
                self.bounds.remove(component);
            }
        }
    }

    /// A route table came into force, or did so again.
    pub fn in_force(&mut self, table: &RouteTable, now: Timestamp) -> Vec<Breach> {
        let mut breaches = Breaches::default();
        if let Some(former) = &self.table {
            breaches.check(19, table.epoch >= former.epoch, || {
                format!("epoch {} came into force after {}", table.epoch, former.epoch)
            });
            breaches.check(19, table.epoch != former.epoch || table == former, || {
                format!("two tables of epoch {} came into force", table.epoch)
            });
        }
        for route in &table.routes {
            let sum: u32 = route.backends.iter().map(|backend| backend.share.hundredths()).sum();
            breaches.check(1, route.backends.is_empty() || sum == 10_000, || {
                format!("the shares of {} in force add up to {sum}", route.component)
            });
            for backend in &route.backends {
                let id = &backend.revision;
                let former = self.share_in_force(id);
                let grows = former.is_none_or(|former| backend.share > former);
                if backend.share == Share::NONE || !grows {
                    continue;
                }
                let lately = |id: &RevisionId| {
                    self.ready_since.contains_key(id)
                        || self.ready_at.get(id).is_some_and(|at| now.since(*at) <= DELTA)
                };
                // Whoever decided had the time to see it.
                let lasting = |id: &RevisionId| {
                    self.ready_since.get(id).is_some_and(|since| now.since(*since) >= DELTA)
                };
                let other = route.backends.iter().map(|other| &other.revision).find(|other| {
                    *other != id && !self.condemned.contains(*other) && lasting(other)
                });
                // With nobody else to ask, what failed is better than nothing.
                let known = other.is_some_and(|other| self.known_ready.contains(other));
                let condemned = self.condemned.contains(id) && known;
                breaches.check(10, former.is_none() || !condemned, || {
                    format!("{id} failed, and {} of it came into force", backend.share)
                });
                breaches.check(2, lately(id) || other.is_none(), || {
                    format!("{id} has {} with no instance ready, and {other:?} has", backend.share)
                });
            }
        }
        self.table = Some(table.clone());
        breaches.0
    }

    /// The target follows a list of revisions from now on.
    pub fn followed(&mut self, generation: Generation, list: &[WantedRevision]) -> Vec<Breach> {
        let mut breaches = Breaches::default();
        breaches.check(19, self.generation.is_none_or(|known| generation >= known), || {
            format!("generation {generation} is followed after {:?}", self.generation)
        });
        let list: BTreeMap<_, _> =
            list.iter().map(|wanted| (wanted.id.clone(), wanted.clone())).collect();
        self.generation = Some(generation);
        self.followed = list;
        breaches.0
    }

    /// The fleets as they are.
    pub fn fleets(
        &mut self,
        fleets: &BTreeMap<RevisionId, RevisionFacts>,
        now: Timestamp,
    ) -> Vec<Breach> {
        let (ready_since, ready_at) = (&mut self.ready_since, &mut self.ready_at);
        ready_since.retain(|id, _| {
            let is_ready = fleets.get(id).is_some_and(|facts| facts.ready > 0);
            if !is_ready {
                // Until this moment it was, however long nobody looked.
                ready_at.insert(id.clone(), now);
            }
            is_ready
        });
        for (id, facts) in fleets {
            if facts.ready > 0 {
                if !self.ready_since.contains_key(id) {
                    self.ready_since.insert(id.clone(), now);
                }
                match self.ready_at.get_mut(id) {
                    Some(at) => *at = now,
                    None => {
                        self.ready_at.insert(id.clone(), now);
                    }
                }
            }
        }
        Vec::new()
    }

    /// An instance was started.
    pub fn started(&mut self, revision: &RevisionId) -> Vec<Breach> {
        let mut breaches = Breaches::default();
        let wanted = self.followed.get(revision).map_or(0, |wanted| wanted.replicas);
        breaches.check(16, wanted > 0, || {
            format!("an instance of {revision} was started, and none is wanted")
        });
        breaches.0
    }

    /// An instance was told to stop.
    pub fn stopped(&mut self, stopped: &Stopped<'_>) -> Vec<Breach> {
        let mut breaches = Breaches::default();
        let Stopped { instance, revision, share, in_flight, drained_for, others_ready } = stopped;
        let carries = share.is_some_and(|share| share > Share::NONE);
        breaches.check(6, !carries || *others_ready > 0, || {
            format!("{instance} was stopped, and nothing else takes its traffic of {share:?}")
        });
        let drain = self.drain.get(*revision).copied().unwrap_or_default();
        let busy = in_flight.is_some_and(|requests| requests > 0);
        breaches.check(6, !busy || *drained_for >= drain, || {
            format!("{instance} was stopped after {drained_for} with {in_flight:?} requests")
        });
        breaches.0
    }

    /// The share of a revision in the table in force; none while there is none.
    #[must_use]
    pub fn share_in_force(&self, revision: &RevisionId) -> Option<Share> {
        let backends = self.table.as_ref()?.routes.iter().flat_map(|route| &route.backends);
        let shares = backends.filter(|backend| backend.revision == *revision);
        Some(shares.map(|backend| backend.share).max().unwrap_or_default())
    }

    /// Remembers whom a failure concerns.
    fn condemn(&mut self, before: &Environment, seen: &Seen, decision: &Decision) {
        let planned = decision.events.iter().any(|event| matches!(event, Event::Planned { .. }));
        if planned
            && let Some(plan) =
                decision.environment.deployment.as_ref().and_then(|one| one.plan.as_ref())
        {
            // Somebody wants it once more; that is a new attempt with guards of its own.
            for candidate in plan.rollouts.iter().filter_map(|rollout| rollout.candidate.as_ref()) {
                self.condemned.remove(&candidate.id);
            }
        }
        let Some(deployment) = &before.deployment else { return };
        let failed = decision.events.iter().any(|event| matches!(event, Event::Failed { .. }));
        let plan = deployment.plan.as_ref();
        let candidates = plan.into_iter().flat_map(|plan| &plan.rollouts).filter_map(|rollout| {
            let candidate = rollout.candidate.as_ref()?;
            (rollout.stable.as_ref() != Some(&candidate.id)).then_some(&candidate.id)
        });
        if failed {
            let ready = seen.observation.revisions.iter().filter(|(_, facts)| facts.ready > 0);
            self.known_ready = ready.map(|(id, _)| id.clone()).collect();
            self.condemned.extend(candidates.cloned());
        }
        let ended = decision.environment.latest.as_ref().filter(|latest| {
            decision.environment.deployment.is_none() && latest.deployment == deployment.id
        });
        if ended.is_some_and(|ended| ended.outcome == Outcome::Degraded) {
            // Kept for want of anything better; it is what serves from now on.
            for component in decision.environment.components.values() {
                if let Some(serving) = &component.serving {
                    self.condemned.remove(serving);
                }
            }
        }
    }

    /// 5: what is wanted in a rolling update keeps its bounds.
    fn rolling(&self, after: &Environment, breaches: &mut Breaches) {
        let Some(plan) = after.deployment.as_ref().and_then(|one| one.plan.as_ref()) else {
            return;
        };
        for rollout in &plan.rollouts {
            let Some(bounds) = self.bounds.get(&rollout.component) else { continue };
            let (Some(stable), Some(candidate)) = (&rollout.stable, &rollout.candidate) else {
                continue;
            };
            let gradual = rollout.steps.iter().any(|step| matches!(step, Step::Shrink { .. }));
            if *stable == candidate.id || !gradual || rollout.exclusive {
                continue;
            }
            let size = |id| after.revisions.get(id).map_or(0, |wanted| wanted.replicas);
            let (old, new) = (size(stable), size(&candidate.id));
            let replicas = candidate.spec.replicas;
            let going_back = matches!(
                after.deployment.as_ref().map(|one| &one.stage),
                Some(tidegate_core::Stage::GoingBack { .. })
            );
            // On the way back the old ones come again before the new ones go.
            let most = (replicas + bounds.surge).max(rollout.stable_replicas);
            breaches.check(5, going_back || old + new <= most, || {
                format!("{old} old and {new} new instances are wanted, more than {most}")
            });
            let least = replicas.saturating_sub(bounds.unavailable).min(rollout.stable_replicas);
            breaches.check(5, old + new >= least, || {
                format!("{old} old and {new} new instances are wanted, fewer than {least}")
            });
        }
    }
}
