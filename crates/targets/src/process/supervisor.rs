//! Makes one scope what it should be: looks, decides, acts, and again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate_types::{RevisionId, Scope, WantedRevision};
use tokio::{sync::Notify, task::JoinSet};

use super::{
    Context,
    decide::{Action, decide},
    former_sites::FormerSites,
    instance::{Instance, Start},
    keeper::Keeper,
    publisher::Publisher,
    revision::Revision,
    scope::Shared,
};

/// Everything is looked at this often, whether or not anything was told.
const PERIOD: Duration = Duration::from_secs(1);
/// Requests in flight of instances that leave are asked for this often.
const DRAIN_PERIOD: Duration = Duration::from_millis(25);

/// The task of one scope.
pub(crate) struct Supervisor {
    context: Arc<Context>,
    scope: Scope,
    keeper: Arc<Keeper>,
    publisher: Arc<Publisher>,
    shared: Arc<Shared>,
    wake: Arc<Notify>,
    closing: Arc<AtomicBool>,
    revisions: BTreeMap<RevisionId, Revision>,
    former_sites: FormerSites,
}

impl Supervisor {
    pub(crate) fn new(
        context: Arc<Context>,
        scope: Scope,
        keeper: Arc<Keeper>,
        publisher: Arc<Publisher>,
        shared: Arc<Shared>,
        closing: Arc<AtomicBool>,
    ) -> Self {
        let former_sites = FormerSites::read(&context.layout, &scope, context.steady.now());
        Self {
            former_sites,
            context,
            scope,
            keeper,
            publisher,
            wake: shared.wake(),
            shared,
            closing,
            revisions: BTreeMap::new(),
        }
    }

    /// Takes over what a predecessor of this control plane left. Starts nothing.
    pub(crate) fn adopt(&mut self, revision: &RevisionId) {
        match Revision::adopt(&self.context, &self.scope, revision, &self.wake) {
            Ok(Some(found)) => {
                self.revisions.insert(revision.clone(), found);
            }
            Ok(None) => {}
            Err(reason) => {
                tracing::error!(reason, %revision, "a revision could not be taken over");
            }
        }
    }

    /// Tells everybody what is there now.
    pub(crate) fn tell(&self) {
        let now = self.context.steady.now();
        let sites = self.revisions.values().map(|revision| (&revision.id, &revision.record.spec));
        self.publisher.update(|upstreams| {
            for (id, revision) in &self.revisions {
                let spec = &revision.record.spec;
                let artifacts = &*self.context.artifacts;
                let others = self.former_sites.others_of(id, spec, sites.clone(), now, artifacts);
                upstreams.insert(id.clone(), revision.upstream(&self.context, others));
            }
        });
        let revisions =
            self.revisions.iter().map(|(id, revision)| (id.clone(), revision.facts())).collect();
        self.shared.observed(revisions, || self.publisher.facts());
    }

