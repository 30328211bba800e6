//! Which samples tell of a stretch of time, and how much of it.

use tidegate_types::{Counters, Duration, Sample, Timestamp};

/// What was counted in the trailing window.
#[derive(Debug)]
pub(crate) struct Window {
    /// Requests of all samples that count.
    pub(crate) requests: u64,
    /// Of these, failed.
    pub(crate) errors: u64,
    /// How much of the window they cover.
    pub(crate) covered: Duration,
}

impl Window {
    /// Collects the window of this length that ends `now`.
    ///
    /// Samples are never cut: nobody knows when in a sample its requests came. Looks do not fall on
    /// the window's start, so that the first sample may begin before it. It counts as long as no
    /// more than a quarter of the window's length sticks out: a sample that spans a long time
    /// without looks would bring mostly what is long past, and is taken as a gap.
    ///
    /// `also` is given what each sample that counts has counted: whoever wants the latencies merges
    /// them there, and nobody else pays for it.
    pub(crate) fn collect(
        samples: &[Sample],
        length: Duration,
        now: Timestamp,
        mut also: impl FnMut(&Counters),
    ) -> Self {
        let start =
            Timestamp::from_millis(now.as_millis().saturating_sub_unsigned(length.as_millis()));
        let (mut requests, mut errors): (u64, u64) = (0, 0);
        let mut covered: u64 = 0;
        let mut covered_until = start;
        for sample in samples {
            let inside = sample.to.min(now).since(sample.from.max(start));
            if inside.is_zero() {
                continue;
            }
            let whole = sample.to.since(sample.from).as_millis();
            if whole.saturating_sub(inside.as_millis()) > length.as_millis() / 4 {
                continue;
            }
            requests = requests.saturating_add(sample.counters.requests());
            errors = errors.saturating_add(sample.counters.errors());
            also(&sample.counters);
            // Samples that overlap, which nobody should give, do not cover the same time twice.
            let end = sample.to.min(now);
            let fresh = end.since(sample.from.max(covered_until));
            covered = covered.saturating_add(fresh.as_millis());
            covered_until = covered_until.max(end);
        }
        Self { requests, errors, covered: Duration::from_millis(covered) }
    }

    /// Whether the samples cover at least nine tenths of `length`.
    pub(crate) fn covers(&self, length: Duration) -> bool {
        u128::from(self.covered.as_millis()) * 10 >= u128::from(length.as_millis()) * 9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(from: i64, to: i64, requests: u64) -> Sample {
        Sample {
            from: Timestamp::from_millis(from),
            to: Timestamp::from_millis(to),
            counters: Counters::answered(requests, 0),
        }
    }

    /// Over a window of 4 s that ends at 10 s: requests and milliseconds covered.
    fn collect(samples: &[Sample]) -> (u64, u64) {
        let length = Duration::from_secs(4);
        let window = Window::collect(samples, length, Timestamp::from_millis(10_000), |_| {});
        (window.requests, window.covered.as_millis())
    }

    #[test]
    fn takes_whole_samples() {
        assert_eq!(collect(&[]), (0, 0));
        assert_eq!(collect(&[sample(6_000, 10_000, 7)]), (7, 4_000));
        assert_eq!(
            collect(&[sample(5_000, 6_000, 7), sample(10_000, 11_000, 7)]),
            (0, 0),
            "beside the window"
        );
        assert_eq!(
            collect(&[sample(5_500, 6_500, 7), sample(6_500, 7_500, 1)]),
            (8, 1_500),
            "one that begins before the window"
        );
        assert_eq!(
            collect(&[sample(5_000, 9_000, 7)]),
            (7, 3_000),
            "a quarter of the window sticks out"
        );
        assert_eq!(collect(&[sample(4_999, 9_000, 7)]), (0, 0), "more than a quarter sticks out");
        assert_eq!(
            collect(&[sample(6_000, 8_000, 1), sample(7_000, 9_000, 1)]),
            (2, 3_000),
            "overlapping"
        );
        assert_eq!(collect(&[sample(9_000, 7_000, 1)]), (0, 0), "the wrong way round");
    }

    #[test]
    fn coverage_is_exact_at_nine_tenths() {
        let length = Duration::from_secs(10);
        for (covered, expected) in [(9_000, true), (8_999, false), (10_000, true), (0, false)] {
            let window = Window { requests: 0, errors: 0, covered: Duration::from_millis(covered) };
            assert_eq!(window.covers(length), expected, "{covered}");
        }
    }
}
