//! People who send requests, and what became of them.

use std::collections::BTreeMap;

use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Binomial, Distribution as _};
use tidegate_types::{Counters, Histogram, Outcome, RevisionId};

/// What became of requests, as their senders saw it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent.
    pub requests: u64,
    /// Answered with an error by a revision.
    pub errors: u64,
    /// Not answered by any: no route, or nobody ready.
    pub lost: u64,
}

impl Tally {
    /// Adds all of `other`.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.lost += other.lost;
    }
}

/// Requests come at a steady rate; who gets each, whether it fails and how long it takes is drawn.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    /// Requests per second to each component that takes some.
    pub(crate) rate: f64,
    /// Whether latencies are drawn: only where a guard asks for them.
    pub(crate) latencies: bool,
    carry: f64,
    random: Xoshiro256PlusPlus,
}

/// One that answers a part of the requests.
pub(crate) struct Answering<'a> {
    pub(crate) revision: &'a RevisionId,
    pub(crate) weight: f64,
    pub(crate) error_rate: f64,
    pub(crate) median_latency: f64,
}

/// The latencies of a log-normal distribution with σ 0.5, as multiples of the median: the middles of
/// slices, with the probability of each. Fine where guards look, so that a quantile of few requests
/// strays as far as a real one.
const LATENCIES: [(f64, f64); 23] = [
    (0.375, 0.050),
    (0.527, 0.100),
    (0.685, 0.150),
    (0.853, 0.150),
    (1.000, 0.100),
    (1.173, 0.150),
    (1.401, 0.100),
    (1.611, 0.060),
    (1.799, 0.040),
    (1.955, 0.020),
    (2.054, 0.010),
    (2.132, 0.010),
    (2.224, 0.010),
    (2.334, 0.010),
    (2.474, 0.010),
    (2.664, 0.010),
    (2.870, 0.005),
    (3.067, 0.005),
    (3.298, 0.003),
    (3.566, 0.003),
    (3.951, 0.002),
    (4.410, 0.001),
    (5.182, 0.001),
];

/// How many times longer than the median the 95th percentile is.
pub(crate) const P95_OF_MEDIAN: f64 = 2.276;

impl Users {
    pub(crate) fn new(rate: f64, latencies: bool, random: Xoshiro256PlusPlus) -> Self {
        Self { rate, latencies, carry: 0.0, random }
    }

    /// How many requests come in so many milliseconds.
    pub(crate) fn arrive(&mut self, millis: u64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let due = self.rate * millis as f64 / 1_000.0 + self.carry;
        let whole = due.floor();
        self.carry = due - whole;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        let whole = whole.max(0.0) as u64;
        whole
    }

    /// Spreads `requests` over who answers, counts them as the proxy does, and says what the
    /// senders saw.
    pub(crate) fn send(
        &mut self,
        requests: u64,
        to: &[Answering<'_>],
        counters: &mut BTreeMap<RevisionId, Counters>,
        tallies: &mut BTreeMap<RevisionId, Tally>,
    ) {
        let mut left = requests;
        let mut weight_left: f64 = to.iter().map(|answering| answering.weight).sum();
        for answering in to {
            let share = if weight_left > 0.0 { answering.weight / weight_left } else { 0.0 };
            let part = self.draw(left, share);
            left -= part;
            weight_left -= answering.weight;
            if part == 0 {
                continue;
            }
            let errors = self.draw(part, answering.error_rate);
            let counted = counters.entry(answering.revision.clone()).or_default();
            counted.ended.add(Outcome::Success, part - errors);
            counted.ended.add(Outcome::ServerError, errors);
            if self.latencies {
                self.take_time(part, answering.median_latency, &mut counted.latency);
            }
            let tally = tallies.entry(answering.revision.clone()).or_default();
            tally.add(Tally { requests: part, errors, lost: 0 });
        }
    }

    fn take_time(&mut self, requests: u64, median: f64, latency: &mut Histogram) {
        let (mut left, mut probability_left) = (requests, 1.0);
        for (multiple, probability) in LATENCIES {
            let part = self.draw(left, probability / probability_left);
            left -= part;
            probability_left -= probability;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
            let micros = (median * multiple).max(0.0) as u64;
            latency.add(Histogram::bucket(micros), part);
            if left == 0 || probability_left <= 0.0 {
                break;
            }
        }
    }

    /// How many of `of` happen, each with this probability.
    fn draw(&mut self, of: u64, probability: f64) -> u64 {
        if of == 0 || probability.is_nan() || probability <= 0.0 {
            return 0;
        }
        if probability >= 1.0 {
            return of;
        }
        Binomial::new(of, probability).map_or(0, |binomial| binomial.sample(&mut self.random))
    }
}
