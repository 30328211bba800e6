//! How each instance is: what its checks say and what became of requests there.
//!
//! All workers and the tasks that ask the instances share one [`Health`] for each instance. A worker
//! reads one number of it for each request, and no clock as long as that number is 0.

mod ejection;
mod standing;
pub(crate) mod watch;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

pub(crate) use ejection::{Cause, Spans, may_eject};
pub(crate) use standing::{Rank, Thresholds, View};

use crate::{gate::Occupancy, health::standing::Standing};

/// How an instance is.
#[derive(Debug)]
pub(crate) struct Health {
    /// The view, for workers.
    view: AtomicU64,
    standing: Mutex<Standing>,
    /// Requests in a row that it failed.
    failed: AtomicU32,
    /// Requests that were let in where their number is limited.
    pub(crate) occupancy: Arc<Occupancy>,
}

impl Health {
    /// That of an instance that came just now.
    pub(crate) fn new(is_checked: bool, now: u64) -> Self {
        let standing = Standing::new(is_checked, now);
        Self {
            view: AtomicU64::new(standing.at(now).encode()),
            standing: Mutex::new(standing),
            failed: AtomicU32::new(0),
            occupancy: Arc::default(),
        }
    }

    /// It came again.
    pub(crate) fn renew(&self, is_checked: bool, now: u64) {
        self.failed.store(0, Relaxed);
        self.change(now, |standing| *standing = Standing::new(is_checked, now));
    }

    /// What was last known.
    pub(crate) fn view(&self) -> View {
        View::decode(self.view.load(Relaxed))
    }

    /// Takes note that there is nothing to think about any more, unless something has happened
    /// since `seen` was seen.
    pub(crate) fn is_fit(&self, seen: View) {
        let _ = self.view.compare_exchange(seen.encode(), View::Fit.encode(), Relaxed, Relaxed);
    }

    /// Its check was answered, well or not.
    pub(crate) fn checked(&self, good: bool, thresholds: Thresholds, now: u64) -> (View, View) {
        self.change(now, |standing| standing.checked(good, thresholds, now))
    }

    /// It is left alone for a while.
    pub(crate) fn eject(&self, cause: Cause, spans: Spans, now: u64) {
        self.failed.store(0, Relaxed);
        self.change(now, |standing| standing.failed(cause, spans, now));
    }

    /// A connection was made.
    pub(crate) fn reached(&self, now: impl FnOnce() -> u64) {
        if matches!(self.view(), View::Unreachable { .. }) {
            let now = now();
            self.change(now, |standing| standing.reached(now));
        }
    }

    /// It answered as it should.
    pub(crate) fn answered(&self) {
        // Read first: the workers share this without a word as long as all is well.
        if self.failed.load(Relaxed) != 0 {
            self.failed.store(0, Relaxed);
        }
    }

    /// It failed a request. Says how many those are in a row; none while it is left alone, where
    /// more of the same says nothing new.
    pub(crate) fn failed(&self, now: u64) -> u32 {
        match self.view().by(now, 0) {
            View::Ejected { .. } | View::Unreachable { .. } => 0,
            _ => self.failed.fetch_add(1, Relaxed).saturating_add(1),
        }
    }

    fn change(&self, now: u64, change: impl FnOnce(&mut Standing)) -> (View, View) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = standing.at(now);
        change(&mut standing);
        let after = standing.at(now);
        // A view that changes nothing would make workers look at a clock for nothing.
        if before != after || self.view() != View::Fit {
            self.view.store(after.encode(), Relaxed);
        }
        (before, after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: Spans = Spans { first: 1_000, longest: 10_000 };
    const ONE: Thresholds = Thresholds { failures: 1, successes: 1 };

    #[test]
    fn a_warm_instance_stays_warm_until_something_happens() {
        let health = Health::new(true, 1);
        health.checked(true, ONE, 2);
        assert_eq!(health.view(), View::Warming { since: 2 });
        health.is_fit(View::Warming { since: 1 });
        assert_eq!(health.view(), View::Warming { since: 2 }, "that was seen before");
        health.is_fit(View::Warming { since: 2 });
        assert_eq!(health.view(), View::Fit);
        health.checked(true, ONE, 3);
        assert_eq!(health.view(), View::Fit);
        health.checked(false, ONE, 4);
        assert_eq!(health.view(), View::Unfit);
    }

    #[test]
    fn failures_in_a_row_are_counted_while_it_takes_requests() {
        let health = Health::new(false, 1);
        assert_eq!([health.failed(2), health.failed(2)], [1, 2]);
        health.answered();
        assert_eq!(health.failed(2), 1);
        health.eject(Cause::Failing, SPANS, 2);
        assert_eq!(health.failed(3), 0, "the same event");
        assert_eq!(health.failed(1_002), 1, "it is back");
        health.eject(Cause::Unreachable, SPANS, 1_003);
        health.reached(|| 1_004);
        assert_eq!(health.view(), View::Warming { since: 1_004 });
    }
}
