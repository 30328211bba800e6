//! The counters of all scopes: who counts, and for how long it is remembered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use tidegate_types::{
    Buckets, Counted, Counters, InstanceId, Mark, RevisionId, Run, Scope, Unanswered,
    data_plane::{CountedInScope, Inheritance, ProxyTable, Traffic, Upstream},
};

use crate::{
    access_log::{LogCounts, Logs},
    files::Site,
    gate::Gate,
    health::watch::Watched,
    ingress::Ingress,
    ledger::Ledger,
    limits::Limits,
    live::{LiveBackend, LiveEndpoint, LiveRoute, LiveTable, LiveUpstream},
    meter::{Gauge, RevisionMeter, UnansweredMeter},
    metrics::Reading,
    routing,
};

/// The counters of all scopes.
#[derive(Debug)]
pub(crate) struct Meters {
    workers: usize,
    limits: Limits,
    scopes: HashMap<Scope, ScopeMeters>,
    ledger: Ledger,
    logs: Logs,
}

#[derive(Debug)]
struct ScopeMeters {
    revisions: HashMap<RevisionId, Kept>,
    instances: HashMap<InstanceId, Arc<Gauge>>,
    unanswered: Arc<UnansweredMeter>,
    /// What had been counted when the last bucket was closed.
    unanswered_before: Unanswered,
    /// What the predecessor has in flight.
    inherited_in_flight: BTreeMap<InstanceId, u64>,
    /// What the predecessor could not give to any revision.
    inherited_unanswered: Unanswered,
    /// Lines of its access log.
    log: Option<Arc<LogCounts>>,
}

impl ScopeMeters {
    fn new(workers: usize) -> Self {
        Self {
            revisions: HashMap::new(),
            instances: HashMap::new(),
            unanswered: Arc::new(UnansweredMeter::new(workers)),
            unanswered_before: Unanswered::default(),
            inherited_in_flight: BTreeMap::new(),
            inherited_unanswered: Unanswered::default(),
            log: None,
        }
    }

    fn unanswered(&self) -> Unanswered {
        let mut unanswered = self.unanswered.read();
        unanswered.merge(&self.inherited_unanswered);
        unanswered
    }
}

#[derive(Debug)]
struct Kept {
    meter: Arc<RevisionMeter>,
    /// Where requests wait for its instances, where their number is limited.
    gate: Option<Arc<Gate>>,
    /// What the predecessor counted.
    inherited: Counters,
    /// What had been counted when the last bucket was closed.
    before: Counters,
    /// Since when nothing but this refers to it.
    unused_since: Option<Instant>,
}

impl Kept {
    fn new(workers: usize) -> Self {
        let meter = Arc::new(RevisionMeter::new(workers));
        Self {
            meter,
            gate: None,
            inherited: Counters::default(),
            before: Counters::default(),
            unused_since: None,
        }
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
        let ledger = Ledger::new(Instant::now(), limits);
        Self { workers, limits: *limits, scopes: HashMap::new(), ledger, logs: Logs::new() }
    }

    /// What was counted in a scope, by predecessors too.
    pub(crate) fn read(&self, scope: &Scope) -> Traffic {
        let Some(meters) = self.scopes.get(scope) else {
            return Traffic { run: self.ledger.run(), ..Traffic::default() };
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
            run: self.ledger.run(),
            in_flight,
            revisions: meters
                .revisions
                .iter()
                .map(|(revision, kept)| (revision.clone(), kept.read()))
                .collect(),
            unanswered: meters.unanswered(),
        }
    }

    /// What was counted in all scopes, for a successor.
    pub(crate) fn read_all(&self) -> BTreeMap<Scope, Traffic> {
        self.scopes.keys().map(|scope| (scope.clone(), self.read(scope))).collect()
    }

    /// Gives the run to a successor: nothing more is counted in it here but for the successor.
    pub(crate) fn hand_on(&mut self, now: Instant) -> Inheritance {
        let mut traffic = self.read_all();
        self.close_bucket(now);
        // What is in the buckets, exactly.
        for (scope, meters) in &self.scopes {
            let traffic = traffic.entry(scope.clone()).or_default();
            let revisions = meters.revisions.iter();
            traffic.revisions =
                revisions.map(|(revision, kept)| (revision.clone(), kept.before.clone())).collect();
            traffic.unanswered = meters.unanswered_before;
        }
        Inheritance { traffic, ledger: Some(self.ledger.hand_on(now)) }
    }

