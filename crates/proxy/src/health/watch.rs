//! Keeps what is known of every instance that a table names, and asks those that can be asked for
//! as long as one does: before, during and after a rollout, and without a control plane.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tidegate_types::{
    Concurrency, InstanceId, RevisionId, Scope,
    data_plane::{Check, Endpoint, Health as Facts, ProxyTable, Upstream},
};
use tokio::task::AbortHandle;

use super::{Health, Thresholds, View};
use crate::{clock, gate::Gate, limits::Limits, pick::Random, probe};

/// All scopes.
#[derive(Debug)]
pub(crate) struct Watch {
    scopes: HashMap<Scope, Watched>,
    /// Where a route says nothing else.
    slow_start: u64,
}

/// One scope.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    instances: HashMap<InstanceId, Instance>,
    revisions: HashMap<RevisionId, Revision>,
    gateway: Option<Arc<Gate>>,
}

#[derive(Debug)]
struct Instance {
    address: SocketAddr,
    health: Arc<Health>,
    check: Option<Check>,
    /// It is in the table.
    named: bool,
    /// It was in no table for a while.
    gone: bool,
    asking: Option<Asking>,
}

#[derive(Debug, Default)]
struct Revision {
    gate: Option<Arc<Gate>>,
    ejecting: Arc<Mutex<()>>,
}

impl Instance {
    fn new(endpoint: &Endpoint, now: u64) -> Self {
        let health = Arc::new(Health::new(endpoint.check.is_some(), now));
        let asking = Asking::start(endpoint, &health);
        let (address, check) = (endpoint.address, endpoint.check.clone());
        Self { address, health, check, named: true, gone: false, asking }
    }
}

impl Watch {
    /// Nothing is known yet.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { scopes: HashMap::new(), slow_start: clock::in_millis(limits.slow_start) }
    }

    /// Follows a table: asks who is new, and no longer who has left.
    pub(crate) fn follow(&mut self, table: &ProxyTable) -> &Watched {
        let watched = self.scopes.entry(table.scope.clone()).or_default();
        watched.follow(table);
        watched
    }

    /// Asks nobody in this scope any more.
    pub(crate) fn forget(&mut self, scope: &Scope) {
        self.scopes.remove(scope);
    }

    /// What is to be told of a scope.
    pub(crate) fn read(&self, scope: &Scope) -> Facts {
        let Some(watched) = self.scopes.get(scope) else {
            return Facts::default();
        };
        let now = clock::millis();
        let named = watched.instances.iter().filter(|(_, instance)| instance.named);
        Facts {
            instances: named
                .map(|(name, instance)| {
                    (name.clone(), instance.health.view().by(now, self.slow_start).fitness())
                })
                .collect(),
            queues: watched
                .revisions
                .iter()
                .filter_map(|(name, revision)| {
                    Some((name.clone(), revision.gate.as_ref()?.queue()))
                })
                .collect(),
            gateway: watched.gateway.as_ref().map(|gate| gate.queue()),
        }
    }
}

impl Watched {
    fn follow(&mut self, table: &ProxyTable) {
        let now = clock::millis();
        set(&mut self.gateway, table.gateway.concurrency);
        for instance in self.instances.values_mut() {
            instance.named = false;
        }
        let mut revisions = BTreeSet::new();
        for route in &table.routes {
            for backend in &route.backends {
                // A revision that answers on two routes is the same instances with one limit.
                if revisions.insert(&backend.revision) {
                    let revision = self.revisions.entry(backend.revision.clone()).or_default();
                    set(&mut revision.gate, route.rule.handling.concurrency);
                }
                if let Upstream::Endpoints(endpoints) = &backend.upstream {
                    for endpoint in endpoints {
                        self.name(endpoint, now);
                    }
                }
            }
        }
        self.revisions.retain(|name, _| revisions.contains(name));
        self.instances.retain(|_, instance| {
            if !instance.named {
                instance.gone = true;
                instance.asking = None;
            }
            // Workers may still have requests there, and know it again should it return.
            instance.named || Arc::strong_count(&instance.health) > 1
        });
    }

