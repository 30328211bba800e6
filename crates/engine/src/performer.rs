//! Makes the stored wish come true: tells the target, again and again until it takes it.
//!
//! Traffic before instances: what is to lose its traffic loses it first. Only the latest wish
//! counts; one that was overtaken is dropped.

use std::{sync::Arc, time::Duration};

use tidegate_targets::Target;
use tidegate_types::{RouteTable, Scope, WantedRevision};
use tokio::{sync::watch, time::sleep};
use tracing::{debug, warn};

/// What the target shall be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// All revisions and their sizes.
    pub(crate) revisions: Vec<WantedRevision>,
    /// The routing; none while nothing was ever routed.
    pub(crate) table: Option<RouteTable>,
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
                tell(&scope, &*target, wish, done.as_ref()).await
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
                () = sleep(pause) => {}
                changed = wishes.changed() => if changed.is_err() { return },
            }
        } else if wishes.changed().await.is_err() {
            return;
        }
    }
}

async fn tell(
    scope: &Scope,
    target: &dyn Target,
    wish: &Wanted,
    done: Option<&Wanted>,
) -> Result<(), tidegate_targets::TargetError> {
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
    if done.is_none() || (!new.is_empty() && wish.table.is_some()) {
        known.extend(new);
        debug!(%scope, revisions = known.len(), "apply new revisions");
        target.apply(scope, &known).await?;
    }
    if let Some(table) = &wish.table
        && done.and_then(|done| done.table.as_ref()) != Some(table)
    {
        debug!(%scope, epoch = %table.epoch, "route");
        target.route(table).await?;
    }
    if known != wish.revisions {
        target.apply(scope, &wish.revisions).await?;
    }
    Ok(())
}
