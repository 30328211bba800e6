//! A door for benchmarks, and no part of what this crate offers: what a proxy does within a request
//! and nobody can see from outside.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use tidegate_types::Outcome;

use crate::meter::{Ended, Gauge, RevisionMeter};

/// Counts so many requests as a worker does, the looks at the clock included, and says how long that
/// took.
#[must_use]
pub fn count(requests: u32) -> Duration {
    let (meter, gauge) = (RevisionMeter::new(2), Gauge::new(2));
    let began = Instant::now();
    for number in 0..requests {
        let started = Instant::now();
        meter.begin(1);
        gauge.add(1);
        let first_byte = started.elapsed();
        // As far from each other as the times of real requests.
        let waited = Duration::from_micros(u64::from(number) * 37 % 5_000);
        let ended = Ended {
            outcome: Outcome::Success,
            elapsed: started.elapsed() + waited,
            first_byte: Some(first_byte + waited / 2),
            received: 0,
            sent: 1_024,
        };
        meter.record(1, black_box(&ended));
        meter.end(1);
        gauge.subtract(1);
    }
    began.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_takes_some_time_and_more_for_more() {
        let (few, many) = (count(10), count(100_000));
        assert!(few > Duration::ZERO && many > few);
    }
}
