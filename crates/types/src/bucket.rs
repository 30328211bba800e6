//! What was counted in a step of time, kept by the data plane until whoever judges has read it.
//!
//! Steps are told by a clock that nobody can set. A run of the data plane numbers its buckets from
//! 1 without a gap, and all revisions are counted in the same ones, so that two of them can be
//! compared over the very same time. A reader says which bucket it has read last and is given those
//! that came after it: it gets each exactly once, and sees by the number what was forgotten before
//! it came. Another [`Run`] begins at 1 again and is no fall of any counter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Counters, Duration, RevisionId};

/// Names one run of the data plane, from its start to its end or that of the last successor to whom
/// it handed over what it had counted.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Run(pub u64);

/// The bucket that a reader has read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Of this run.
    pub run: Run,
    /// Its number; 0 before the first.
    pub number: u64,
}

/// The buckets of a scope that a reader has not read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// The run that counted them. Another one than the reader's begins at the first bucket.
    pub run: Run,
    /// How long the run has lasted: a bucket ended `now - to` ago.
    pub now: Duration,
    /// In order and without a gap. The first is not the one after the reader's when that one was
    /// forgotten.
    pub closed: Vec<Bucket>,
}

impl Buckets {
    /// Where whoever has read all of these goes on.
    #[must_use]
    pub fn mark(&self, former: Option<Mark>) -> Mark {
        let former = former.filter(|former| former.run == self.run);
        let before = former.map_or(0, |former| former.number);
        let number = self.closed.last().map_or(before, |last| last.number);
        Mark { run: self.run, number }
    }
}

/// What was counted in one scope in one step of time: ten seconds, more when the machine stood
/// still, less when a proxy took the place of another in the middle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// One more than that of the bucket before.
    pub number: u64,
    /// When it began, from the beginning of the run.
    pub from: Duration,
    /// When it ended; the next begins there.
    pub to: Duration,
    /// By revision, without those that nobody asked.
    pub revisions: BTreeMap<RevisionId, Counted>,
    /// Requests that no revision answered.
    #[serde(default)]
    pub unanswered: Unanswered,
}

/// What was counted for one revision in one step of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The requests that ended in it.
    pub counters: Counters,
    /// How many requests were in flight at its end.
    #[serde(default)]
    pub in_flight: u64,
    /// How many requests waited at its end for an instance to have room for them.
    #[serde(default)]
    pub queued: u64,
}

/// Requests that no revision answered, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unanswered {
    /// No route takes them.
    pub no_route: u64,
    /// They ask for a revision that is not routed to.
    pub no_such_revision: u64,
    /// Nobody is there to answer.
    pub nobody_ready: u64,
    /// The environment had no room for them.
    pub overloaded: u64,
    /// They came during maintenance.
    pub maintenance: u64,
    /// They cannot be trusted.
    pub malformed: u64,
}

impl Unanswered {
    /// Each reason with its number.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("no_route", self.no_route),
            ("no_such_revision", self.no_such_revision),
            ("nobody_ready", self.nobody_ready),
            ("overloaded", self.overloaded),
            ("maintenance", self.maintenance),
            ("malformed", self.malformed),
        ]
    }

    /// All that were asked in earnest: without the malformed ones, and those of maintenance, which
    /// nobody was to answer.
    #[must_use]
    pub fn total(&self) -> u64 {
        let of_two = self.no_route.saturating_add(self.no_such_revision);
        of_two.saturating_add(self.nobody_ready).saturating_add(self.overloaded)
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        *self = self.with(other, u64::saturating_add);
    }

    /// What was added since `earlier`; what fell began anew.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, |now, before| now.checked_sub(before).unwrap_or(now))
    }

    fn with(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            no_route: join(self.no_route, other.no_route),
            no_such_revision: join(self.no_such_revision, other.no_such_revision),
            nobody_ready: join(self.nobody_ready, other.nobody_ready),
            overloaded: join(self.overloaded, other.overloaded),
            maintenance: join(self.maintenance, other.maintenance),
            malformed: join(self.malformed, other.malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_after_the_last_bucket_of_the_same_run() {
        let bucket = |number| Bucket { number, ..Bucket::default() };
        let buckets = |closed| Buckets { run: Run(7), closed, ..Buckets::default() };
        let mark = |run, number| Some(Mark { run: Run(run), number });
        assert_eq!(buckets(vec![bucket(3), bucket(4)]).mark(mark(7, 2)), mark(7, 4).unwrap());
        assert_eq!(buckets(vec![]).mark(mark(7, 2)), mark(7, 2).unwrap());
        assert_eq!(buckets(vec![]).mark(mark(6, 2)), mark(7, 0).unwrap());
        assert_eq!(buckets(vec![bucket(1)]).mark(None), mark(7, 1).unwrap());
    }

    #[test]
    fn unanswered_requests_add_up() {
        let mut all = Unanswered {
            no_route: 1,
            no_such_revision: 2,
            nobody_ready: 3,
            overloaded: 5,
            maintenance: 6,
            malformed: 4,
        };
        let before = all;
        all.merge(&before);
        assert_eq!((all.total(), all.malformed), (22, 8));
        assert_eq!(all.since(&before), before);
        assert_eq!(before.since(&all), before);
    }
}
