//! Rounds: everybody is measured once in each, in random order, and compared within it.
//!
//! What else runs on the machine changes from second to second and would drown a difference of a
//! percent. Within one round it is about the same for all, so that each round gives a ratio of its
//! own, and the median of many is the figure. Rounds go on until that median is known well enough.

use std::hash::{BuildHasher as _, RandomState};

use crate::statistics::Sorted;

/// Never fewer.
const FEWEST: usize = 7;
/// The median is known well enough when it is known to this part of itself.
const PRECISION: f64 = 0.015;

/// What was measured, by round and subject.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds {
    measured: Vec<Vec<f64>>,
}

/// Many ratios in one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    /// Where the true median lies with 95 % confidence.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Rounds {
    /// Adds a round: a figure for each subject.
    pub(crate) fn push(&mut self, figures: Vec<f64>) {
        self.measured.push(figures);
    }

    pub(crate) fn count(&self) -> usize {
        self.measured.len()
    }

    /// The median of one subject alone.
    pub(crate) fn median(&self, subject: usize) -> f64 {
        Sorted::new(self.of(subject)).median()
    }

    /// How a subject compares to another.
    pub(crate) fn ratio(&self, subject: usize, other: usize) -> Ratio {
        let ratios = Sorted::new(self.of(subject).zip(self.of(other)).map(|(a, b)| a / b));
        let (low, high) = ratios.median_interval();
        Ratio { median: ratios.median(), low, high }
    }

    /// Whether further rounds would change little.
    pub(crate) fn is_enough(&self, subject: usize, other: usize, most: usize) -> bool {
        let ratio = self.ratio(subject, other);
        self.count() >= most
            || self.count() >= FEWEST && ratio.high - ratio.low < 2.0 * PRECISION * ratio.median
    }

    fn of(&self, subject: usize) -> impl Iterator<Item = f64> {
        self.measured.iter().filter_map(move |round| round.get(subject).copied())
    }
}

/// The subjects in random order.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let random = RandomState::new();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|subject| random.hash_one(subject));
    order
}
