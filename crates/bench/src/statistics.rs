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
}
