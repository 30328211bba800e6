//! When a certificate is ordered.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::challenges::Proof;
use crate::tls::Validity;

/// Each failure makes the pause so many times longer.
const GROWTH: u32 = 4;
/// An authority that has had enough is left alone as if so many tries had failed: for an hour.
const PATIENCE_LOST: u32 = 4;

/// How long it is waited after a failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    /// After the first one.
    pub(crate) first: Duration,
    /// After however many.
    pub(crate) longest: Duration,
}

/// Somebody who has mended what was wrong does not have to wait for longer, in seconds: four tries in
/// an hour.
const HURRY: i64 = 15 * 60;

const HOUR: i64 = 60 * 60;
/// So many orders an authority is given in an hour, those that fail included. Let's Encrypt takes a
/// hundred on average.
const MOST_AN_HOUR: usize = 90;

/// The orders that one authority was given in the last hour: many hosts that do not lead here yet
/// would use up what it takes from those that do.
#[derive(Debug, Default)]
pub(super) struct Quota(VecDeque<i64>);

impl Quota {
    /// Takes one, or says when there is one again.
    pub(super) fn take(&mut self, now: i64) -> Result<(), i64> {
        self.0.retain(|begun| *begun <= now && now.saturating_sub(*begun) < HOUR);
        match self.0.front() {
            Some(first) if self.0.len() >= MOST_AN_HOUR => Err(first.saturating_add(HOUR)),
            _ => {
                self.0.push_back(now);
                Ok(())
            }
        }
    }
}

/// What became of the tries to get a certificate; on disk, so that a proxy that is started again and
/// again does not ask again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tries {
    /// In a row. A try under way is among them, as nobody may be left to say how it ended.
    failures: u32,
    /// When the last one began, in seconds since 1970.
    last: i64,
    /// What was wrong with it.
    problem: Option<String>,
    /// What the authority was convinced by.
    convinced_by: Option<Proof>,
}

impl Tries {
    /// With another one that begins now.
    pub(super) fn begin(&self, now: i64) -> Self {
        Self {
            failures: self.failures.saturating_add(1),
            last: now,
            problem: Some("the last try was broken off".to_owned()),
            ..self.clone()
        }
    }

    /// With the last one failed.
    pub(super) fn failed(self, problem: String, has_had_enough: bool) -> Self {
        let least = if has_had_enough { PATIENCE_LOST } else { 0 };
        Self { failures: self.failures.max(least), problem: Some(problem), ..self }
    }

    /// With the last one successful.
    pub(super) fn succeeded(self, proof: Proof) -> Self {
        Self { failures: 0, problem: None, convinced_by: Some(proof), ..self }
    }

    /// How to prove it the next time: by what did before, and after a failure by the other way, if
    /// there is one.
    pub(super) fn proof(&self, plain_text: bool) -> Proof {
        let first = self.convinced_by.filter(|_| plain_text).unwrap_or(Proof::Tls);
        match first {
            _ if !plain_text => Proof::Tls,
            first if self.failures.is_multiple_of(2) => first,
            Proof::Tls => Proof::Http,
            Proof::Http => Proof::Tls,
        }
    }

    /// When to try next, in seconds since 1970: at two thirds of the life of the certificate that is
    /// there, or after a pause. `spread` is from 0 to 1, and keeps many proxies from asking at once.
    pub(super) fn next(&self, there: Option<&Validity>, pause: Pause, spread: f64) -> i64 {
        let growth = GROWTH.saturating_pow(self.failures.saturating_sub(1));
        let pause = pause.first.saturating_mul(growth).min(pause.longest);
        let pause = seconds(pause.mul_f64(1.0 + spread / 5.0));
        // Whatever an authority issues, it is not asked all the time.
        let soonest = if self.last == 0 { i64::MIN } else { self.last.saturating_add(pause) };
        match there {
            Some(Validity { from, until }) if self.failures == 0 => {
                let life = until.seconds.saturating_sub(from.seconds).max(0).unsigned_abs();
                let part = Duration::from_secs(life).mul_f64(2.0 / 3.0 - spread / 50.0);
                from.seconds.saturating_add(seconds(part)).max(soonest)
            }
            _ => soonest,
        }
    }

