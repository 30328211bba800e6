//! What the calls on a scope and its task share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidegate_types::{
    Generation, Observation, RevisionFacts, RevisionId, RouteFacts, WantedRevision,
};
use tokio::sync::{Notify, watch};

/// What is wanted and what was seen.
#[derive(Debug)]
pub(crate) struct Shared {
    wanted: Mutex<Option<(Generation, Arc<[WantedRevision]>)>>,
    observation: Mutex<Observation>,
    changes: watch::Sender<u64>,
    wake: Arc<Notify>,
    /// Everything was to be stopped, and is.
    closed: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            wanted: Mutex::default(),
            observation: Mutex::default(),
            changes: watch::Sender::new(0),
            wake: Arc::new(Notify::new()),
            closed: watch::Sender::new(false),
        }
    }

    /// Wakes the task.
    pub(crate) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// None while nobody has said so since the control plane started.
    pub(crate) fn wanted(&self) -> Option<Arc<[WantedRevision]>> {
        lock(&self.wanted).as_ref().map(|(_, wanted)| Arc::clone(wanted))
    }

    /// Takes the list, unless a newer one is followed; that one's generation is the error.
    pub(crate) fn want(
        &self,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), Generation> {
        let mut known = lock(&self.wanted);
        if let Some((newer, _)) = known.as_ref().filter(|(known, _)| *known > generation) {
            return Err(*newer);
        }
        *known = Some((generation, wanted.into()));
        // While the list is locked, so that of two calls the newer one's generation stays.
        self.change(|seen| seen.generation = Some(generation));
        Ok(())
    }

    pub(crate) fn observation(&self) -> Observation {
        lock(&self.observation).clone()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// `routes` is asked while the observation is locked: what was asked before could be put in
    /// the place of something newer.
    pub(crate) fn observed(
        &self,
        revisions: BTreeMap<RevisionId, RevisionFacts>,
        routes: impl FnOnce() -> RouteFacts,
    ) {
        self.change(|seen| {
            seen.revisions = revisions;
            seen.routes = routes();
        });
    }

    /// `routes` is asked as in [`Self::observed`].
    pub(crate) fn routed(&self, routes: impl FnOnce() -> RouteFacts) {
        self.change(|seen| seen.routes = routes());
    }

    /// Nothing runs, and nothing will be started.
    pub(crate) fn closed(&self) {
        self.closed.send_replace(true);
    }

    /// Waits for [`Self::closed`].
    pub(crate) async fn wait_until_closed(&self) {
        // The sender is ours and cannot be gone.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    fn change(&self, change: impl FnOnce(&mut Observation)) {
        let mut observation = lock(&self.observation);
        let before = observation.clone();
        change(&mut observation);
        if *observation != before {
            self.changes.send_modify(|number| *number += 1);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
