//! Everything of one scope that runs.

mod proxy;
mod visits;

use std::collections::BTreeMap;

use rand::{SeedableRng as _, rngs::Xoshiro256PlusPlus};
use tidegate_types::{
    ComponentName, Counters, Generation, Observation, RevisionId, RevisionSpec, RouteRefusal,
    RouteTable, Share, Timestamp, Unanswered, WantedRevision, data_plane::Traffic,
};

use super::{
    Behaviour, Tally,
    revision::{Care, Revision},
    users::{Answering, Users},
};
pub use proxy::NotRouted;
use proxy::{Silence, names};

/// What a fleet is made with.
pub struct Settings {
    /// Of everything that is drawn.
    pub seed: u64,
    /// Requests per second to each component that takes some.
    pub rate: f64,
    /// Whether latencies are drawn.
    pub latencies: bool,
    /// How the instances of a revision behave.
    pub behaviour: Box<dyn Fn(&RevisionSpec) -> Behaviour + Send + Sync>,
    /// What the engine's clock says at the start.
    pub began: Timestamp,
}

/// Instances, the route table in force, and the requests.
pub struct Fleet {
    behaviour: Box<dyn Fn(&RevisionSpec) -> Behaviour + Send + Sync>,
    users: Users,
    now: u64,
    clock: Timestamp,
    revisions: BTreeMap<RevisionId, Revision>,
    /// Instances that were started of revisions that are forgotten.
    started: BTreeMap<RevisionId, u32>,
    generation: Option<Generation>,
    /// No control plane lives that was told a list.
    abandoned: bool,
    table: Option<RouteTable>,
    silence: Option<Silence>,
    visits: u64,
    /// Whether the proxy has told the control plane what it has in force.
    proxy_up: bool,
    refused: Option<RouteRefusal>,
    counters: BTreeMap<RevisionId, Counters>,
    tallies: BTreeMap<RevisionId, Tally>,
    unanswered: BTreeMap<ComponentName, u64>,
    /// At least this share of all requests fails, whoever answers.
    trouble: f64,
    changes: u64,
}

