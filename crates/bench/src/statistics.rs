//! What many measurements say together.

use std::time::Duration;

/// Measurements of one thing, all in the same unit.
#[derive(Debug, Clone)]
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    /// Those in milliseconds.
    pub(crate) fn millis(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::new(times.into_iter().map(|time| time.as_secs_f64() * 1_000.0))
    }

    /// Puts them in order.
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    /// What half of them do not exceed.
    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// What 95 % of them do not exceed: of fewer than 20 the largest.
    pub(crate) fn p95(&self) -> f64 {
        self.percentile(95)
    }

    /// What 99 % of them do not exceed.
    pub(crate) fn p99(&self) -> f64 {
        self.percentile(99)
    }

    /// Between which two of them the median of all that could be measured lies, with 95 %
    /// confidence: whatever their distribution, by their ranks alone.
    pub(crate) fn median_interval(&self) -> (f64, f64) {
        let count = self.0.len();
        // The number of values below the median is binomial with a half.
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of measurements"
        )]
        let below = ((count as f64 - 1.96 * (count as f64).sqrt()) / 2.0).floor().max(0.0) as usize;
        let at = |index: usize| self.0.get(index).copied().unwrap_or(f64::NAN);
        (at(below), at(count.saturating_sub(below + 1)))
    }

    /// By the nearest rank: a value that was measured, never one between two.
    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted = Sorted::new((1..=15).rev().map(f64::from));
        assert_eq!(sorted.0[0].to_bits(), 1.0_f64.to_bits());
        assert!((sorted.median() - 8.0).abs() < f64::EPSILON);
        assert!((sorted.p95() - 15.0).abs() < f64::EPSILON);
        assert!((Sorted::new((1..=100).map(f64::from)).p95() - 95.0).abs() < f64::EPSILON);
        assert!(Sorted::new([]).median().is_nan());
    }

    #[test]
    fn the_median_is_known_better_with_more_values() {
        let within = |count: u32| Sorted::new((1..=count).map(f64::from)).median_interval();
        assert_eq!(within(5), (1.0, 5.0));
        assert_eq!(within(25), (8.0, 18.0));
        assert_eq!(within(100), (41.0, 60.0));
        assert!(within(0).0.is_nan());
    }
}
