//! What a stretch of samples comes to, for status displays.

use serde::{Deserialize, Serialize};
use tidegate_types::{Counters, Quantile, Sample};

/// The figures of some samples together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Requests that ended.
    pub requests: u64,
    /// Of these, failed.
    pub errors: u64,
    /// Failed requests ÷ requests; none without requests.
    pub error_rate: Option<f64>,
    /// Median latency in microseconds; none without requests.
    pub p50: Option<u64>,
    /// 95 % of the requests were not slower, in microseconds.
    pub p95: Option<u64>,
    /// 99 % of the requests were not slower, in microseconds.
    pub p99: Option<u64>,
}

/// Sums up samples.
#[must_use]
pub fn summary(samples: &[Sample]) -> Summary {
    let mut all = Counters::default();
    for sample in samples {
        all.merge(&sample.counters);
    }
    let quantile = |quantile: Quantile| all.latency.quantile(quantile.fraction());
    Summary {
        requests: all.requests(),
        errors: all.errors(),
        error_rate: error_rate(all.requests(), all.errors()),
        p50: quantile(Quantile::P50),
        p95: quantile(Quantile::P95),
        p99: quantile(Quantile::P99),
    }
}

/// Failed requests ÷ requests, 0 to 1; none without requests.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^52, and a rate of more is as good"
)]
pub(crate) fn error_rate(requests: u64, errors: u64) -> Option<f64> {
    (requests > 0).then(|| errors.min(requests) as f64 / requests as f64)
}

#[cfg(test)]
mod tests {
    use tidegate_types::{Histogram, Timestamp};

    use super::*;

    #[test]
    fn nothing_comes_to_nothing() {
        assert_eq!(summary(&[]), Summary::default());
    }

    #[test]
    fn adds_up() {
        let sample = |requests, errors, micros| {
            let mut latency = Histogram::default();
            latency.add(Histogram::bucket(micros), requests);
            Sample {
                from: Timestamp::from_millis(0),
                to: Timestamp::from_millis(1),
                counters: Counters { latency, ..Counters::answered(requests, errors) },
            }
        };
        let summary = summary(&[sample(96, 2, 10), sample(4, 3, 15)]);
        assert_eq!(
            summary,
            Summary {
                requests: 100,
                errors: 5,
                error_rate: Some(0.05),
                p50: Some(10),
                p95: Some(10),
                p99: Some(15),
            }
        );
    }
}
