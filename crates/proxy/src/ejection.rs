//! Leaving an endpoint alone for a while that refuses connections.

use std::time::{Duration, Instant};

/// Whether and until when an endpoint is left alone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ejection {
    until: Option<Instant>,
    strikes: u32,
}

impl Ejection {
    /// A connection was refused. Failures while it is ejected already are ignored: they are the
    /// same event seen by requests that were under way.
    #[must_use]
    pub(crate) fn failed(self, now: Instant, first: Duration, longest: Duration) -> Self {
        if self.is_out(now) {
            return self;
        }
        let span = first.saturating_mul(1 << self.strikes.min(16)).min(longest);
        Self { until: Some(now + span), strikes: self.strikes + 1 }
    }

    /// Whether it is left alone.
    pub(crate) fn is_out(self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn the_span_grows_to_its_limit_and_concurrent_failures_count_once() {
        let mut now = Instant::now();
        let mut ejection = Ejection::default();
        assert!(!ejection.is_out(now));
        for seconds in [1, 2, 4, 8, 10, 10] {
            for _ in 0..50 {
                ejection = ejection.failed(now, FIRST, LONGEST);
            }
            let span = Duration::from_secs(seconds);
            assert!(ejection.is_out(now + span.mul_f64(0.999)));
            now += span;
            assert!(!ejection.is_out(now), "after {seconds} s");
        }
        ejection = Ejection::default();
        ejection = ejection.failed(now, FIRST, LONGEST);
        assert!(!ejection.is_out(now + FIRST));
    }
}
