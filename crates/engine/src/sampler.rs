//! Reads the proxy's counters again and again while a deployment moves traffic.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidegate_targets::Target;
use tidegate_types::{RevisionId, Sample, Scope, Timestamp, data_plane::Traffic};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tracing::debug;

use crate::{Clock, evidence::between};

/// Time between two readings.
pub const PERIOD: Duration = Duration::from_millis(500);

/// Sends the samples of every revision, each [`PERIOD`] while `wanted` says so. Ends when the other
/// side does.
///
/// The first reading after a pause only sets the base: what was counted before it belongs to no
/// known span of time, and is evidence of nothing.
pub(crate) async fn sample(
    scope: Scope,
    target: Arc<dyn Target>,
    clock: Arc<dyn Clock>,
    mut wanted: watch::Receiver<bool>,
    samples: mpsc::Sender<Vec<(RevisionId, Sample)>>,
) {
    let mut base: Option<(Timestamp, Traffic)> = None;
    loop {
        if !*wanted.borrow_and_update() {
            base = None;
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        match target.traffic(&scope).await {
            Ok(traffic) => {
                let now = clock.now();
                if let Some((from, before)) = base.take() {
                    // Another run began at nothing.
                    let known =
                        if before.run == traffic.run { before.revisions } else { BTreeMap::new() };
                    let taken = between(from, &known, now, &traffic.revisions);
                    if samples.send(taken).await.is_err() {
                        return;
                    }
                }
                base = Some((now, traffic));
            }
            // A gap in the samples is what the guards see of it: missing evidence.
            Err(error) => debug!(%scope, %error, "no counters"),
        }
        tokio::select! {
            biased;
            () = sleep(PERIOD) => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}
