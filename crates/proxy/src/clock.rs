//! A clock that workers share by plain numbers.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// Milliseconds since the process began to count them, at least 1.
pub(crate) fn millis() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
}

/// As many milliseconds.
pub(crate) fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
