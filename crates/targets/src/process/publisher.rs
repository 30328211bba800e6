//! Brings the proxy's table for one scope up to date: the only place that does.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_proxy::client::{ClientError, Published};
use tidegate_types::{
    Epoch, InstanceId, RouteFacts, RouteRefusal, RouteTable, Scope,
    data_plane::{ProxyTable, Refusal},
};
use tokio::sync::Notify;

use super::{
    keeper::Keeper,
    table::{Upstreams, names, same, table_of, with_upstreams},
};
use crate::{Effect, TargetError};

/// A call waits this long for a proxy that is just being started.
const PROXY_START: Duration = Duration::from_secs(5);
/// Between two tries to publish.
const RETRY: Duration = Duration::from_millis(200);

/// Publishes for one scope.
#[derive(Debug)]
pub(crate) struct Publisher {
    scope: Scope,
    keeper: Arc<Keeper>,
    /// Where the requests of each revision should go.
    upstreams: Mutex<Upstreams>,
    /// Held while something is published, so that one table follows the other.
    publication: tokio::sync::Mutex<Publication>,
    confirmed: Mutex<Confirmed>,
    /// The upstreams changed.
    changed: Notify,
}

/// What is to be in force.
#[derive(Debug, Default)]
struct Publication {
    /// The routes last asked for, or those found in force after our start.
    base: Option<ProxyTable>,
    /// The largest membership used so far.
    membership: u64,
    /// The proxy process of which the rest is known.
    generation: u64,
}

/// What may be in force.
#[derive(Debug, Default)]
struct Confirmed {
    /// The proxy was asked, or has confirmed, since it was started.
    known: bool,
    in_force: Option<ProxyTable>,
    /// Sent without an answer: it may be in force too, or come to be, until a later one is.
    uncertain: Option<ProxyTable>,
    facts: RouteFacts,
}

/// Wakes the follower when it is dropped, unless it was emptied.
struct Unsettled<'a>(Option<&'a Notify>);

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if let Some(changed) = self.0 {
            changed.notify_one();
        }
    }
}

enum Fault {
    Unreachable { reason: String, effect: Effect },
    Refused(Refusal),
}