    fn name(&mut self, endpoint: &Endpoint, now: u64) {
        let known = self.instances.get_mut(&endpoint.instance);
        let Some(instance) = known.filter(|instance| instance.address == endpoint.address) else {
            let instance = Instance::new(endpoint, now);
            self.instances.insert(endpoint.instance.clone(), instance);
            return;
        };
        // Another check may say something else: what the former one said is not carried over.
        if instance.gone || instance.check != endpoint.check {
            instance.health.renew(endpoint.check.is_some(), now);
            instance.check.clone_from(&endpoint.check);
            instance.asking = Asking::start(endpoint, &instance.health);
        }
        instance.named = true;
        instance.gone = false;
    }

    /// What is known of an instance of the table that was followed last.
    pub(crate) fn health(&self, endpoint: &Endpoint) -> Arc<Health> {
        self.instances.get(&endpoint.instance).map_or_else(
            || Arc::new(Health::new(false, clock::millis())),
            |instance| Arc::clone(&instance.health),
        )
    }

    /// What limits the requests to a revision.
    pub(crate) fn gate(&self, revision: &RevisionId) -> Option<Arc<Gate>> {
        self.revisions.get(revision)?.gate.clone()
    }

    /// Held by who leaves an instance of a revision alone, so that never too many are.
    pub(crate) fn ejecting(&self, revision: &RevisionId) -> Arc<Mutex<()>> {
        let found = self.revisions.get(revision);
        found.map(|revision| Arc::clone(&revision.ejecting)).unwrap_or_default()
    }

    /// What limits the requests to the whole scope.
    pub(crate) fn gateway(&self) -> Option<Arc<Gate>> {
        self.gateway.clone()
    }
}

/// The gate stays the same when its limits change: who is in is still counted.
fn set(gate: &mut Option<Arc<Gate>>, terms: Option<Concurrency>) {
    match (&gate, terms) {
        (Some(gate), Some(terms)) => gate.set(terms),
        (_, terms) => *gate = terms.map(|terms| Arc::new(Gate::new(terms))),
    }
}

/// The task that asks one instance; ends when dropped.
#[derive(Debug)]
struct Asking(AbortHandle);

impl Asking {
    /// None when there is no check.
    fn start(endpoint: &Endpoint, health: &Arc<Health>) -> Option<Self> {
        let check = endpoint.check.clone()?;
        let asking = ask(endpoint.instance.clone(), endpoint.address, check, Arc::clone(health));
        Some(Self(tokio::spawn(asking).abort_handle()))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks again and again. The pauses differ by a tenth, so that those who were asked together are
/// not asked together for ever.
async fn ask(instance: InstanceId, address: SocketAddr, check: Check, health: Arc<Health>) {
    let random = Random::new(RandomState::new().hash_one(address));
    let thresholds = Thresholds { failures: check.failures, successes: check.successes };
    let interval = std::time::Duration::from(check.interval);
    // Soon, but not all at once when a table names many.
    let mut pause = interval.min(std::time::Duration::from_secs(1)).mul_f64(0.25 * part(&random));
    loop {
        tokio::time::sleep(pause).await;
        let answer = probe::ask(&check.question, address, check.timeout).await;
        let (before, after) = health.checked(answer.is_ok(), thresholds, clock::millis());
        match (&answer, after) {
            (Err(reason), View::Unfit) if before != View::Unfit => {
                tracing::warn!(%instance, %reason, "an instance is not fit for requests");
            }
            (Ok(()), _) if before == View::Unfit && after != View::Unfit => {
                tracing::info!(%instance, "an instance is fit for requests again");
            }
            _ => {}
        }
        // Never quite without a pause, whatever the interval.
        let least = std::time::Duration::from_millis(1);
        pause = interval.mul_f64(0.9 + 0.2 * part(&random)).max(least);
    }
}

/// Anything from 0 to 1.
fn part(random: &Random) -> f64 {
    f64::from(u32::try_from(random.next() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}
