//! Judges everything that happens in a trial by the numbered invariants.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::{Environment, Event};
use tidegate_invariants::Watch;
use tidegate_store::{NewEvent, Stored, Transition};
use tidegate_types::{
    Duration, Epoch, Generation, RevisionId, RouteTable, Share, Timestamp, WantedRevision,
};

use tidegate_sim::world::Fleet;

pub use tidegate_invariants::Breach;

/// What the engine's clock says at the start, in milliseconds.
pub(crate) const BEGAN: i64 = 1_000_000;

/// A table came into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// In milliseconds from the start.
    pub at: u64,
    /// The table.
    pub table: RouteTable,
}

/// A table that comes into force later than this after it was decided is the proxy's affair: that
/// instances died meanwhile was not to be known.
const DELTA: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) breaches: Vec<Breach>,
    pub(crate) commits: u32,
    pub(crate) story: Vec<String>,
    /// Every table that came into force.
    pub(crate) routings: Vec<Routing>,
    /// When each epoch was stored.
    stored_at: BTreeMap<Epoch, Timestamp>,
    tables: BTreeMap<Epoch, RouteTable>,
    /// Follows what the target did.
    watch: Watch,
    /// Candidates of deployments that failed.
    condemned: BTreeSet<RevisionId>,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn breach(&mut self, number: u8, what: impl Into<String>) {
        if self.breaches.len() < 20 {
            self.breaches.push(Breach { number, what: what.into() });
        }
    }

    /// A transition was stored.
    pub(crate) fn committed(&mut self, before: Option<&Stored>, transition: &Transition) {
        self.commits += 1;
        let at = transition.at.as_millis() - BEGAN;
        let lines = transition.events.iter().map(|event| format!("{at:>8} ms  {}", event.payload));
        self.story.extend(lines);
        let read = |state: &serde_json::Value| {
            serde_json::from_value::<Environment>(state.clone()).map_err(|error| error.to_string())
        };
        let after = match read(&transition.state) {
            Ok(after) => after,
            Err(error) => {
                return self.breach(19, format!("what is stored cannot be read: {error}"));
            }
        };
        let before = before.and_then(|before| read(&before.state).ok());
        self.condemn(before.as_ref(), transition);
        if transition
            .events
            .iter()
            .any(|event| is(event, |event| matches!(event, Event::Planned { .. })))
            && let Some(plan) = after.deployment.as_ref().and_then(|one| one.plan.as_ref())
        {
            // Somebody wants it once more; that is a new attempt with guards of its own.
            for candidate in plan.rollouts.iter().filter_map(|rollout| rollout.candidate.as_ref()) {
                self.condemned.remove(&candidate.id);
            }
        }
        // What serves all the same, as there is nothing else, is what later ones go back to.
        if after.deployment.is_none() {
            for component in after.components.values() {
                self.condemned.retain(|id| component.serving.as_ref() != Some(id));
            }
        }
        if let Some(before) = &before {
            if *before != after && transition.events.is_empty() {
                let resized = before.generation != after.generation || before.epoch != after.epoch;
                if resized {
                    self.breach(27, "a change of the wish without an event");
                }
            }
            if after.epoch < before.epoch || after.generation < before.generation {
                self.breach(19, "a number went back");
            }
        }
        let table = after.route_table();
        for route in &table.routes {
            let sum: u32 = route.backends.iter().map(|backend| backend.share.hundredths()).sum();
            if !route.backends.is_empty() && sum != Share::ALL.hundredths() {
                self.breach(1, format!("shares add up to {sum}: {route:?}"));
            }
            for backend in &route.backends {
                if !after.revisions.contains_key(&backend.revision) {
                    self.breach(1, format!("{} is routed to and not wanted", backend.revision));
                }
            }
        }
        if let Some(known) = self.tables.get(&table.epoch) {
            if *known != table {
                self.breach(22, format!("two tables with epoch {}", table.epoch));
            }
        } else {
            self.stored_at.insert(table.epoch, transition.at);
            self.tables.insert(table.epoch, table);
        }
    }

    /// Remembers whom a failure concerns.
    fn condemn(&mut self, before: Option<&Environment>, transition: &Transition) {
        let failed = transition
            .events
            .iter()
            .any(|event| is(event, |event| matches!(event, Event::Failed { .. })));
        let Some(deployment) = before.and_then(|before| before.deployment.as_ref()) else {
            return;
        };
        if let Some(plan) = deployment.plan.as_ref().filter(|_| failed) {
            for rollout in &plan.rollouts {
                let candidate = rollout.candidate.as_ref().map(|candidate| &candidate.id);
                self.condemned
                    .extend(candidate.filter(|id| Some(*id) != rollout.stable.as_ref()).cloned());
            }
        }
    }

    fn judge(&mut self, breaches: Vec<Breach>) {
        for breach in breaches {
            self.breach(breach.number, breach.what);
        }
    }

    /// The target follows a list.
    pub(crate) fn applied(
        &mut self,
        before: Option<Generation>,
        generation: Generation,
        wanted: &[WantedRevision],
        fleet: &Fleet,
    ) {
        if before.is_some_and(|before| before > generation) {
            self.breach(19, format!("generation {generation} after a newer one"));
        }
        let found = self.watch.followed(generation, wanted);
        self.judge(found);
        let Some(table) = fleet.table() else { return };
        for backend in table.routes.iter().flat_map(|route| &route.backends) {
            let kept = wanted.iter().any(|wanted| wanted.id == backend.revision);
            if backend.share > Share::NONE && !kept {
                let (share, revision) = (backend.share, &backend.revision);
                self.breach(6, format!("{revision} is dropped and has {share}"));
            }
        }
    }

    /// The fleet is as it is from now on.
    pub(crate) fn looked(&mut self, fleet: &Fleet) {
        let found = self.watch.fleets(&fleet.observe().revisions, fleet.clock());
        self.judge(found);
    }

    /// A table came into force.
    pub(crate) fn routed(&mut self, former: Option<&RouteTable>, fleet: &Fleet) {
        let Some(table) = fleet.table() else { return };
        if self.tables.get(&table.epoch).is_some_and(|known| known != table) {
            self.breach(22, format!("another table with epoch {} was stored", table.epoch));
        }
        self.routings.push(Routing { at: fleet.now(), table: table.clone() });
        let facts = fleet.observe().revisions;
        let now = fleet.clock();
        let mut found = self.watch.fleets(&facts, now);
        found.extend(self.watch.in_force(table, now));
        let decided = self.stored_at.get(&table.epoch);
        let is_late = decided.is_none_or(|decided| now.since(*decided) > DELTA);
        found.retain(|breach| breach.number != 2 || !is_late);
        self.judge(found);
        let share = |table: &RouteTable, id: &RevisionId| {
            let backends = table.routes.iter().flat_map(|route| &route.backends);
            backends.filter(|backend| backend.revision == *id).map(|backend| backend.share).max()
        };
        let raised: Vec<RevisionId> = self
            .condemned
            .iter()
            .filter(|id| {
                let before = former.and_then(|former| share(former, id)).unwrap_or_default();
                share(table, id).unwrap_or_default() > before
            })
            .filter(|id| {
                // With nobody else there, what is bad is better than nothing.
                let routes = table.routes.iter().flat_map(|route| &route.backends);
                let component = id.as_str().split('@').next();
                routes.map(|backend| &backend.revision).any(|other| {
                    other != *id
                        && other.as_str().split('@').next() == component
                        && facts.get(other).is_some_and(|facts| facts.ready > 0)
                })
            })
            .cloned()
            .collect();
        for id in raised {
            self.breach(10, format!("{id} failed, and got more traffic"));
        }
    }
}

/// Whether what is stored is such an event.
fn is(stored: &NewEvent, such: impl FnOnce(&Event) -> bool) -> bool {
    serde_json::from_value(stored.payload.clone()).is_ok_and(|event| such(&event))
}
