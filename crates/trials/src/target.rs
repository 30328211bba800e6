//! The fleet as a target, with faults.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidegate_targets::{Effect, Target, TargetError};
use tidegate_types::{
    Epoch, Generation, LogLine, Observation, RevisionId, RouteTable, Scope, WantedRevision,
    data_plane::Traffic,
};
use tokio::sync::watch;

use tidegate_sim::world::NotRouted;

use crate::{
    project,
    scenario::{Call, How},
    shared::{Caller, Shared, lock},
};

/// To the proxy, and back from there.
const WAY: std::time::Duration = std::time::Duration::from_millis(1);
/// So long an answer of the proxy is waited for.
const UNANSWERED: std::time::Duration = std::time::Duration::from_secs(2);

pub(crate) struct SimulatedTarget {
    pub(crate) caller: Caller,
    pub(crate) shared: Arc<Shared>,
    /// What it answered last, for answers that are stale.
    last: Mutex<Option<Observation>>,
    /// Its half of the fleet's care: what it was to do itself ends with it.
    alive: Arc<Presence>,
}

/// One control plane that lives.
struct Presence(Arc<Shared>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl SimulatedTarget {
    pub(crate) fn new(caller: Caller, shared: Arc<Shared>) -> Self {
        shared.arrive();
        let alive = Arc::new(Presence(Arc::clone(&shared)));
        Self { caller, shared, last: Mutex::default(), alive }
    }
}

/// A trial has one environment; another one's list may not pass for this one's.
fn here(operation: &str, scope: &Scope) -> Result<(), TargetError> {
    if *scope == project::scope() {
        return Ok(());
    }
    Err(error(operation, format!("there is no {scope} in this world"), false, Effect::None))
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
    shared.with_fleet(|fleet| fleet.route(table)).map_err(|reason| {
        let retry = !matches!(reason, NotRouted::Older(_));
        let effect = match reason {
            NotRouted::Unanswered => Effect::Maybe,
            NotRouted::Older(_) | NotRouted::Unknown(_) | NotRouted::Down => Effect::None,
        };
        error("route", reason.to_string(), retry, effect)
    })?;
    shared.oracle().routed(former.as_ref(), &shared.fleet());
    Ok(table.epoch)
}

#[async_trait]
impl Target for SimulatedTarget {
    async fn apply(
        &self,
        scope: &Scope,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), TargetError> {
        here("apply", scope)?;
        let (shared, half) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let (wanted, some) = (wanted.to_vec(), wanted.to_vec());
        let alive = Arc::downgrade(&self.alive);
        let effect = Box::pin(async move {
            // Nothing is sent anywhere: what a control plane was still to do dies with it.
            let Some(_alive) = alive.upgrade() else { return Ok(()) };
            apply(&shared, generation, &wanted)
        });
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
        here("route", &table.scope)?;
        let (shared, refusing) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let (table, epoch) = (table.clone(), table.epoch);
        let effect = Box::pin(async move {
            if shared.fleet().is_silent() {
                // It is sent, and then there is no answer.
                let answer = route(&shared, &table);
                tokio::time::sleep(UNANSWERED).await;
                return answer;
            }
            // The proxy is told over a socket: it hears of it a moment later, and its answer takes
            // another one. Whoever does not wait for that does not know.
            tokio::time::sleep(WAY).await;
            let answer = route(&shared, &table);
            tokio::time::sleep(WAY).await;
            answer
        });
        let fail = move |how| {
            if how == How::Refused {
                refusing.with_fleet(|fleet| fleet.refuse(epoch, "cannot listen: address in use"));
            }
            fault("route", how)
        };
        self.shared.call(self.caller, Call::Route, effect, fail).await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation, TargetError> {
        here("observe", scope)?;
        let shared = Arc::clone(&self.shared);
        let effect = Box::pin(async move {
            // A look is what lets the world go on up to now: whoever waits is told first.
            shared.tell();
            Ok::<_, How>(shared.fleet().observe())
        });
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

    async fn traffic(&self, scope: &Scope) -> Result<Traffic, TargetError> {
        here("read counters", scope)?;
        let shared = Arc::clone(&self.shared);
        let effect = Box::pin(async move {
            let traffic = shared.fleet().traffic();
            traffic.ok_or_else(|| error("read counters", "no answer", true, Effect::None))
        });
        self.shared.call(self.caller, Call::Traffic, effect, |how| fault("traffic", how)).await
    }

    async fn logs(
        &self,
        scope: &Scope,
        _: &[RevisionId],
        _: usize,
    ) -> Result<Vec<LogLine>, TargetError> {
        here("read logs", scope)?;
        let effect = Box::pin(async { Ok(Vec::new()) });
        self.shared.call(self.caller, Call::Logs, effect, |how| fault("logs", how)).await
    }

    fn changes(&self, _: &Scope) -> watch::Receiver<u64> {
        self.shared.changes(self.caller)
    }
}
