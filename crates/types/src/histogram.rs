//! A log-linear latency histogram.

use serde::{Deserialize, Serialize};

/// Counts of latencies in microseconds, in buckets of at most 1.6 % width: what is read from it is
/// wrong by less than 0.8 %.
///
/// Values below 128 have a bucket each; above, every power of two is cut into 64 equal buckets. All
/// histograms have the same buckets, so that any two can be added, and only those that hold
/// something are kept and sent: a list of numbers, for each bucket its distance from the one before
/// and its count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct Histogram {
    /// In the order of buckets, none of them empty.
    counts: Vec<(u16, u64)>,
}

/// A list of numbers that is no histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a histogram: pairs of a distance from the bucket before and a count are expected")]
pub struct InvalidHistogram;

/// Latencies of 2^36 µs (19 hours) and more share the last bucket.
const LARGEST: u64 = (1 << 36) - 1;

impl Histogram {
    /// Into how many buckets a power of two is cut.
    pub const BUCKETS_IN_OCTAVE: usize = 64;
    /// How many buckets there can be.
    pub const BUCKETS: usize = Self::bucket(LARGEST) as usize + 1;

    const IN_OCTAVE: u64 = Self::BUCKETS_IN_OCTAVE as u64;
    const LAST: u16 = Self::bucket(LARGEST);

    /// The bucket of a latency in microseconds.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most 31 * 64")]
    pub const fn bucket(micros: u64) -> u16 {
        let micros = if micros > LARGEST { LARGEST } else { micros };
        if micros < Self::IN_OCTAVE {
            return micros as u16;
        }
        let octave = micros.ilog2() - Self::IN_OCTAVE.ilog2();
        (octave as u64 * Self::IN_OCTAVE + (micros >> octave)) as u16
    }

    /// The smallest and the largest latency in microseconds that fall into `bucket`; a number that
    /// is no bucket's counts as the last one.
    const fn bounds(bucket: u16) -> (u64, u64) {
        let bucket = if bucket > Self::LAST { Self::LAST } else { bucket } as u64;
        if bucket < Self::IN_OCTAVE {
            return (bucket, bucket);
        }
        let octave = bucket / Self::IN_OCTAVE - 1;
        let within = Self::IN_OCTAVE + bucket % Self::IN_OCTAVE;
        (within << octave, ((within + 1) << octave) - 1)
    }

    /// The largest latency in microseconds that falls into `bucket`. A threshold of this value
    /// divides latencies exactly: see [`Self::above`].
    #[must_use]
    pub const fn upper_bound(bucket: u16) -> u64 {
        Self::bounds(bucket).1
    }

    /// The latency in microseconds that stands for all of `bucket`: its middle.
    #[must_use]
    pub const fn middle(bucket: u16) -> u64 {
        let (lower, upper) = Self::bounds(bucket);
        lower + (upper - lower) / 2
    }

    /// Counts one latency.
    pub fn record(&mut self, micros: u64) {
        self.add(Self::bucket(micros), 1);
    }

    /// Adds `count` latencies of `bucket`.
    pub fn add(&mut self, bucket: u16, count: u64) {
        if count == 0 {
            return;
        }
        let bucket = bucket.min(Self::LAST);
        if self.counts.last().is_none_or(|(last, _)| *last < bucket) {
            self.counts.push((bucket, count));
            return;
        }
        match self.counts.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(place) => {
                let counted = &mut self.counts[place].1;
                *counted = counted.saturating_add(count);
            }
            Err(place) => self.counts.insert(place, (bucket, count)),
        }
    }

    /// Adds all latencies of `other`.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
            return;
        }
        for (bucket, count) in &other.counts {
            self.add(*bucket, *count);
        }
    }

    /// What was added since `earlier`, a former reading of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut before = earlier.counts.iter().peekable();
        let mut difference = Self::default();
        for (bucket, count) in &self.counts {
            while before.next_if(|(passed, _)| passed < bucket).is_some() {}
            let known = before.next_if(|(same, _)| same == bucket).map_or(0, |(_, count)| *count);
            difference.add(*bucket, count.saturating_sub(known));
        }
        difference
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The buckets that hold something with their counts, in order.
    #[must_use]
    pub fn counts(&self) -> impl ExactSizeIterator<Item = (u16, u64)> {
        self.counts.iter().copied()
    }

    /// All latencies together in microseconds, wrong by less than 0.8 %.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.counts.iter().fold(0, |sum, (bucket, count)| {
            sum.saturating_add(Self::middle(*bucket).saturating_mul(*count))
        })
    }

    /// How many latencies were surely above `micros`, those of its own bucket not being among them.
    /// Exact where `micros` is an [upper bound](Self::upper_bound).
    ///
    /// This is how slow requests are counted: whoever judges freezes a threshold, at whatever time
    /// and as many as it likes, and the same buckets answer each of them.
    #[must_use]
    pub fn above(&self, micros: u64) -> u64 {
        let own = Self::bucket(micros);
        let beyond = self.counts.partition_point(|(bucket, _)| *bucket <= own);
        self.counts[beyond..].iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The latency in microseconds that `fraction` (0 to 1) of the requests did not exceed, wrong
    /// by less than 0.8 %; none without requests.
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
            (seen >= rank).then(|| Self::middle(*bucket))
        })
    }
}

impl From<Histogram> for Vec<u64> {
    fn from(histogram: Histogram) -> Self {
        let mut before = 0;
        let mut numbers = Self::with_capacity(histogram.counts.len() * 2);
        for (bucket, count) in histogram.counts {
            numbers.extend([u64::from(bucket - before), count]);
            before = bucket;
        }
        numbers
    }
}

impl TryFrom<Vec<u64>> for Histogram {
    type Error = InvalidHistogram;

