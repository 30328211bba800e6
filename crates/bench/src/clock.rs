//! The engine's time and ours.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tidegate_server::client::Client;
use tidegate_types::Timestamp;

use crate::Failure;

/// Since the boot, by the clock from which the engine's time is counted as well.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// How far apart the two are. The engine tells whole milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offset(i64);

impl Offset {
    /// Asks the control plane for its time until question and answer are in one millisecond: then
    /// the offset is exact.
    pub(crate) async fn find(client: &Client) -> Result<Self, Failure> {
        for _ in 0..1_000 {
            let before = now().as_millis();
            let told = client.health().await?.now;
            if before == now().as_millis() {
                return Ok(Self(told.as_millis() - i64::try_from(before)?));
            }
        }
        Err("the control plane never told its time within a millisecond".into())
    }

    /// When that was by our clock, at the earliest.
    pub(crate) fn earliest(self, at: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(at.as_millis() - self.0).unwrap_or(0))
    }

    /// When that was by our clock, at the latest: a timestamp tells a whole millisecond.
    pub(crate) fn latest(self, at: Timestamp) -> Duration {
        self.earliest(at) + Duration::from_millis(1)
    }
}