    /// Why there is no newer certificate, if there should be one.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whether one that failed may be followed by another before its time.
    pub(super) fn may_hurry(&self, now: i64) -> bool {
        self.failures > 0 && now.saturating_sub(self.last) >= HURRY
    }

    /// Whether the clock was turned back since the last one began.
    pub(super) fn is_of_the_future(&self, now: i64) -> bool {
        self.last > now
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Moment;

    const PAUSE: Pause = Pause { first: Duration::from_mins(1), longest: Duration::from_hours(6) };
    const DAY: i64 = 86_400;

    fn validity(from: i64, until: i64) -> Validity {
        let moment = |seconds| Moment { seconds, text: String::new() };
        Validity { from: moment(from), until: moment(until) }
    }

    #[test]
    fn it_is_ordered_at_once_and_again_at_two_thirds_of_its_life() {
        let tries = Tries::default();
        assert_eq!(tries.next(None, PAUSE, 0.5), i64::MIN);
        let there = validity(1_000, 1_000 + 90 * DAY);
        assert_eq!(tries.next(Some(&there), PAUSE, 0.0), 1_000 + 60 * DAY);
        let soonest = tries.next(Some(&there), PAUSE, 1.0);
        assert!(soonest < 1_000 + 59 * DAY && soonest > 1_000 + 58 * DAY, "{soonest}");
        // One that makes no sense.
        assert_eq!(tries.next(Some(&validity(5, 1)), PAUSE, 0.5), 5);
    }

    #[test]
    fn pauses_grow_and_keep_tries_to_four_an_hour() {
        let mut tries = Tries::default();
        let (mut now, mut begun) = (1, Vec::new());
        for _ in 0..20 {
            begun.push(now);
            tries = tries.begin(now).failed("no".to_owned(), false);
            let there = validity(-60 * DAY, 30 * DAY);
            let next = tries.next(Some(&there), PAUSE, 0.0);
            assert_eq!(next, tries.next(None, PAUSE, 0.0));
            assert!(tries.next(None, PAUSE, 1.0) >= next);
            now = next;
        }
        assert_eq!(begun[..7], [1, 61, 301, 1_261, 5_101, 20_461, 42_061]);
        for (first, fifth) in begun.iter().zip(&begun[4..]) {
            assert!(fifth - first > 3_600);
        }
        tries.failures = u32::MAX;
        assert_eq!(tries.begin(1).next(None, PAUSE, 0.0), 21_601);
    }

    #[test]
    fn an_authority_is_given_a_limited_number_of_orders_an_hour() {
        let mut quota = Quota::default();
        for order in 0..90 {
            assert_eq!(quota.take(1_000 + order), Ok(()));
        }
        assert_eq!(quota.take(1_090), Err(4_600));
        assert_eq!(quota.take(4_599), Err(4_600));
        assert_eq!(quota.take(4_600), Ok(()));
        assert_eq!(quota.take(4_600), Err(4_601));
        // The clock was turned back.
        assert_eq!(quota.take(500), Ok(()));
    }

    #[test]
    fn who_begins_anew_tries_what_failed_at_most_four_times_an_hour() {
        let tries = Tries::default().begin(1_000).failed("no".to_owned(), false);
        assert!(!tries.may_hurry(1_899) && tries.may_hurry(1_900));
        assert!(!tries.succeeded(Proof::Tls).may_hurry(i64::MAX), "nothing failed");
    }

    #[test]
    fn an_authority_that_has_had_enough_is_left_alone_for_an_hour() {
        let tries = Tries::default().begin(1).failed("too many".to_owned(), true);
        assert_eq!(tries.next(None, PAUSE, 0.0), 3_841);
    }

    #[test]
    fn after_a_failure_it_is_proved_the_other_way() {
        let mut tries = Tries::default();
        let mut proofs = Vec::new();
        for _ in 0..3 {
            assert_eq!(tries.proof(false), Proof::Tls);
            proofs.push(tries.proof(true));
            tries = tries.begin(0).failed("no".to_owned(), false);
        }
        assert_eq!(proofs, [Proof::Tls, Proof::Http, Proof::Tls]);
        let tries = tries.succeeded(Proof::Http);
        assert_eq!((tries.proof(true), tries.proof(false)), (Proof::Http, Proof::Tls));
    }
}