    fn try_from(numbers: Vec<u64>) -> Result<Self, InvalidHistogram> {
        let mut histogram = Self::default();
        let mut before = 0_u16;
        let (pairs, rest) = numbers.as_chunks::<2>();
        for [distance, count] in pairs {
            let distance = u16::try_from(*distance).map_err(|_| InvalidHistogram)?;
            let bucket = before.checked_add(distance).ok_or(InvalidHistogram)?;
            let follows = distance > 0 || histogram.counts.is_empty();
            if !follows || bucket > Self::LAST || *count == 0 {
                return Err(InvalidHistogram);
            }
            histogram.counts.push((bucket, *count));
            before = bucket;
        }
        if rest.is_empty() { Ok(histogram) } else { Err(InvalidHistogram) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `found` may differ from `exact` by.
    fn is_near(found: u64, exact: u64) -> bool {
        found.abs_diff(exact) * 100 <= exact
    }

    /// Latencies of all lengths, as many short ones as long ones.
    fn any_latency() -> impl Strategy<Value = u64> {
        (0_u32..36, any::<u64>()).prop_map(|(octave, number)| number & ((2 << octave) - 1))
    }

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for value in values {
            histogram.record(*value);
        }
        histogram
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_within_one_percent(micros in any_latency()) {
            let bucket = Histogram::bucket(micros);
            let (lower, upper) = Histogram::bounds(bucket);
            prop_assert!(lower <= micros && micros <= upper, "{micros} in {lower} to {upper}");
            prop_assert!(is_near(Histogram::middle(bucket), micros), "{micros}");
        }

        #[test]
        fn a_quantile_is_within_one_percent_of_the_sorted_value(
            values in proptest::collection::vec(any_latency(), 1..200),
            fraction in 0.01_f64..1.0,
        ) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "small")]
            let rank = ((sorted.len() as f64 * fraction).ceil() as usize).max(1);
            let exact = sorted[rank - 1];
            let found = of(&values).quantile(fraction).unwrap();
            prop_assert!(is_near(found, exact), "{found} for {exact}");
        }

        #[test]
        fn the_sum_is_within_one_percent(
            values in proptest::collection::vec(any_latency(), 0..200),
        ) {
            prop_assert!(is_near(of(&values).sum(), values.iter().sum()));
        }

        #[test]
        fn what_is_above_a_bound_is_counted_exactly(
            values in proptest::collection::vec(any_latency(), 0..200),
            threshold in any_latency(),
        ) {
            let threshold = Histogram::upper_bound(Histogram::bucket(threshold));
            let above = values.iter().filter(|value| **value > threshold).count();
            prop_assert_eq!(of(&values).above(threshold), above as u64);
        }

        #[test]
        fn two_merged_are_one_of_all_and_their_difference_is_the_other(
            ours in proptest::collection::vec(any_latency(), 0..100),
            theirs in proptest::collection::vec(any_latency(), 0..100),
        ) {
            let mut merged = of(&ours);
            merged.merge(&of(&theirs));
            let mut the_other_way_round = of(&theirs);
            the_other_way_round.merge(&of(&ours));
            prop_assert_eq!(&merged, &of(&[ours.clone(), theirs.clone()].concat()));
            prop_assert_eq!(&merged, &the_other_way_round);
            prop_assert_eq!(merged.since(&of(&ours)), of(&theirs));
        }

        #[test]
        fn it_is_written_and_read_as_it_is(
            values in proptest::collection::vec(any_latency(), 0..100),
        ) {
            let histogram = of(&values);
            let text = serde_json::to_string(&histogram).unwrap();
            prop_assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
        }

        #[test]
        fn whatever_is_read_is_written_the_same(
            numbers in proptest::collection::vec(0_u64..70, 0..9),
        ) {
            if let Ok(histogram) = Histogram::try_from(numbers.clone()) {
                prop_assert_eq!(Vec::from(histogram), numbers);
            }
        }
    }

    #[test]
    fn every_bucket_begins_where_the_one_before_ends() {
        assert_eq!(Histogram::BUCKETS, 31 * Histogram::BUCKETS_IN_OCTAVE);
        let mut next = 0;
        for bucket in 0..=Histogram::LAST {
            let (lower, upper) = Histogram::bounds(bucket);
            assert_eq!(lower, next, "bucket {bucket}");
            assert_eq!((Histogram::bucket(lower), Histogram::bucket(upper)), (bucket, bucket));
            next = upper + 1;
        }
        assert_eq!(next, LARGEST + 1);
    }

    #[test]
    fn no_numbers_make_it_panic() {
        let mut histogram = Histogram::default();
        histogram.add(u16::MAX, u64::MAX);
        histogram.add(3, u64::MAX);
        histogram.merge(&histogram.clone());
        assert_eq!(histogram.count(), u64::MAX);
        assert_eq!(histogram.quantile(1.0), Some(3));
        assert_eq!(histogram.sum(), u64::MAX);
        assert_eq!(histogram.above(u64::MAX), 0);
        assert_eq!(Histogram::upper_bound(u16::MAX), LARGEST);
        assert_eq!(Histogram::bucket(u64::MAX), Histogram::LAST);
    }

    #[test]
    fn it_is_small_where_it_is_sent() {
        let text = serde_json::to_string(&of(&[1_000, 1_000, 1_010, 1_100])).unwrap();
        assert_eq!(text, "[317,2,1,1,6,1]");
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for text in ["[1]", "[1,2,0,1]", "[1,0]", "[1984,1]", "[65535,1,1,1]", "[1,-1]", "{}"] {
            assert!(serde_json::from_str::<Histogram>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<Histogram>("[0,2,1983,1]").unwrap().count(), 3);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
