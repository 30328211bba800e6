//! A log-linear latency histogram.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts of latencies in microseconds, in buckets of at most 6.25 % width.
///
/// Values below 16 have a bucket each; above, every power of two is cut into 16 equal buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    counts: BTreeMap<u16, u64>,
}

const SUB_BUCKETS: u64 = 16;
/// Latencies of 2^36 µs (19 hours) and more share the last bucket.
const LARGEST: u64 = (1 << 36) - 1;

impl Histogram {
    /// How many buckets there can be.
    pub const BUCKETS: usize = Self::bucket(LARGEST) as usize + 1;

    /// The bucket of a latency in microseconds.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most 16 + 32 * 16")]
    pub const fn bucket(micros: u64) -> u16 {
        let micros = if micros > LARGEST { LARGEST } else { micros };
        if micros < SUB_BUCKETS {
            return micros as u16;
        }
        let octave = micros.ilog2() - 4;
        let within = (micros >> octave) - SUB_BUCKETS;
        (SUB_BUCKETS + octave as u64 * SUB_BUCKETS + within) as u16
    }

    /// The largest latency in microseconds that falls into `bucket`; a number that is no bucket's
    /// counts as the last one.
    #[must_use]
    pub const fn upper_bound(bucket: u16) -> u64 {
        let last = Self::BUCKETS as u64 - 1;
        let bucket = if bucket as u64 > last { last } else { bucket as u64 };
        if bucket < SUB_BUCKETS {
            return bucket;
        }
        let octave = (bucket - SUB_BUCKETS) / SUB_BUCKETS;
        let within = (bucket - SUB_BUCKETS) % SUB_BUCKETS;
        ((SUB_BUCKETS + within + 1) << octave) - 1
    }

    /// Counts one latency.
    pub fn record(&mut self, micros: u64) {
        self.add(Self::bucket(micros), 1);
    }

    /// Adds `count` latencies of `bucket`.
    pub fn add(&mut self, bucket: u16, count: u64) {
        if count > 0 {
            let counted = self.counts.entry(bucket).or_default();
            *counted = counted.saturating_add(count);
        }
    }

    /// Adds all latencies of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            self.add(*bucket, *count);
        }
    }

    /// What was added since `earlier`, a former reading of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = Self::default();
        for (bucket, count) in &self.counts {
            let before = earlier.counts.get(bucket).copied().unwrap_or(0);
            difference.add(*bucket, count.saturating_sub(before));
        }
        difference
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.values().copied().fold(0, u64::saturating_add)
    }

    /// The latency in microseconds that `fraction` (0 to 1) of the requests did not exceed, as the
    /// upper bound of its bucket; none without requests.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts stay far below 2^52"
    )]
    pub fn quantile(&self, fraction: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((count as f64 * fraction).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        self.counts.iter().find_map(|(bucket, in_bucket)| {
            seen = seen.saturating_add(*in_bucket);
            (seen >= rank).then(|| Self::upper_bound(*bucket))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_within_one_sixteenth(micros in 0_u64..=LARGEST) {
            let upper = Histogram::upper_bound(Histogram::bucket(micros));
            prop_assert!(upper >= micros);
            prop_assert!(upper - micros <= micros / 16, "{micros} in a bucket up to {upper}");
        }

        #[test]
        fn buckets_grow_with_values(a in 0_u64..=LARGEST, b in 0_u64..=LARGEST) {
            prop_assert_eq!(a < b || Histogram::bucket(a) >= Histogram::bucket(b), true);
        }

        #[test]
        fn a_quantile_is_near_the_sorted_value(
            values in proptest::collection::vec(0_u64..10_000_000, 1..200),
            fraction in 0.01_f64..1.0,
        ) {
            let mut histogram = Histogram::default();
            let mut sorted = values.clone();
            sorted.sort_unstable();
            for value in values {
                histogram.record(value);
            }
            #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "small")]
            let rank = ((sorted.len() as f64 * fraction).ceil() as usize).max(1);
            let exact = sorted[rank - 1];
            let found = histogram.quantile(fraction).unwrap();
            prop_assert!(found >= exact && found - exact <= exact / 16);
        }
    }

    #[test]
    fn no_numbers_make_it_panic() {
        let mut histogram = Histogram::default();
        histogram.add(u16::MAX, u64::MAX);
        histogram.add(3, u64::MAX);
        histogram.merge(&histogram.clone());
        assert_eq!(histogram.count(), u64::MAX);
        assert_eq!(histogram.quantile(1.0), Some(3));
        assert_eq!(Histogram::upper_bound(u16::MAX), LARGEST);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn a_difference_takes_away_what_was_there() {
        let mut earlier = Histogram::default();
        earlier.record(100);
        let mut later = earlier.clone();
        later.record(100);
        later.record(5_000);
        let difference = later.since(&earlier);
        assert_eq!(difference.count(), 2);
    }
}
