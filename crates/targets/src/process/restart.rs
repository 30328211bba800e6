//! When an instance may be started again after others have failed.

use serde::{Deserialize, Serialize};
use tidegate_types::{Duration, Timestamp};

const FIRST: u64 = 100;
const LONGEST: u64 = 30_000;
/// A revision without a failure for this long starts afresh; so does, with it, one whose only
/// instance lived this long.
const LONG_LIFE: Duration = Duration::from_mins(5);

/// The failures of a revision's instances, as far as the next start depends on them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureStreak {
    /// Failures without a long life between them.
    in_a_row: u32,
    /// The latest.
    last: Option<Timestamp>,
    /// Trying again cannot help, so it is done seldom.
    hopeless: bool,
}

impl FailureStreak {
    /// An instance that had lived for `life` failed at `at`.
    pub(crate) fn add(&mut self, at: Timestamp, life: Duration, hopeless: bool) {
        // Started before the latest failure, it does not show that another start fails too: all
        // that die at once are one failure.
        let together = self.last.is_some_and(|last| at.since(last) < life);
        let before = self.in_a_row(at).saturating_sub(u32::from(together));
        self.in_a_row = before.saturating_add(1);
        self.last = Some(at);
        self.hopeless = hopeless;
    }

    /// How many failures in a row, seen from `now`.
    pub(crate) fn in_a_row(&self, now: Timestamp) -> u32 {
        match self.last {
            Some(last) if now.since(last) < LONG_LIFE => self.in_a_row,
            _ => 0,
        }
    }

    /// No start before this.
    pub(crate) fn not_before(&self, now: Timestamp) -> Option<Timestamp> {
        let in_a_row = self.in_a_row(now);
        let doublings = in_a_row.checked_sub(1)?;
        let delay = if self.hopeless {
            LONGEST
        } else {
            1_u64
                .checked_shl(doublings)
                .and_then(|factor| FIRST.checked_mul(factor))
                .map_or(LONGEST, |delay| delay.min(LONGEST))
        };
        self.last.map(|last| last.after(Duration::from_millis(delay)))
    }

    /// A wall clock that was set back must not make a failure of the past one of the future.
    pub(crate) fn clamp(&mut self, now: Timestamp) {
        self.last = self.last.map(|last| last.min(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn delay(streak: &FailureStreak, now: Timestamp) -> Option<u64> {
        streak.not_before(now).map(|then| then.since(now).as_millis())
    }

    #[test]
    fn delays_double_up_to_half_a_minute() {
        let mut streak = FailureStreak::default();
        assert_eq!(streak.not_before(at(0)), None);
        let delays: Vec<_> = (0..70)
            .map(|_| {
                streak.add(at(10), Duration::ZERO, false);
                delay(&streak, at(10)).unwrap()
            })
            .collect();
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[8..10], [25_600, 30_000]);
        assert_eq!(delays[69], 30_000);
    }

    #[test]
    fn a_long_life_or_a_long_peace_starts_afresh() {
        let mut streak = FailureStreak::default();
        for _ in 0..5 {
            streak.add(at(10), Duration::ZERO, false);
        }
        let mut long_life = streak.clone();
        long_life.add(at(320), Duration::from_secs(309), false);
        assert_eq!(delay(&long_life, at(320)), Some(100));
        assert_eq!(streak.in_a_row(at(309)), 5);
        assert_eq!(streak.in_a_row(at(310)), 0);
        streak.add(at(310), Duration::ZERO, false);
        assert_eq!(streak.in_a_row(at(310)), 1);
    }

    #[test]
    fn all_that_die_at_once_are_one_failure() {
        let mut streak = FailureStreak::default();
        for _ in 0..4 {
            streak.add(at(60), Duration::from_secs(50), false);
        }
        assert_eq!(delay(&streak, at(60)), Some(100));
        // One that was started since is another.
        streak.add(at(62), Duration::from_secs(1), false);
        assert_eq!(delay(&streak, at(62)), Some(200));
    }

    #[test]
    fn the_hopeless_is_tried_seldom() {
        let mut streak = FailureStreak::default();
        streak.add(at(10), Duration::ZERO, true);
        assert_eq!(delay(&streak, at(10)), Some(30_000));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_prolong_a_delay() {
        let mut streak = FailureStreak::default();
        streak.add(at(3_600), Duration::ZERO, false);
        streak.clamp(at(0));
        assert_eq!(delay(&streak, at(0)), Some(100));
    }
}
