//! All that is known of how an instance is, and what follows from it. Pure: times are milliseconds
//! of one clock.

use tidegate_types::data_plane::Fitness;

use super::ejection::{Cause, Ejection, Spans};

/// What its check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checked {
    /// It has none.
    Never,
    /// Nothing yet.
    Unknown,
    Good,
    Bad,
}

/// So many answers in a row change what is thought of an instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thresholds {
    pub(crate) failures: u32,
    pub(crate) successes: u32,
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    checked: Checked,
    /// Answers of the other kind than the last change was made by, in a row.
    against: u32,
    ejection: Ejection,
    /// Since when it takes its part.
    since: u64,
}

impl Standing {
    /// It came just now.
    pub(crate) fn new(is_checked: bool, now: u64) -> Self {
        Self {
            checked: if is_checked { Checked::Unknown } else { Checked::Never },
            against: 0,
            ejection: Ejection::default(),
            since: now,
        }
    }

    /// Its check was answered, well or not. What is not known becomes good by one good answer.
    pub(crate) fn checked(&mut self, good: bool, thresholds: Thresholds, now: u64) {
        if good {
            self.ejection.reached(now);
        }
        let (changes, needed) = match (self.checked, good) {
            (Checked::Unknown, true) => (true, 1),
            (Checked::Unknown | Checked::Good | Checked::Never, false) => {
                (true, thresholds.failures.max(1))
            }
            (Checked::Bad, true) => (true, thresholds.successes.max(1)),
            (Checked::Good | Checked::Never, true) | (Checked::Bad, false) => (false, 0),
        };
        if !changes {
            self.against = 0;
        } else if self.against + 1 < needed {
            self.against += 1;
        } else {
            self.against = 0;
            self.checked = if good { Checked::Good } else { Checked::Bad };
            self.since = now;
        }
    }

    /// A request failed there, so that it is left alone for a while.
    pub(crate) fn failed(&mut self, cause: Cause, spans: Spans, now: u64) {
        self.ejection = self.ejection.failed(now, cause, spans);
    }

    /// A connection was made.
    pub(crate) fn reached(&mut self, now: u64) {
        self.ejection.reached(now);
    }

    /// What follows for who is asked next.
    pub(crate) fn at(&self, now: u64) -> View {
        match (self.checked, self.ejection.at(now)) {
            (Checked::Bad, _) => View::Unfit,
            (_, Some((until, Cause::Unreachable))) => View::Unreachable { until },
            (_, Some((until, Cause::Failing))) => View::Ejected { until },
            (Checked::Unknown, None) => View::Unknown,
            (Checked::Never | Checked::Good, None) => View::Warming {
                since: self.ejection.returned().map_or(self.since, |at| at.max(self.since)),
            },
        }
    }
}

/// What a worker sees of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Nothing to think about.
    Fit,
    /// It takes its part since then.
    Warming { since: u64 },
    /// It was not asked yet.
    Unknown,
    /// It does not answer its check as it should.
    Unfit,
    /// It failed requests.
    Ejected { until: u64 },
    /// Nobody listens there.
    Unreachable { until: u64 },
}

/// Who is preferred to whom; the first is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Takes,
    /// Warming, and this request is not for it.
    Spared,
    Unknown,
    /// It does not answer as it should: the least bad when nobody is better.
    Out,
    /// Nobody is there.
    Gone,
}

impl Rank {
    /// Whether requests are to wait rather than to go there.
    pub(crate) fn is_out(self) -> bool {
        self >= Self::Out
    }
}

/// A tenth of its part is the least that an instance takes that warms up.
const LEAST_PART: u64 = 10;

impl View {
    /// In one number, 0 for one that is fit.
    pub(crate) fn encode(self) -> u64 {
        match self {
            Self::Fit => 0,
            Self::Warming { since } => since << 3 | 1,
            Self::Unknown => 2,
            Self::Unfit => 3,
            Self::Ejected { until } => until << 3 | 4,
            Self::Unreachable { until } => until << 3 | 5,
        }
    }

    /// From the number.
    pub(crate) fn decode(number: u64) -> Self {
        let time = number >> 3;
        match number & 7 {
            0 => Self::Fit,
            1 => Self::Warming { since: time },
            2 => Self::Unknown,
            4 => Self::Ejected { until: time },
            5 => Self::Unreachable { until: time },
            _ => Self::Unfit,
        }
    }

    /// What it has become by now: who was left alone comes back, and who warms up gets warm.
    pub(crate) fn by(self, now: u64, slow_start: u64) -> Self {
        let view = match self {
            Self::Ejected { until } | Self::Unreachable { until } if now >= until => {
                Self::Warming { since: until }
            }
            other => other,
        };
        match view {
            Self::Warming { since } if now.saturating_sub(since) >= slow_start => Self::Fit,
            other => other,
        }
    }

    /// How it compares with others for one request; `roll` gives any random number. Called with
    /// what it is by now.
    pub(crate) fn rank(self, now: u64, slow_start: u64, roll: impl FnOnce() -> u64) -> Rank {
        match self {
            Self::Fit => Rank::Takes,
            Self::Warming { since } => {
                let percent = now.saturating_sub(since).saturating_mul(100) / slow_start.max(1);
                let takes = roll() % 100 < percent.max(LEAST_PART);
                if takes { Rank::Takes } else { Rank::Spared }
            }
            Self::Unknown => Rank::Unknown,
            Self::Unfit | Self::Ejected { .. } => Rank::Out,
            Self::Unreachable { .. } => Rank::Gone,
        }
    }

    /// Whether requests are to go elsewhere, by what it is now.
    pub(crate) fn is_out(self) -> bool {
        matches!(self, Self::Unfit | Self::Ejected { .. } | Self::Unreachable { .. })
    }

