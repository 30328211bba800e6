//! What is counted for a revision.

use serde::{Deserialize, Serialize};

use crate::{Histogram, Outcome, Outcomes};

/// What the data plane counts for one revision. Cumulative when read from it, a difference in a
/// [`Sample`](crate::Sample) and in a [`Bucket`](crate::Bucket).
///
/// A request is counted at once and whole when its answer has ended. Requests and errors are sums
/// of the outcomes and not counted beside them: no two numbers can contradict each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// How requests ended.
    pub ended: Outcomes,
    /// From a request's head to the end of its answer, in microseconds, for every request.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub latency: Histogram,
    /// From a request's head to the head of its answer, in microseconds, where there was one.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub first_byte: Histogram,
    /// Bytes of the bodies of requests.
    #[serde(skip_serializing_if = "is_zero")]
    pub received: u64,
    /// Bytes of the bodies of answers.
    #[serde(skip_serializing_if = "is_zero")]
    pub sent: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Counters {
    /// So many requests were answered, of these so many with a status of 500 and more.
    #[must_use]
    pub fn answered(requests: u64, errors: u64) -> Self {
        let mut counters = Self::default();
        counters.ended.add(Outcome::Success, requests.saturating_sub(errors));
        counters.ended.add(Outcome::ServerError, errors);
        counters
    }

    /// Requests that ended, however they ended.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.ended.total()
    }

    /// Of these, those that count against the revision: see [`Outcome::is_error`].
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.ended.errors()
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.ended.merge(&other.ended);
        self.latency.merge(&other.latency);
        self.first_byte.merge(&other.first_byte);
        self.received = self.received.saturating_add(other.received);
        self.sent = self.sent.saturating_add(other.sent);
    }

    /// What was added since `earlier`, a former reading. A counter that fell was set back to zero
    /// by a restart of the proxy, and all of it is new.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let Some(ended) = self.ended.since(&earlier.ended) else {
            return self.clone();
        };
        Self {
            ended,
            latency: self.latency.since(&earlier.latency),
            first_byte: self.first_byte.since(&earlier.first_byte),
            received: self.received.saturating_sub(earlier.received),
            sent: self.sent.saturating_sub(earlier.sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_proxy_does_not_make_counts_negative() {
        let before = Counters::answered(100, 3);
        let after = Counters::answered(5, 1);
        assert_eq!(after.since(&before), after);
        let more_in_all = Counters::answered(200, 2);
        assert_eq!(more_in_all.since(&before), more_in_all);
    }

    #[test]
    fn what_was_merged_is_what_came_since() {
        let mut before = Counters { received: 7, sent: 3, ..Counters::answered(10, 1) };
        before.latency.record(1_000);
        before.first_byte.record(900);
        let mut more = Counters { received: 1, sent: 2, ..Counters::answered(4, 4) };
        more.latency.record(5_000);
        more.first_byte.record(4_000);
        let mut after = before.clone();
        after.merge(&more);
        assert_eq!(after.since(&before), more);
        assert_eq!((after.requests(), after.errors()), (14, 5));
    }
}
