//! Conditions that roll back by themselves.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Duration;

/// A condition on the candidate that, when breached, rolls back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// As the user wrote it.
    pub text: String,
    /// As it is judged.
    pub condition: Condition,
}

/// What is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Failed requests ÷ requests over the trailing `window` is above `above` (0 to 1).
    ErrorRate {
        /// A fraction, 0 to 1.
        above: f64,
        /// Over this long.
        window: Duration,
        /// Below so many requests in the window nothing is judged.
        min_requests: u64,
    },
    /// The latency quantile over the trailing `window` is above `above`.
    Latency {
        /// Which quantile.
        quantile: Quantile,
        /// The limit.
        above: Duration,
        /// Over this long.
        window: Duration,
        /// Below so many requests in the window nothing is judged.
        min_requests: u64,
    },
    /// So many failed checks in a row of one instance that was ready before.
    HealthCheckFailures {
        /// The number.
        at_least: u32,
    },
    /// So many exits of the candidate's instances that nobody asked for, counted since its start.
    Restarts {
        /// The number.
        at_least: u32,
    },
}

impl Condition {
    /// The trailing window of a condition on traffic; none for one on instances.
    #[must_use]
    pub fn window(&self) -> Option<Duration> {
        match self {
            Self::ErrorRate { window, .. } | Self::Latency { window, .. } => Some(*window),
            Self::HealthCheckFailures { .. } | Self::Restarts { .. } => None,
        }
    }
}

/// A latency quantile that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Quantile {
    P50,
    P95,
    P99,
}

impl Quantile {
    /// As a fraction, 0 to 1.
    #[must_use]
    pub const fn fraction(self) -> f64 {
        match self {
            Self::P50 => 0.50,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
        }
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        })
    }
}

/// What the end of a bake does when a guard on traffic has not enough evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutEvidence {
    /// Wait for more requests, or for a person.
    #[default]
    Hold,
    /// Go on, and say so in the journal.
    Proceed,
    /// Go back.
    RollBack,
}
