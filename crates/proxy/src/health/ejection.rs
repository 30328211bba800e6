//! Leaving an instance alone for a while that fails requests.
//!
//! Times are milliseconds of one clock.

/// Why an instance is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nobody listens there. That is certain, and ends when somebody does.
    Unreachable,
    /// It failed several requests in a row. What was wrong shows only by asking again later.
    Failing,
}

/// For how long an instance is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spans {
    /// The first time; doubled each time it fails again.
    pub(crate) first: u64,
    /// At most, and so long it has to do well for the next time to be the first again.
    pub(crate) longest: u64,
}

/// Whether and until when an instance is left alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ejection {
    /// The last one, which may be over.
    last: Option<(u64, Cause)>,
    strikes: u32,
}

impl Ejection {
    /// It failed. Failures while it is left alone already are ignored: they are the same event seen
    /// by requests that were under way.
    #[must_use]
    pub(crate) fn failed(self, now: u64, cause: Cause, spans: Spans) -> Self {
        if self.at(now).is_some() {
            return self;
        }
        let forgiven = self.last.is_some_and(|(until, _)| now - until >= spans.longest);
        let strikes = if forgiven { 0 } else { self.strikes };
        let span = spans.first.saturating_mul(1 << strikes.min(16)).min(spans.longest);
        Self { last: Some((now.saturating_add(span), cause)), strikes: strikes + 1 }
    }

    /// Somebody listens there after all. Says whether that changes anything.
    pub(crate) fn reached(&mut self, now: u64) -> bool {
        match self.last {
            Some((until, Cause::Unreachable)) if now < until => {
                self.last = Some((now, Cause::Unreachable));
                true
            }
            _ => false,
        }
    }

    /// Until when and why it is left alone.
    pub(crate) fn at(self, now: u64) -> Option<(u64, Cause)> {
        self.last.filter(|(until, _)| now < *until)
    }

    /// When it came back the last time.
    pub(crate) fn returned(self) -> Option<u64> {
        self.last.map(|(until, _)| until)
    }
}

/// Whether one more of the instances of a revision may be left alone for failing, when so many of
/// them are out for any reason: failures that all share are not mended by crowding the rest.
pub(crate) fn may_eject(out: usize, of: usize, percent: u32) -> bool {
    (out as u64 + 1) * 100 <= of as u64 * u64::from(percent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPANS: Spans = Spans { first: 1_000, longest: 10_000 };

    #[test]
    fn the_span_grows_to_its_limit_and_concurrent_failures_count_once() {
        let mut now = 5;
        let mut ejection = Ejection::default();
        assert_eq!(ejection.at(now), None);
        for span in [1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            for _ in 0..50 {
                ejection = ejection.failed(now, Cause::Unreachable, SPANS);
            }
            assert_eq!(ejection.at(now + span - 1), Some((now + span, Cause::Unreachable)));
            now += span;
            assert_eq!(ejection.at(now), None, "after {span} ms");
        }
        now += SPANS.longest - 1;
        let soon = ejection.failed(now, Cause::Failing, SPANS);
        assert_eq!(soon.at(now), Some((now + 10_000, Cause::Failing)), "it failed again too soon");
        now += 1;
        let late = ejection.failed(now, Cause::Failing, SPANS);
        assert_eq!(late.at(now), Some((now + 1_000, Cause::Failing)), "it did well for long");
    }

    #[test]
    fn a_connection_ends_what_a_refused_one_began_and_nothing_else() {
        let mut refused = Ejection::default().failed(1, Cause::Unreachable, SPANS);
        assert!(refused.reached(2));
        assert_eq!((refused.at(2), refused.returned()), (None, Some(2)));
        assert!(!refused.reached(3), "that is nothing new");
        let mut failing = Ejection::default().failed(1, Cause::Failing, SPANS);
        assert!(!failing.reached(2));
        assert!(failing.at(2).is_some());
    }

    #[test]
    fn a_single_instance_is_never_left_alone_for_failing() {
        assert!(!may_eject(0, 1, 50));
        assert!(may_eject(0, 2, 50));
        assert!(!may_eject(1, 3, 50));
        assert!(may_eject(1, 4, 50));
        assert!(may_eject(0, 1, 100));
    }

    proptest! {
        #[test]
        fn no_more_than_the_part_is_ever_out(of in 0_usize..200, percent in 0_u32..=100) {
            let mut out = 0;
            while may_eject(out, of, percent) {
                out += 1;
            }
            prop_assert!(out as u64 * 100 <= of as u64 * u64::from(percent));
            prop_assert!((out as u64 + 1) * 100 > of as u64 * u64::from(percent));
        }

        #[test]
        fn it_always_comes_back(failures in proptest::collection::vec((0_u64..30_000, any::<bool>()), 1..50)) {
            let (mut now, mut ejection) = (1, Ejection::default());
            for (pause, refused) in failures {
                now += pause;
                let cause = if refused { Cause::Unreachable } else { Cause::Failing };
                let before = ejection;
                ejection = ejection.failed(now, cause, SPANS);
                let (until, _) = ejection.at(now).unwrap();
                prop_assert!(until <= now + SPANS.longest);
                prop_assert!(before.at(now).is_none() || before == ejection);
            }
        }
    }
}