impl Fleet {
    /// An empty one, at time 0.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let random = Xoshiro256PlusPlus::seed_from_u64(settings.seed);
        Self {
            behaviour: settings.behaviour,
            users: Users::new(settings.rate, settings.latencies, random),
            now: 0,
            clock: settings.began,
            revisions: BTreeMap::new(),
            started: BTreeMap::new(),
            generation: None,
            abandoned: false,
            table: None,
            silence: None,
            visits: 0,
            proxy_up: true,
            refused: None,
            counters: BTreeMap::new(),
            tallies: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            trouble: 0.0,
            changes: 0,
        }
    }

    /// The time, in milliseconds from the start.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// What the engine's clock says now.
    #[must_use]
    pub const fn clock(&self) -> Timestamp {
        self.clock
    }

    /// A number that grows whenever [`Self::observe`] would answer something new.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The engine's clock goes forward, and nothing else moves.
    pub fn jump(&mut self, millis: u64) {
        self.clock = self.clock.after(tidegate_types::Duration::from_millis(millis));
    }

    /// Follows a list of revisions, unless a newer one is followed: the error is its generation.
    pub fn apply(
        &mut self,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), Generation> {
        if let Some(newer) = self.generation.filter(|known| *known > generation) {
            return Err(newer);
        }
        self.generation = Some(generation);
        self.abandoned = false;
        for (id, revision) in &mut self.revisions {
            revision.leaving = !wanted.iter().any(|wanted| wanted.id == *id);
        }
        for wanted in wanted {
            let behaviour = &self.behaviour;
            let revision = self
                .revisions
                .entry(wanted.id.clone())
                .or_insert_with(|| Revision::new(wanted.clone(), behaviour(&wanted.spec)));
            revision.wanted = wanted.clone();
        }
        self.settle();
        Ok(())
    }

    /// Follows a part of a list: revisions that are not named stay as they are.
    pub fn apply_some(
        &mut self,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), Generation> {
        let named: Vec<RevisionId> = wanted.iter().map(|wanted| wanted.id.clone()).collect();
        let others = self.revisions.values().filter(|revision| !revision.leaving);
        let others = others.map(|revision| revision.wanted.clone());
        let mut all: Vec<WantedRevision> =
            others.filter(|wanted| !named.contains(&wanted.id)).collect();
        all.extend_from_slice(wanted);
        let known = self.generation;
        self.apply(generation, &all)?;
        // What was not told is not answered for.
        self.generation = known;
        Ok(())
    }

    /// So many requests per second come to each component from now on.
    pub fn set_rate(&mut self, rate: f64) {
        self.users.rate = rate;
    }

    /// The last control plane dies. Instances and proxy go on, and nobody looks after them until
    /// another one is told a list: which one was followed died with it.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.generation = None;
        self.changes += 1;
    }

    /// From now on at least this share of all requests fails, whoever answers: something on which
    /// all revisions depend is in trouble.
    pub fn set_trouble(&mut self, errors: f64) {
        self.trouble = errors;
    }

    /// Every instance is killed.
    pub fn kill_all(&mut self) {
        let (now, clock) = (self.now, self.clock);
        for revision in self.revisions.values_mut() {
            while revision.kill_one(clock, now) {}
            // Those that were to leave are counted by nobody.
            revision.instances.clear();
        }
        self.settle();
    }

    /// How many instances of a revision were ever started.
    #[must_use]
    pub fn started(&self, revision: &RevisionId) -> u32 {
        let gone = self.started.get(revision).copied().unwrap_or(0);
        gone + self.revisions.get(revision).map_or(0, |revision| revision.started)
    }

    /// An instance of what has the largest share is killed. Says whether there was one.
    pub fn kill_one(&mut self) -> bool {
        let table = self.table.as_ref();
        let mut named: Vec<(Share, RevisionId)> = table
            .into_iter()
            .flat_map(|table| &table.routes)
            .flat_map(|route| &route.backends)
            .map(|backend| (backend.share, backend.revision.clone()))
            .collect();
        named.sort();
        let (now, clock) = (self.now, self.clock);
        let killed = named.iter().rev().any(|(_, id)| {
            self.revisions.get_mut(id).is_some_and(|revision| revision.kill_one(clock, now))
        });
        if killed {
            self.settle();
        }
        killed
    }

    /// The next moment at which something changes by itself.
    #[must_use]
    pub fn next_change(&self) -> Option<u64> {
        self.revisions.values().filter_map(|revision| revision.next_change(self.now)).min()
    }

    /// Lets time pass up to `to`.
    pub fn advance(&mut self, to: u64) {
        while self.now < to {
            let change = self.next_change().filter(|change| *change <= to);
            let next = change.unwrap_or(to);
            self.serve(next - self.now);
            self.clock = self.clock.after(tidegate_types::Duration::from_millis(next - self.now));
            self.now = next;
            if change.is_some() {
                self.settle();
            }
        }
    }

    fn settle(&mut self) {
        for (id, revision) in &mut self.revisions {
            let tables = self.silence.iter().flat_map(|silence| &silence.table);
            let care = if self.abandoned {
                Care::Nobody
            } else if self.silence.is_some()
                && tables.chain(&self.table).any(|table| names(table, id))
            {
                Care::Held
            } else {
                Care::Full
            };
            revision.settle(self.now, self.clock, care);
        }
        self.revisions.retain(|id, revision| {
            let is_over = revision.leaving && revision.instances.is_empty();
            if is_over {
                *self.started.entry(id.clone()).or_default() += revision.started;
            }
            !is_over
        });
        self.changes += 1;
    }

    /// The requests of so many milliseconds.
    fn serve(&mut self, millis: u64) {
        let Some(table) = &self.table else { return };
        let mut seen: Option<&str> = None;
        for route in &table.routes {
            // Entries of one component under different rules stand for the same visitors.
            if seen == Some(route.component.as_str()) {
                continue;
            }
            seen = Some(route.component.as_str());
            let requests = self.users.arrive(millis);
            if requests == 0 {
                continue;
            }
            let answering: Vec<Answering<'_>> = route
                .backends
                .iter()
                .filter_map(|backend| {
                    let revision = self.revisions.get(&backend.revision)?;
                    (revision.ready(self.now) > 0 && backend.share > Share::NONE).then(|| {
                        let (error_rate, median_latency) = revision.quality(self.now);
                        Answering {
                            revision: &backend.revision,
                            weight: backend.share.fraction(),
                            error_rate: error_rate.max(self.trouble),
                            median_latency,
                        }
                    })
                })
                .collect();
            if answering.is_empty() || !self.proxy_up {
                *self.unanswered.entry(route.component.clone()).or_default() += requests;
                continue;
            }
            self.users.send(requests, &answering, &mut self.counters, &mut self.tallies);
        }
    }

    /// What a look finds.
    #[must_use]
    pub fn observe(&self) -> Observation {
        let mut observation = Observation {
            revisions: self
                .revisions
                .iter()
                .map(|(id, revision)| (id.clone(), revision.facts(self.now)))
                .collect(),
            generation: self.generation,
            ..Observation::default()
        };
        if self.proxy_up {
            let silence = self.silence.as_ref();
            observation.routes = silence.map_or_else(|| self.routes(), |it| it.facts.clone());
        }
        observation
    }

    /// What the proxy has counted; none while it is down or silent.
    #[must_use]
    pub fn traffic(&self) -> Option<Traffic> {
        let answers = self.proxy_up && self.silence.is_none();
        answers.then(|| Traffic {
            revisions: self.counters.clone(),
            in_flight: self.in_flight(),
            unanswered: Unanswered { nobody_ready: self.unanswered(), ..Unanswered::default() },
            ..Traffic::default()
        })
    }

    /// The table in force.
    #[must_use]
    pub const fn table(&self) -> Option<&RouteTable> {
        self.table.as_ref()
    }

    /// Of the list of revisions that is followed.
    #[must_use]
    pub const fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// What became of the requests to each revision.
    #[must_use]
    pub const fn tallies(&self) -> &BTreeMap<RevisionId, Tally> {
        &self.tallies
    }

    /// Requests that nobody answered.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.unanswered.values().sum()
    }

    /// Of these, sent to one component.
    #[must_use]
    pub fn unanswered_of(&self, component: &ComponentName) -> u64 {
        self.unanswered.get(component).copied().unwrap_or(0)
    }

    /// The share of a revision in the table in force.
    #[must_use]
    pub fn share(&self, revision: &RevisionId) -> Share {
        let routes = self.table.iter().flat_map(|table| &table.routes);
        routes
            .flat_map(|route| &route.backends)
            .filter(|backend| backend.revision == *revision)
            .map(|backend| backend.share)
            .max()
            .unwrap_or_default()
    }
}
