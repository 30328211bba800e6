//! One instance.

use super::Behaviour;

/// An instance from its start to its end.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) number: u32,
    pub(crate) started: u64,
    /// Since when it takes no new requests, as it is to leave.
    pub(crate) stopping: Option<u64>,
    /// When it was told to stop.
    pub(crate) told: Option<u64>,
    /// Visits that it still has to answer.
    pub(crate) visits: u32,
    /// Whether it was ever ready.
    pub(crate) was_ready: bool,
    /// Since when it fails its checks, after it had been ready.
    pub(crate) failing_since: Option<u64>,
}

impl Instance {
    pub(crate) fn new(number: u32, now: u64) -> Self {
        Self {
            number,
            started: now,
            stopping: None,
            told: None,
            visits: 0,
            was_ready: false,
            failing_since: None,
        }
    }

    pub(crate) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.started)
    }

    /// Fit for traffic.
    pub(crate) fn is_ready(&self, behaviour: &Behaviour, now: u64) -> bool {
        self.stopping.is_none() && behaviour.is_ready(self.age(now))
    }
}
