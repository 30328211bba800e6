//! What was counted, and what a guard read from it.

use serde::{Deserialize, Serialize};

use crate::{Histogram, Timestamp};

/// What the proxy counts for one revision. Cumulative when read from the proxy, a difference in a
/// [`Sample`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that ended, however they ended.
    pub requests: u64,
    /// Of these, failed by the revision: status 500 to 599, or no answer at all.
    pub errors: u64,
    /// Time from the request's head to the end of the answer, in microseconds.
    pub latency: Histogram,
}

impl Counters {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.latency.merge(&other.latency);
    }

    /// What was added since `earlier`, a former reading. A counter that fell was set back to zero
    /// by a restart of the proxy, and all of it is new.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        if self.requests < earlier.requests || self.errors < earlier.errors {
            return self.clone();
        }
        Self {
            requests: self.requests - earlier.requests,
            errors: self.errors - earlier.errors,
            latency: self.latency.since(&earlier.latency),
        }
    }
}

/// What one revision did between two looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The earlier look.
    pub from: Timestamp,
    /// The later look.
    pub to: Timestamp,
    /// What was counted between them.
    pub counters: Counters,
}

/// What a guard says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Enough evidence, and the limit holds.
    Pass,
    /// Enough evidence, and the limit is breached.
    Fail,
    /// Not enough evidence to say either. Never a pass.
    InsufficientEvidence,
}

/// A guard's verdict with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardReading {
    /// The guard as the user wrote it.
    pub guard: String,
    /// What it says.
    pub verdict: Verdict,
    /// The numbers behind it, as a sentence: `8.1 % of 310 requests failed in 5s; the limit is 5 %`.
    pub evidence: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_proxy_does_not_make_counts_negative() {
        let before = Counters { requests: 100, errors: 3, latency: Histogram::default() };
        let after = Counters { requests: 5, errors: 1, latency: Histogram::default() };
        assert_eq!(after.since(&before), after);
    }
}