impl Publisher {
    pub(crate) fn new(scope: Scope, keeper: Arc<Keeper>) -> Self {
        Self {
            scope,
            keeper,
            upstreams: Mutex::default(),
            publication: tokio::sync::Mutex::default(),
            confirmed: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// What is known about the routing.
    pub(crate) fn facts(&self) -> RouteFacts {
        self.confirmed().facts.clone()
    }

    /// Changes where requests should go, and has it published soon.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Upstreams)) {
        let mut upstreams = lock(&self.upstreams);
        let before = upstreams.clone();
        change(&mut upstreams);
        if *upstreams != before {
            self.changed.notify_one();
        }
    }

    /// Whether certainly no new request comes to an instance that is in no upstream any more.
    pub(crate) fn has_left(&self, instance: &InstanceId) -> bool {
        let confirmed = self.confirmed();
        confirmed.known
            && ![&confirmed.in_force, &confirmed.uncertain]
                .into_iter()
                .flatten()
                .any(|table| names(table, instance))
    }

    /// Follows the upstreams and the proxy process for ever; `told` is called after each change of
    /// what is in force.
    pub(crate) async fn follow(&self, told: impl Fn()) {
        let mut state = self.keeper.state();
        loop {
            let generation = state.borrow_and_update().generation;
            let done = {
                let mut publication = self.publication.lock().await;
                if publication.generation != generation {
                    self.forget(&mut publication, generation);
                }
                if self.is_deaf() {
                    self.confirmed().known = false;
                }
                generation == 0
                    || self.synchronise(&mut publication).await.is_ok() && !self.is_deaf()
            };
            told();
            tokio::select! {
                () = self.changed.notified() => {}
                changed = state.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if !done => {}
            }
        }
    }

    /// Puts the routes in force.
    pub(crate) async fn route(&self, routes: &RouteTable) -> Result<Epoch, TargetError> {
        let failed = |reason: String, retry, effect| TargetError {
            operation: format!("put route table {} of {} in force", routes.epoch, self.scope),
            reason,
            retry,
            effect,
        };
        if let Err(reason) = self.keeper.connected(PROXY_START).await {
            return Err(failed(reason, true, Effect::None));
        }
        let mut publication = self.publication.lock().await;
        let generation = self.keeper.state().borrow().generation;
        if publication.generation != generation {
            self.forget(&mut publication, generation);
        }
        if let Err(fault) = self.learn(&mut publication).await {
            return Err(failed(fault.to_string(), true, Effect::None));
        }
        if let Some(base) = publication.base.as_ref().filter(|base| base.epoch > routes.epoch) {
            let reason = format!("route table {} was put in force since", base.epoch);
            return Err(failed(reason, false, Effect::None));
        }
        let table = table_of(routes, &lock(&self.upstreams))
            .map_err(|reason| failed(reason, true, Effect::None))?;
        publication.base = Some(table);
        // Given up or not answered, it may be in force all the same: the follower finds out.
        let mut unsettled = Unsettled(Some(&self.changed));
        match self.synchronise(&mut publication).await {
            Ok(()) => {
                unsettled.0 = None;
                Ok(routes.epoch)
            }
            Err(Fault::Unreachable { reason, effect }) => Err(failed(reason, true, effect)),
            Err(Fault::Refused(refusal)) => Err(failed(refusal.to_string(), false, Effect::None)),
        }
    }

    /// A table is in force, but its address could not be listened on when the proxy started; the
    /// proxy tries again, and we ask again.
    fn is_deaf(&self) -> bool {
        let confirmed = self.confirmed();
        confirmed.in_force.is_some() && confirmed.facts.address.is_none()
    }

    /// Another proxy process runs: what the former one had in force, and what it was sent, is past.
    fn forget(&self, publication: &mut Publication, generation: u64) {
        publication.generation = generation;
        let mut confirmed = self.confirmed();
        confirmed.known = false;
    }

    /// Asks the proxy what is in force, unless that is known.
    async fn learn(&self, publication: &mut Publication) -> Result<(), Fault> {
        if self.confirmed().known {
            return Ok(());
        }
        let tables = self.keeper.client().tables().await.map_err(Fault::from)?;
        let served = tables.into_iter().find(|served| served.table.scope == self.scope);
        let mut confirmed = self.confirmed();
        confirmed.known = true;
        confirmed.facts.epoch = served.as_ref().map(|served| served.table.epoch);
        confirmed.facts.address =
            served.as_ref().and_then(|served| served.address).map(|address| address.to_string());
        confirmed.in_force = served.map(|served| served.table);
        if let Some(table) = &confirmed.in_force {
            publication.membership = publication.membership.max(table.membership);
            if publication.base.as_ref().is_none_or(|base| base.epoch < table.epoch) {
                publication.base = Some(table.clone());
            }
        }
        Ok(())
    }

    /// Publishes until what should be in force is.
    async fn synchronise(&self, publication: &mut Publication) -> Result<(), Fault> {
        let mut tries = 0;
        loop {
            self.learn(publication).await?;
            let Some(base) = &publication.base else {
                return Ok(());
            };
            let mut table = with_upstreams(base, &lock(&self.upstreams));
            {
                let confirmed = self.confirmed();
                let current =
                    confirmed.in_force.as_ref().is_some_and(|in_force| same(in_force, &table));
                if current && confirmed.uncertain.is_none() {
                    return Ok(());
                }
            }
            publication.membership += 1;
            table.membership = publication.membership;
            self.confirmed().uncertain = Some(table.clone());
            let answer = self.keeper.client().publish(&table).await;
            match self.settle(publication, table, answer.map_err(Fault::from)) {
                Ok(()) => {}
                // Somebody published with a larger membership than we knew of: once more above it.
                Err(Fault::Refused(Refusal::Stale { epoch, .. }))
                    if tries < 3
                        && publication.base.as_ref().is_some_and(|base| base.epoch >= epoch) =>
                {
                    tries += 1;
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Takes note of how a publication went.
    fn settle(
        &self,
        publication: &mut Publication,
        table: ProxyTable,
        answer: Result<Published, Fault>,
    ) -> Result<(), Fault> {
        let mut confirmed = self.confirmed();
        match answer {
            Ok(published) => {
                confirmed.uncertain = None;
                confirmed.facts = RouteFacts {
                    epoch: Some(published.epoch),
                    address: Some(published.address.to_string()),
                    refused: None,
                };
                confirmed.in_force = Some(table);
                Ok(())
            }
            Err(Fault::Refused(refusal)) => {
                confirmed.uncertain = None;
                if let Refusal::Stale { membership, .. } = refusal {
                    // What is in force is not what we knew.
                    confirmed.known = false;
                    publication.membership = publication.membership.max(membership);
                } else {
                    confirmed.facts.refused =
                        Some(RouteRefusal { epoch: table.epoch, reason: refusal.to_string() });
                    // What is in force stays, and has to be kept up to date.
                    publication.base.clone_from(&confirmed.in_force);
                }
                Err(Fault::Refused(refusal))
            }
            Err(fault) => {
                confirmed.known = false;
                Err(fault)
            }
        }
    }

    fn confirmed(&self) -> MutexGuard<'_, Confirmed> {
        lock(&self.confirmed)
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Unreachable { reason: other.to_string(), effect: Effect::Maybe },
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable { reason, .. } => formatter.write_str(reason),
            Self::Refused(refusal) => write!(formatter, "{refusal}"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
