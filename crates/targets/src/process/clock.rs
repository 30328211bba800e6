//! The time by which waiting is measured.

use std::time::Instant;

use tidegate_types::{Duration, Timestamp};

/// Starts at the wall clock's time and then goes on steadily, however the wall clock is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SteadyClock {
    base: Timestamp,
    started: Instant,
}

impl SteadyClock {
    pub(crate) fn starting_at(base: Timestamp) -> Self {
        Self { base, started: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.base.after(Duration::from_millis(millis))
    }
}
