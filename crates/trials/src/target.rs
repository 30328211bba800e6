//! The fleet as a target, with faults.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidegate_targets::{Effect, Target, TargetError};
use tidegate_types::{
    Epoch, Generation, LogLine, Observation, RevisionId, RouteTable, Scope, WantedRevision,
    data_plane::Traffic,
};
use tokio::sync::watch;

use crate::{
    scenario::{Call, How},
    shared::{Caller, Shared, lock},
};

pub(crate) struct SimulatedTarget {
    pub(crate) caller: Caller,
    pub(crate) shared: Arc<Shared>,
    /// What it answered last, for answers that are stale.
    last: Mutex<Option<Observation>>,
}

impl SimulatedTarget {
    pub(crate) fn new(caller: Caller, shared: Arc<Shared>) -> Self {
        Self { caller, shared, last: Mutex::default() }
    }
}

fn error(operation: &str, reason: impl Into<String>, retry: bool, effect: Effect) -> TargetError {
    TargetError { operation: operation.to_owned(), reason: reason.into(), retry, effect }
}

fn fault(operation: &str, how: How) -> TargetError {
    let effect = match how {
        How::After | How::Late(_) | How::Lost | How::Partial => Effect::Maybe,
        _ => Effect::None,
    };
    error(operation, format!("{how:?}"), how != How::Refused, effect)
}

fn apply(
    shared: &Shared,
    generation: Generation,
    wanted: &[WantedRevision],
) -> Result<(), TargetError> {
    let before = shared.fleet().generation();
    shared.with_fleet(|fleet| fleet.apply(generation, wanted)).map_err(|newer| {
        let reason = format!("a newer list is followed: {newer}, not {generation}");
        error("apply", reason, false, Effect::None)
    })?;
    shared.oracle().applied(before, generation, wanted, &shared.fleet());
    Ok(())
}

fn route(shared: &Shared, table: &RouteTable) -> Result<Epoch, TargetError> {
    let former = shared.fleet().table().cloned();
    shared
        .with_fleet(|fleet| fleet.route(table))
        .map_err(|reason| error("route", reason, true, Effect::None))?;
    shared.oracle().routed(former.as_ref(), &shared.fleet());
    Ok(table.epoch)
}

#[async_trait]
impl Target for SimulatedTarget {
    async fn apply(
        &self,
        _: &Scope,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), TargetError> {
        let (shared, half) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let (wanted, some) = (wanted.to_vec(), wanted.to_vec());
        let effect = Box::pin(async move { apply(&shared, generation, &wanted) });
        let fail = move |how| {
            if how == How::Partial {
                // The first ones are told, and nothing that runs is forgotten.
                let _ =
                    half.with_fleet(|fleet| fleet.apply_some(generation, &some[..some.len() / 2]));
            }
            fault("apply", how)
        };
        self.shared.call(self.caller, Call::Apply, effect, fail).await
    }

    async fn route(&self, table: &RouteTable) -> Result<Epoch, TargetError> {
        let (shared, refusing) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let (table, epoch) = (table.clone(), table.epoch);
        let effect = Box::pin(async move {
            // The proxy is told over a socket: that takes a moment.
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            route(&shared, &table)
        });
        let fail = move |how| {
            if how == How::Refused {
                refusing.with_fleet(|fleet| fleet.refuse(epoch, "cannot listen: address in use"));
            }
            fault("route", how)
        };
        self.shared.call(self.caller, Call::Route, effect, fail).await
    }

    async fn observe(&self, _: &Scope) -> Result<Observation, TargetError> {
        let shared = Arc::clone(&self.shared);
        let effect = Box::pin(async move { Ok::<_, How>(shared.fleet().observe()) });
        let stale = lock(&self.last).clone();
        let answer = self.shared.call(self.caller, Call::Observe, effect, |how| how).await;
        let answer = match (answer, stale) {
            (Err(How::Stale), Some(stale)) => Ok(stale),
            (answer, _) => answer.map_err(|how| fault("observe", how)),
        };
        if let Ok(answer) = &answer {
            *lock(&self.last) = Some(answer.clone());
        }
        answer
    }

    async fn traffic(&self, _: &Scope) -> Result<Traffic, TargetError> {
        let shared = Arc::clone(&self.shared);
        let effect = Box::pin(async move {
            let traffic = shared.fleet().traffic();
            traffic.ok_or_else(|| error("read counters", "the proxy is down", true, Effect::None))
        });
        self.shared.call(self.caller, Call::Traffic, effect, |how| fault("traffic", how)).await
    }

    async fn logs(
        &self,
        _: &Scope,
        _: &[RevisionId],
        _: usize,
    ) -> Result<Vec<LogLine>, TargetError> {
        let effect = Box::pin(async { Ok(Vec::new()) });
        self.shared.call(self.caller, Call::Logs, effect, |how| fault("logs", how)).await
    }

    fn changes(&self, _: &Scope) -> watch::Receiver<u64> {
        self.shared.changes(self.caller)
    }
}
