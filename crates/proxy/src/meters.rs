//! The counters of all scopes: who counts, and for how long it is remembered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_types::{
    Counters, InstanceId, RevisionId, Scope,
    data_plane::{ProxyTable, Traffic, Upstream},
};

use crate::{
    files::Site,
    health::watch::Watched,
    limits::Limits,
    live::{LiveBackend, LiveEndpoint, LiveRoute, LiveTable, LiveUpstream},
    meter::{Gauge, RevisionMeter},
    routing,
};

/// The counters of all scopes.
#[derive(Debug)]
pub(crate) struct Meters {
    workers: usize,
    kept: Duration,
    scopes: HashMap<Scope, ScopeMeters>,
}

#[derive(Debug)]
struct ScopeMeters {
    revisions: HashMap<RevisionId, Kept>,
    instances: HashMap<InstanceId, Arc<Gauge>>,
    unanswered: Arc<Gauge>,
    /// What the predecessor has in flight.
    inherited_in_flight: BTreeMap<InstanceId, u64>,
    /// What the predecessor could not give to any revision.
    inherited_unanswered: u64,
}

impl ScopeMeters {
    fn new(workers: usize) -> Self {
        Self {
            revisions: HashMap::new(),
            instances: HashMap::new(),
            unanswered: Arc::new(Gauge::new(workers)),
            inherited_in_flight: BTreeMap::new(),
            inherited_unanswered: 0,
        }
    }
}

#[derive(Debug)]
struct Kept {
    meter: Arc<RevisionMeter>,
    /// What the predecessor counted.
    inherited: Counters,
    /// Since when nothing but this refers to it.
    unused_since: Option<Instant>,
}

impl Kept {
    fn new(workers: usize) -> Self {
        let meter = Arc::new(RevisionMeter::new(workers));
        Self { meter, inherited: Counters::default(), unused_since: None }
    }

    fn read(&self) -> Counters {
        let mut counters = self.meter.read();
        counters.merge(&self.inherited);
        counters
    }
}

impl Meters {
    /// Nothing was counted yet, by so many workers.
    pub(crate) fn new(workers: usize, limits: &Limits) -> Self {
        Self { workers, kept: limits.counters_kept, scopes: HashMap::new() }
    }

    /// What was counted in a scope, by predecessors too.
    pub(crate) fn read(&self, scope: &Scope) -> Traffic {
        let Some(meters) = self.scopes.get(scope) else {
            return Traffic::default();
        };
        // In flight is read first: a request that is seen to have ended is seen to be counted.
        let mut in_flight = meters.inherited_in_flight.clone();
        for (instance, gauge) in &meters.instances {
            let count = gauge.read();
            if count > 0 {
                *in_flight.entry(instance.clone()).or_default() += count;
            }
        }
        Traffic {
            in_flight,
            revisions: meters
                .revisions
                .iter()
                .map(|(revision, kept)| (revision.clone(), kept.read()))
                .collect(),
            unanswered: meters.unanswered.read() + meters.inherited_unanswered,
        }
    }

    /// What was counted in all scopes, for a successor.
    pub(crate) fn read_all(&self) -> BTreeMap<Scope, Traffic> {
        self.scopes.keys().map(|scope| (scope.clone(), self.read(scope))).collect()
    }

    /// Takes what the predecessor has counted by now. Its counters only grow, and outlive it here.
    pub(crate) fn inherit(&mut self, traffic: BTreeMap<Scope, Traffic>) {
        self.forget_inherited_in_flight();
        let workers = self.workers;
        for (scope, traffic) in traffic {
            let meters = self.scopes.entry(scope).or_insert_with(|| ScopeMeters::new(workers));
            meters.inherited_in_flight = traffic.in_flight;
            meters.inherited_unanswered = traffic.unanswered;
            for (revision, counters) in traffic.revisions {
                let kept = meters.revisions.entry(revision).or_insert_with(|| Kept::new(workers));
                kept.inherited = counters;
                kept.unused_since = None;
            }
        }
    }

    /// The predecessor has ended, and with it what it had in flight.
    pub(crate) fn forget_inherited_in_flight(&mut self) {
        for meters in self.scopes.values_mut() {
            meters.inherited_in_flight.clear();
        }
    }

    /// Forgets what nothing refers to any more: an instance at once, a revision after a while.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let kept = self.kept;
        self.scopes.retain(|_, meters| {
            meters.instances.retain(|_, gauge| Arc::strong_count(gauge) > 1);
            meters.revisions.retain(|_, revision| {
                if Arc::strong_count(&revision.meter) > 1 {
                    revision.unused_since = None;
                    return true;
                }
                let since = *revision.unused_since.get_or_insert(now);
                now.duration_since(since) < kept
            });
            Arc::strong_count(&meters.unanswered) > 1
                || !meters.revisions.is_empty()
                || !meters.inherited_in_flight.is_empty()
        });
    }

    /// The table, joined with what is counted for it and what is known of its instances.
    pub(crate) fn compile(&mut self, table: &ProxyTable, watched: &Watched) -> LiveTable {
        let workers = self.workers;
        let gauge = || Arc::new(Gauge::new(workers));
        let meters = self.scopes.entry(table.scope.clone());
        let meters = meters.or_insert_with(|| ScopeMeters::new(workers));
        let mut routes = Vec::with_capacity(table.routes.len());
        for route in &table.routes {
            let mut backends = Vec::with_capacity(route.backends.len());
            for backend in &route.backends {
                let kept = meters.revisions.entry(backend.revision.clone());
                let kept = kept.or_insert_with(|| Kept::new(workers));
                let upstream = match &backend.upstream {
                    Upstream::Endpoints(endpoints) => LiveUpstream::Endpoints(
                        endpoints
                            .iter()
                            .map(|endpoint| LiveEndpoint {
                                instance: endpoint.instance.clone(),
                                address: endpoint.address,
                                protocol: endpoint.protocol,
                                in_flight: Arc::clone(
                                    meters
                                        .instances
                                        .entry(endpoint.instance.clone())
                                        .or_insert_with(gauge),
                                ),
                                health: watched.health(endpoint),
                            })
                            .collect(),
                    ),
                    Upstream::Files { root, single_page } => LiveUpstream::Files(Arc::new(
                        Site::new(root.clone(), *single_page, &backend.revision),
                    )),
                };
                backends.push(LiveBackend {
                    revision: backend.revision.clone(),
                    role: backend.role.clone(),
                    share: backend.share.hundredths(),
                    meter: Arc::clone(&kept.meter),
                    gate: watched.gate(&backend.revision),
                    ejecting: watched.ejecting(&backend.revision),
                    upstream,
                });
            }
            routes.push(LiveRoute { rule: route.rule.clone(), backends });
        }
        routing::sort(&mut routes, |route| &route.rule);
        LiveTable {
            routes,
            tls: None,
            gate: watched.gateway(),
            unanswered: Some(Arc::clone(&meters.unanswered)),
        }
    }
}
