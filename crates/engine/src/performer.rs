//! Makes the stored wish come true: tells the target, again and again until it takes it.
//!
//! Traffic before instances: what is to lose its traffic loses it first. Only the latest wish
//! counts. A target that does not answer is asked again, and one that hangs over its instances does
//! not keep a newer route table waiting: what is under way is dropped for it.

use std::{future::Future, sync::Arc, time::Duration};

use tidegate_targets::{Effect, Target, TargetError};
use tidegate_types::{Generation, RouteTable, Scope, WantedRevision};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

/// What the target shall be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// Of `revisions`.
    pub(crate) generation: Generation,
    /// All revisions and their sizes.
    pub(crate) revisions: Vec<WantedRevision>,
    /// The routing; none while nothing was ever routed.
    pub(crate) table: Option<RouteTable>,
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A call that was not answered by then is given up and made again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs until the sender of wishes is gone. `trouble` tells what does not work at the moment.
pub(crate) async fn perform(
    scope: Scope,
    target: Arc<dyn Target>,
    mut wishes: watch::Receiver<Option<Wanted>>,
    trouble: watch::Sender<Option<String>>,
) {
    let mut done: Option<Wanted> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let wish = wishes.borrow_and_update().clone();
        let outcome = match &wish {
            Some(wish) if done.as_ref() != Some(wish) => {
                let mut newer = wishes.clone();
                tokio::select! {
                    biased;
                    outcome = tell(&scope, &*target, wish, done.as_ref()) => outcome,
                    overtaken = overtaken(&mut newer, wish) => match overtaken {
                        // What was told of the old wish by then is unknown, and told again.
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                }
            }
            _ => Ok(()),
        };
        let again = match outcome {
            Ok(()) => {
                done = wish;
                pause = FIRST_PAUSE;
                trouble.send_if_modified(|trouble| trouble.take().is_some());
                false
            }
            Err(error) => {
                warn!(%scope, %error, "the target did not take the wish");
                trouble.send_replace(Some(error.to_string()));
                // A refusal for good is in the observation as well, where the state machine sees
                // it; asking again costs little and helps when the cause goes away.
                pause = (pause * 2).min(LONGEST_PAUSE);
                true
            }
        };
        if again {
            tokio::select! {
                biased;
                changed = wishes.changed() => if changed.is_err() { return },
                () = sleep(pause) => {}
            }
        } else if wishes.changed().await.is_err() {
            return;
        }
    }
}

/// Returns when the latest wish has another route table than `wish`.
async fn overtaken(
    wishes: &mut watch::Receiver<Option<Wanted>>,
    wish: &Wanted,
) -> Result<(), watch::error::RecvError> {
    let newer =
        wishes.wait_for(|latest| latest.as_ref().is_some_and(|latest| latest.table != wish.table));
    newer.await.map(|_| ())
}

async fn tell(
    scope: &Scope,
    target: &dyn Target,
    wish: &Wanted,
    done: Option<&Wanted>,
) -> Result<(), TargetError> {
    // Revisions that the table names must be known before it; revisions that leave must have lost
    // their traffic before they go.
    let mut known: Vec<WantedRevision> =
        done.map(|done| done.revisions.clone()).unwrap_or_default();
    let new: Vec<WantedRevision> = wish
        .revisions
        .iter()
        .filter(|revision| !known.iter().any(|known| known.id == revision.id))
        .cloned()
        .collect();
    let names_new = wish.table.as_ref().is_some_and(|table| {
        let mut named = table.routes.iter().flat_map(|route| &route.backends);
        named.any(|backend| new.iter().any(|new| new.id == backend.revision))
    });
    let mut followed = done.map(|done| done.generation);
    if done.is_none() || names_new {
        known.extend(new);
        // What leaves is still in it: this list is older than the wish's own.
        let whole = known == wish.revisions;
        let generation = if whole { wish.generation } else { wish.generation.previous() };
        debug!(%scope, revisions = known.len(), "apply new revisions");
        let call = target.apply(scope, generation, &known);
        if within(scope, "be told of new revisions", call).await.is_ok() {
            followed = Some(generation);
        }
    }
    // Also when the target did not take the new revisions: it may know them from before, and
    // traffic that shall leave a bad revision does not wait for good ones.
    if let Some(table) = &wish.table
        && done.and_then(|done| done.table.as_ref()) != Some(table)
    {
        debug!(%scope, epoch = %table.epoch, "route");
        within(scope, "put the route table in force", target.route(table)).await?;
    }
    if followed != Some(wish.generation) {
        within(scope, "change what runs", target.apply(scope, wish.generation, &wish.revisions))
            .await?;
    }
    Ok(())
}

/// The answer of a call, or that there was none in time.
async fn within<T>(
    scope: &Scope,
    operation: &str,
    call: impl Future<Output = Result<T, TargetError>>,
) -> Result<T, TargetError> {
    timeout(PATIENCE, call).await.unwrap_or_else(|_| {
        Err(TargetError {
            operation: format!("{operation} in {scope}"),
            reason: format!("no answer within {PATIENCE:?}"),
            retry: true,
            effect: Effect::Maybe,
        })
    })
}