    /// Takes what the predecessor has counted by now. Its counters only grow, and outlive it here.
    pub(crate) fn inherit(&mut self, inheritance: Inheritance, now: Instant) {
        let Inheritance { traffic, ledger } = inheritance;
        self.inherit_traffic(traffic);
        if let Some(ledger) = ledger {
            self.ledger = Ledger::go_on(ledger, now, &self.limits);
            for meters in self.scopes.values_mut() {
                meters.unanswered_before = meters.inherited_unanswered;
                for kept in meters.revisions.values_mut() {
                    kept.before = kept.inherited.clone();
                }
            }
        }
    }

    fn inherit_traffic(&mut self, traffic: BTreeMap<Scope, Traffic>) {
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

    /// Which run this is.
    pub(crate) fn run(&self) -> Run {
        self.ledger.run()
    }

    /// What is shown of a scope.
    pub(crate) fn reading(&self, scope: &Scope) -> Reading {
        let Some(meters) = self.scopes.get(scope) else {
            return Reading::default();
        };
        let revisions = meters.revisions.iter();
        Reading {
            in_flight: revisions
                .map(|(revision, kept)| (revision.clone(), kept.meter.in_flight()))
                .collect(),
            log: meters.log.as_ref().map(|log| (log.written(), log.lost())),
            traffic: self.read(scope),
        }
    }

    /// The files of access logs, to be finished when nobody writes into them any more.
    pub(crate) fn take_logs(&mut self) -> Logs {
        std::mem::replace(&mut self.logs, Logs::new())
    }

    /// A step of time is over: what was counted in it becomes a bucket.
    pub(crate) fn close_bucket(&mut self, now: Instant) {
        let mut scopes = BTreeMap::new();
        for (scope, meters) in &mut self.scopes {
            let unanswered = meters.unanswered();
            let mut counted_in_scope = CountedInScope {
                unanswered: unanswered.since(&meters.unanswered_before),
                ..CountedInScope::default()
            };
            meters.unanswered_before = unanswered;
            for (revision, kept) in &mut meters.revisions {
                let in_flight = kept.meter.in_flight();
                let queued = kept.gate.as_ref().map_or(0, |gate| gate.queue().waiting);
                let counters = kept.read();
                let new = counters.since(&kept.before);
                kept.before = counters;
                if in_flight > 0 || queued > 0 || new != Counters::default() {
                    let counted = Counted { counters: new, in_flight, queued };
                    counted_in_scope.revisions.insert(revision.clone(), counted);
                }
            }
            scopes.insert(scope.clone(), counted_in_scope);
        }
        self.ledger.close(now, scopes);
    }

    /// The buckets of a scope that a reader has not read.
    pub(crate) fn buckets(&self, scope: &Scope, after: Option<Mark>) -> Buckets {
        self.ledger.read(scope, after, Instant::now())
    }

    /// Forgets what nothing refers to any more: an instance at once, a revision after a while.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let kept = self.limits.counters_kept;
        self.scopes.retain(|_, meters| {
            meters.instances.retain(|_, gauge| Arc::strong_count(gauge) > 1);
            meters.revisions.retain(|_, revision| {
                if Arc::strong_count(&revision.meter) > 1 {
                    revision.unused_since = None;
                    return true;
                }
                let since = *revision.unused_since.get_or_insert(now);
                // What is in no bucket yet is kept until it is.
                now.duration_since(since) < kept || revision.read() != revision.before
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
        let access_log = table.gateway.access_log.as_deref();
        let policy = access_log.and_then(|wanted| self.logs.policy(wanted));
        meters.log = access_log.and_then(|wanted| self.logs.counts(&wanted.path));
        let mut routes = Vec::with_capacity(table.routes.len());
        for route in &table.routes {
            let mut backends = Vec::with_capacity(route.backends.len());
            for backend in &route.backends {
                let kept = meters.revisions.entry(backend.revision.clone());
                let kept = kept.or_insert_with(|| Kept::new(workers));
                kept.gate = watched.gate(&backend.revision);
                let upstream = match &backend.upstream {
                    Upstream::Endpoints(endpoints) => LiveUpstream::Endpoints(
                        endpoints
                            .iter()
                            .map(|endpoint| LiveEndpoint {
                                instance: endpoint.instance.clone(),
                                address: endpoint.address,
                                protocol: endpoint.protocol,
                                drain: endpoint.drain.map(Into::into),
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
                    Upstream::Files { root, single_page, others } => {
                        let site = Site::new(root, &backend.revision, *single_page, others);
                        LiveUpstream::Files(Arc::new(site))
                    }
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
            ingress: Arc::new(Ingress::of(&table.gateway)),
            redirect: None,
            gate: watched.gateway(),
            access_log: policy,
            unanswered: Some(Arc::clone(&meters.unanswered)),
            limits: table.gateway.limits.as_deref().copied().unwrap_or_default(),
        }
    }
}