    /// Supervises for ever.
    pub(crate) async fn run(mut self) {
        let mut looked: Option<Instant> = None;
        loop {
            let look = looked.is_none_or(|looked| looked.elapsed() >= PERIOD);
            if look {
                looked = Some(Instant::now());
            }
            let pause = self.turn(look).await;
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One turn; how long until the next one at the latest.
    async fn turn(&mut self, look: bool) -> Duration {
        let wanted = self.shared.wanted();
        let closing = self.closing.load(Ordering::Acquire);
        self.know(wanted.as_deref());
        for revision in self.revisions.values_mut() {
            revision.collect(&self.context, look);
            if look {
                revision.look_for_files(&self.context);
            }
            for instance in revision.instances.values_mut() {
                let checks = instance.checks();
                instance.remember_ready(&checks);
            }
        }
        self.tell();
        let drains = self.ask_in_flight().await;
        let again = self.act(wanted.as_deref(), closing).await;
        for revision in self.revisions.values_mut() {
            if let Err(reason) = revision.save() {
                tracing::error!(reason, revision = %revision.id, "could not be remembered");
            }
        }
        // What is merely stopped with the control plane is remembered.
        if !closing {
            self.forget(wanted.as_deref());
        }
        self.tell();
        if closing && self.revisions.values().all(|revision| revision.instances.is_empty()) {
            self.shared.closed();
        }
        let pause = if drains { DRAIN_PERIOD } else { PERIOD };
        again.map_or(pause, |again| again.min(pause))
    }

    /// Makes revisions known that are wanted for the first time.
    fn know(&mut self, wanted: Option<&[WantedRevision]>) {
        for wanted in wanted.unwrap_or_default() {
            if !self.revisions.contains_key(&wanted.id) {
                let revision = Revision::new(
                    &self.context,
                    &self.scope,
                    &wanted.id,
                    wanted.spec.clone(),
                    &self.wake,
                );
                self.revisions.insert(wanted.id.clone(), revision);
            }
        }
    }

    /// Asks the proxy which instances that leave still answer requests; whether there are any.
    async fn ask_in_flight(&mut self) -> bool {
        let drains = |revision: &Revision| revision.instances.values().any(Instance::drains);
        if !self.revisions.values().any(drains) {
            return false;
        }
        // Asked before what has left is looked at, an answer could miss a request that came since.
        let left: Vec<_> = self
            .revisions
            .values()
            .flat_map(|revision| revision.instances.values())
            .filter(|instance| instance.drains() && self.publisher.has_left(&instance.id))
            .map(|instance| instance.id.clone())
            .collect();
        if left.is_empty() {
            return true;
        }
        let traffic = self.keeper.client().traffic(&self.scope).await;
        for instance in self
            .revisions
            .values_mut()
            .flat_map(|revision| revision.instances.values_mut())
            .filter(|instance| left.contains(&instance.id))
        {
            instance.in_flight = match &traffic {
                Ok(traffic) => Some(traffic.in_flight.get(&instance.id).copied().unwrap_or(0)),
                Err(_) => None,
            };
        }
        true
    }

    /// Decides and acts; when to decide again.
    async fn act(&mut self, wanted: Option<&[WantedRevision]>, closing: bool) -> Option<Duration> {
        let mut again = None;
        let mut starts = Vec::new();
        for revision in self.revisions.values_mut() {
            let now = self.context.steady.now();
            let replicas = if closing {
                Some(0)
            } else {
                wanted.map(|wanted| {
                    wanted
                        .iter()
                        .find(|wanted| wanted.id == revision.id)
                        .map_or(0, |wanted| wanted.replicas)
                })
            };
            let has_left = |instance: &_| {
                self.publisher.has_left(instance) || (closing && !self.keeper.is_connected())
            };
            let decision = decide(&revision.view(&self.context, replicas, has_left), now);
            if let Some(then) = decision.again {
                let pause = Duration::from(then.since(now)).max(Duration::from_millis(1));
                again = Some(again.map_or(pause, |again: Duration| again.min(pause)));
            }
            for action in decision.actions {
                match action {
                    Action::Start => {
                        starts.extend(Self::prepare(&self.context, &self.scope, revision));
                    }
                    Action::Retire(number) => Self::retire(&self.context, revision, number, None),
                    Action::GiveUp(number) => {
                        let what = revision.too_late(number);
                        Self::retire(&self.context, revision, number, Some(what));
                    }
                    Action::Replace(number) => {
                        let what = revision.broken(number);
                        Self::retire(&self.context, revision, number, Some(what));
                    }
                    Action::Stop(number) => {
                        if let Some(instance) = revision.instances.get_mut(&number) {
                            instance.stop(now);
                        }
                    }
                }
                // What was retired may be stopped at once, what failed started again.
                if !matches!(action, Action::Stop(_) | Action::Start) {
                    self.wake.notify_one();
                }
            }
        }
        self.start(starts).await;
        again
    }

    fn retire(context: &Context, revision: &mut Revision, number: u32, failed: Option<String>) {
        if let Some(instance) = revision.instances.get_mut(&number) {
            instance.retire(context, failed.clone());
        }
        if let Some(what) = failed {
            revision.count_failure(context, number, what);
        }
    }

    fn prepare(
        context: &Context,
        scope: &Scope,
        revision: &mut Revision,
    ) -> Option<(RevisionId, Start)> {
        let process = revision.process()?.clone();
        let number = revision.record.next;
        // Known on disk before there is an instance, or nobody could find it again.
        let prepared = revision.save().and_then(|()| {
            Start::prepare(context, scope, &revision.id, &revision.record.spec, &process, number)
        });
        revision.record.next = number.saturating_add(1);
        match prepared {
            Ok(start) => Some((revision.id.clone(), start)),
            Err(reason) => {
                revision.start_failed(context, number, reason);
                None
            }
        }
    }

    async fn start(&mut self, starts: Vec<(RevisionId, Start)>) {
        let mut running = JoinSet::new();
        for (revision, start) in starts {
            let number = start.number;
            let port = start.port();
            running.spawn_blocking(move || (revision, number, port, start.run()));
        }
        while let Some(done) = running.join_next().await {
            let Ok((id, number, port, result)) = done else {
                tracing::error!("a start ended without a result");
                continue;
            };
            let Some(revision) = self.revisions.get_mut(&id) else {
                continue;
            };
            let Some(process) = revision.process().cloned() else {
                continue;
            };
            match result {
                Ok(found) => revision.attach(&self.context, &process, found, &self.wake),
                Err(reason) => {
                    if let Some(port) = port {
                        self.context.ports.release(port);
                    }
                    revision.start_failed(&self.context, number, reason);
                }
            }
        }
    }

    /// Forgets revisions that nobody wants and of which nothing runs.
    fn forget(&mut self, wanted: Option<&[WantedRevision]>) {
        let Some(wanted) = wanted else { return };
        let names = |wanted: &[WantedRevision], id: &RevisionId| {
            wanted.iter().any(|wanted| wanted.id == *id)
        };
        self.revisions.retain(|id, revision| {
            if !revision.instances.is_empty() || names(wanted, id) {
                return true;
            }
            // Before its record goes: what was killed in between remembers it the next time.
            let now = self.context.steady.now();
            self.former_sites.left(id, &revision.record.spec, now);
            // A table that names it from now on names something unknown, unless it was wanted
            // again since: that is looked at where nobody can be just about to say so.
            self.publisher.update(|upstreams| {
                let latest = self.shared.wanted();
                if !latest.is_some_and(|latest| names(&latest, id)) {
                    upstreams.remove(id);
                }
            });
            if let Err(error) = revision.put_aside(&self.context) {
                tracing::warn!(%error, revision = %id, "its folder could not be removed");
            }
            false
        });
    }
}