    /// For people.
    pub(crate) fn fitness(self) -> Fitness {
        match self {
            Self::Fit => Fitness::Fit,
            Self::Warming { .. } => Fitness::Warming,
            Self::Unknown => Fitness::Unknown,
            Self::Unfit => Fitness::Unfit,
            Self::Ejected { .. } => Fitness::Ejected,
            Self::Unreachable { .. } => Fitness::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPANS: Spans = Spans { first: 1_000, longest: 10_000 };
    const THREE_TWO: Thresholds = Thresholds { failures: 3, successes: 2 };

    #[test]
    fn answers_in_a_row_change_what_is_thought() {
        let mut standing = Standing::new(true, 1);
        assert_eq!(standing.at(1), View::Unknown, "unknown is no success");
        standing.checked(false, THREE_TWO, 2);
        assert_eq!(standing.at(2), View::Unknown);
        standing.checked(true, THREE_TWO, 3);
        assert_eq!(standing.at(3), View::Warming { since: 3 });
        for now in 4..6 {
            standing.checked(false, THREE_TWO, now);
            standing.checked(false, THREE_TWO, now);
            standing.checked(true, THREE_TWO, now);
        }
        assert_eq!(standing.at(6), View::Warming { since: 3 }, "never three in a row");
        for now in 7..10 {
            assert_ne!(standing.at(now), View::Unfit);
            standing.checked(false, THREE_TWO, now);
        }
        assert_eq!(standing.at(10), View::Unfit);
        standing.checked(true, THREE_TWO, 11);
        standing.checked(false, THREE_TWO, 12);
        standing.checked(true, THREE_TWO, 13);
        assert_eq!(standing.at(13), View::Unfit, "never two in a row");
        standing.checked(true, THREE_TWO, 14);
        assert_eq!(standing.at(14), View::Warming { since: 14 });
        standing.checked(true, THREE_TWO, 15);
        assert_eq!(standing.at(15), View::Warming { since: 14 });
    }

    #[test]
    fn what_was_never_seen_to_be_good_becomes_bad() {
        let mut standing = Standing::new(true, 1);
        for _ in 0..3 {
            standing.checked(false, THREE_TWO, 2);
        }
        assert_eq!(standing.at(2), View::Unfit);
    }

    #[test]
    fn a_good_answer_brings_back_who_was_not_there_but_not_who_fails_requests() {
        let mut gone = Standing::new(true, 1);
        gone.checked(true, THREE_TWO, 1);
        gone.failed(Cause::Unreachable, SPANS, 100);
        assert_eq!(gone.at(100), View::Unreachable { until: 1_100 });
        gone.checked(true, THREE_TWO, 200);
        assert_eq!(gone.at(200), View::Warming { since: 200 });
        let mut failing = Standing::new(true, 1);
        failing.checked(true, THREE_TWO, 1);
        failing.failed(Cause::Failing, SPANS, 100);
        failing.checked(true, THREE_TWO, 200);
        assert_eq!(failing.at(200), View::Ejected { until: 1_100 });
        assert_eq!(failing.at(1_100), View::Warming { since: 1_100 });
    }

    #[test]
    fn who_returns_takes_a_tenth_at_first_and_then_more() {
        let out = View::Ejected { until: 5_000 };
        assert_eq!(out.by(4_999, 1_000).rank(4_999, 1_000, || 0), Rank::Out);
        let share = |now: u64| {
            let taken = |roll: &u64| out.by(now, 1_000).rank(now, 1_000, || *roll) == Rank::Takes;
            (0..100).filter(taken).count()
        };
        let shares = [5_000, 5_050, 5_500, 5_999, 6_000].map(share);
        assert_eq!(shares, [10, 10, 50, 99, 100]);
        assert_eq!(out.by(5_000, 0), View::Fit, "without a slow start it is back at once");
    }

    #[test]
    fn a_view_is_a_number() {
        for view in [
            View::Fit,
            View::Warming { since: 1 << 50 },
            View::Unknown,
            View::Unfit,
            View::Ejected { until: 7 },
            View::Unreachable { until: 8 },
        ] {
            assert_eq!(View::decode(view.encode()), view);
            assert_eq!(view.encode() == 0, view == View::Fit);
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Checked(bool),
        Failed(bool),
        Reached,
    }

    proptest! {
        /// Three bad answers in a row make it unfit whatever went before, and so many good ones
        /// make it take its part again as soon as it is not left alone any more.
        #[test]
        fn the_last_answers_decide(
            events in proptest::collection::vec(
                (0_u64..5_000, prop_oneof![
                    any::<bool>().prop_map(Event::Checked),
                    any::<bool>().prop_map(Event::Failed),
                    Just(Event::Reached),
                ]),
                0..60,
            ),
            good in any::<bool>(),
        ) {
            let (mut standing, mut now) = (Standing::new(true, 1), 1);
            for (pause, event) in events {
                now += pause;
                match event {
                    Event::Checked(good) => standing.checked(good, THREE_TWO, now),
                    Event::Failed(true) => standing.failed(Cause::Unreachable, SPANS, now),
                    Event::Failed(false) => standing.failed(Cause::Failing, SPANS, now),
                    Event::Reached => standing.reached(now),
                }
            }
            for _ in 0..3 {
                standing.checked(good, THREE_TWO, now);
            }
            if good {
                let view = standing.at(now);
                prop_assert!(
                    matches!(view, View::Warming { since } if since <= now)
                        || matches!(view, View::Ejected { until } if until <= now + SPANS.longest),
                    "{view:?}"
                );
                let later = now + SPANS.longest;
                prop_assert_eq!(standing.at(later).by(later, 0), View::Fit);
            } else {
                prop_assert_eq!(standing.at(now), View::Unfit);
            }
        }
    }
}
