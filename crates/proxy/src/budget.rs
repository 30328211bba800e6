//! How many requests may be sent again: a share of those of the last seconds, so that a component
//! that is down is not asked twice as much as usual on top.

use std::cell::{Cell, RefCell};

/// So many seconds are looked back on.
const SECONDS: usize = 10;

/// How much may be sent again within ten seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// Of the requests.
    pub(crate) percent: u32,
    /// And so many in any case.
    pub(crate) least: u32,
}

/// The budget of one worker for one revision. A request costs it one addition and no clock.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Requests since it was last told the time.
    fresh: Cell<u32>,
    window: RefCell<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// The second of the latest entry.
    second: u64,
    /// Requests, and of these how many were sent again.
    entries: [(u32, u32); SECONDS],
}

impl Budget {
    /// A request begins.
    pub(crate) fn request(&self) {
        self.fresh.set(self.fresh.get().saturating_add(1));
    }

    /// Tells the time; to be called about every second.
    pub(crate) fn tick(&self, second: u64) {
        let fresh = self.fresh.take();
        let mut window = self.window.borrow_mut();
        let passed = second.saturating_sub(window.second);
        for step in 1..=passed.min(SECONDS as u64) {
            *window.entry(second - passed + step) = (0, 0);
        }
        window.second = window.second.max(second);
        let entry = window.entry(second);
        entry.0 = entry.0.saturating_add(fresh);
    }

    /// Whether one more may be sent again, which then counts as having been.
    pub(crate) fn allows(&self, second: u64, allowance: Allowance) -> bool {
        self.tick(second);
        let mut window = self.window.borrow_mut();
        let sum = |of: fn(&(u32, u32)) -> u32| -> u64 {
            window.entries.iter().map(|entry| u64::from(of(entry))).sum()
        };
        let (requests, repeated) = (sum(|entry| entry.0), sum(|entry| entry.1));
        let most = (requests * u64::from(allowance.percent) / 100).max(allowance.least.into());
        let allowed = repeated < most;
        if allowed {
            window.entry(second).1 += 1;
        }
        allowed
    }
}

impl Window {
    fn entry(&mut self, second: u64) -> &mut (u32, u32) {
        let index = usize::try_from(second % SECONDS as u64).unwrap_or(0);
        &mut self.entries[index]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIFTH: Allowance = Allowance { percent: 20, least: 0 };

    #[test]
    fn a_fifth_of_the_last_seconds_is_sent_again() {
        let budget = Budget::default();
        assert!(!budget.allows(5, FIFTH), "nothing was asked yet");
        assert!(budget.allows(5, Allowance { percent: 20, least: 1 }));
        assert!(!budget.allows(5, Allowance { percent: 20, least: 1 }));
        for _ in 0..100 {
            budget.request();
        }
        let allowed = (0..100).filter(|_| budget.allows(7, FIFTH)).count();
        assert_eq!(allowed, 19, "one was used before");
        assert!(budget.allows(15, FIFTH), "the use of second 5 is forgotten");
        assert!(!budget.allows(15, FIFTH));
        assert!(!budget.allows(17, FIFTH), "so are the requests of second 7");
        assert!(!budget.allows(1_000, FIFTH));
    }

    proptest! {
        /// Against the plain definition.
        #[test]
        fn never_more_than_the_share(
            events in proptest::collection::vec((0_u64..4, 0_u32..30, 0_usize..12), 0..60),
            percent in 0_u32..=100,
            least in 0_u32..5,
        ) {
            let budget = Budget::default();
            let allowance = Allowance { percent, least };
            let mut second = 100;
            let mut requests: Vec<u64> = Vec::new();
            let mut repeated: Vec<u64> = Vec::new();
            for (pause, asked, again) in events {
                second += pause;
                for _ in 0..asked {
                    budget.request();
                    requests.push(second);
                }
                budget.tick(second);
                for _ in 0..again {
                    let lately = |times: &[u64]| {
                        times.iter().filter(|time| **time + SECONDS as u64 > second).count() as u64
                    };
                    let most =
                        (lately(&requests) * u64::from(percent) / 100).max(u64::from(least));
                    let wanted = lately(&repeated) < most;
                    prop_assert_eq!(budget.allows(second, allowance), wanted);
                    if wanted {
                        repeated.push(second);
                    }
                }
            }
        }
    }
}
