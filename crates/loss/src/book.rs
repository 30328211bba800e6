//! What was sent, what came back, and what that is called.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{client::Kind, content::VERSIONS};

/// A whole and right answer; whether it is that of a right version is judged here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) version: usize,
    pub(crate) instance: u32,
    /// When its head was there.
    pub(crate) head: Instant,
}

/// No such answer.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The instance whose answer had begun.
    pub(crate) begun: Option<u32>,
    pub(crate) why: String,
}

impl Fault {
    /// Nothing came back.
    pub(crate) fn unanswered(why: impl Into<String>) -> Self {
        Self { begun: None, why: why.into() }
    }
}

/// What was counted of one kind of request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that a client began.
    pub sent: u64,
    /// Those that a right version answered with the right body.
    pub answered: u64,
    /// Those in flight on an instance that was killed, and not safe to repeat.
    pub excused: u64,
    /// All others.
    pub lost: u64,
    /// From the first byte sent to the last one of the answer.
    pub longest: Duration,
    /// How often requests were lost in which way.
    pub losses: BTreeMap<String, u64>,
}

/// An instance that was killed.
#[derive(Debug)]
struct Killed {
    instance: u32,
    /// When it was certainly gone.
    until: Option<Instant>,
}

/// When a version had a share: from before it was told until after it was taken away for certain.
type Times = Vec<(Instant, Option<Instant>)>;

#[derive(Debug, Default)]
struct Pages {
    tallies: BTreeMap<Kind, Tally>,
    shares: [Times; 2],
    killed: Vec<Killed>,
    /// Answers by instance.
    answers: HashMap<u32, u64>,
}

/// The book that all clients write in.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: Mutex<Pages>,
    answered: AtomicU64,
    numbers: AtomicU64,
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no other request has.
    pub(crate) fn begin(&self, kind: Kind) -> u64 {
        self.pages().tallies.entry(kind).or_default().sent += 1;
        self.numbers.fetch_add(1, Relaxed)
    }

    /// A request that was begun at `sent` has ended.
    pub(crate) fn end(&self, kind: Kind, sent: Instant, outcome: Result<Answer, Fault>) {
        let elapsed = sent.elapsed();
        let mut pages = self.pages();
        let judged = pages.judge(kind, sent, outcome);
        let tally = pages.tallies.entry(kind).or_default();
        tally.longest = tally.longest.max(elapsed);
        match judged {
            Verdict::Answered(instance) => {
                tally.answered += 1;
                *pages.answers.entry(instance).or_default() += 1;
                self.answered.fetch_add(1, Relaxed);
            }
            Verdict::Excused => tally.excused += 1,
            Verdict::Lost(why) => {
                tally.lost += 1;
                *tally.losses.entry(why).or_default() += 1;
            }
        }
    }

    /// All right answers so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// The right answers of an instance so far.
    pub(crate) fn answers_of(&self, instance: u32) -> u64 {
        self.pages().answers.get(&instance).copied().unwrap_or(0)
    }

    /// These shares are about to be told.
    pub(crate) fn share_begins(&self, shares: [u32; 2]) {
        let now = Instant::now();
        for (times, share) in self.pages().shares.iter_mut().zip(shares) {
            let has_share = times.last().is_some_and(|(_, end)| end.is_none());
            if share > 0 && !has_share {
                times.push((now, None));
            }
        }
    }

    /// These shares are in force for certain.
    pub(crate) fn share_ends(&self, shares: [u32; 2]) {
        let now = Instant::now();
        for (times, share) in self.pages().shares.iter_mut().zip(shares) {
            if share == 0
                && let Some((_, end @ None)) = times.last_mut()
            {
                *end = Some(now);
            }
        }
    }

    /// This instance is about to be killed.
    pub(crate) fn kill_begins(&self, instance: u32) {
        self.pages().killed.push(Killed { instance, until: None });
    }

    /// The instance killed last is gone.
    pub(crate) fn kill_ends(&self) {
        if let Some(killed) = self.pages().killed.last_mut() {
            killed.until = Some(Instant::now());
        }
    }

    /// All that was counted.
    pub(crate) fn tallies(&self) -> BTreeMap<Kind, Tally> {
        self.pages().tallies.clone()
    }
}

enum Verdict {
    Answered(u32),
    Excused,
    Lost(String),
}

impl Pages {
    fn judge(&self, kind: Kind, sent: Instant, outcome: Result<Answer, Fault>) -> Verdict {
        match outcome {
            Ok(answer) if self.had_share(answer.version, sent, answer.head) => {
                Verdict::Answered(answer.instance)
            }
            Ok(answer) => {
                let version = VERSIONS[answer.version];
                Verdict::Lost(format!("answered by {version}, which had no share"))
            }
            Err(fault) if self.is_excused(kind, sent, &fault) => Verdict::Excused,
            Err(fault) => Verdict::Lost(fault.why),
        }
    }

    fn had_share(&self, version: usize, from: Instant, until: Instant) -> bool {
        let times = self.shares[version].iter().rev();
        times
            .take_while(|(_, end)| end.is_none_or(|end| end >= from))
            .any(|(begin, _)| *begin <= until)
    }

    /// Whether it was in flight on an instance while that was killed, and could not be repeated
    /// without a risk: its answer had begun, or it may have had an effect.
    fn is_excused(&self, kind: Kind, sent: Instant, fault: &Fault) -> bool {
        self.killed.iter().any(|killed| {
            let was_there = killed.until.is_none_or(|until| sent <= until);
            let on_it = fault.begun.map_or(!kind.is_safe(), |begun| begun == killed.instance);
            // What had ended before the kill was judged before the kill was noted here.
            was_there && on_it
        })
    }
}

/// No request takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: usize) -> Answer {
        Answer { version, instance: 7, head: Instant::now() }
    }

    fn count(book: &Book, kind: Kind) -> (u64, u64, u64) {
        let tally = book.tallies().remove(&kind).unwrap_or_default();
        (tally.answered, tally.excused, tally.lost)
    }

    #[test]
    fn a_version_without_a_share_is_a_wrong_one() {
        let book = Book::default();
        book.share_begins([100, 0]);
        let before = Instant::now();
        book.end(Kind::KeepAlive, before, Ok(answer(0)));
        book.end(Kind::KeepAlive, before, Ok(answer(1)));
        assert_eq!(count(&book, Kind::KeepAlive), (1, 0, 1));
        book.share_begins([0, 100]);
        book.end(Kind::KeepAlive, before, Ok(answer(1)));
        book.end(Kind::KeepAlive, before, Ok(answer(0)));
        book.share_ends([0, 100]);
        // It was sent while the former version still had a share.
        book.end(Kind::KeepAlive, before, Ok(answer(0)));
        assert_eq!(count(&book, Kind::KeepAlive), (4, 0, 1));
        book.end(Kind::KeepAlive, Instant::now(), Ok(answer(0)));
        assert_eq!(count(&book, Kind::KeepAlive), (4, 0, 2));
        assert_eq!(book.answers_of(7), 4);
    }

    #[test]
    fn only_what_could_not_be_repeated_is_excused_and_only_by_a_kill() {
        let book = Book::default();
        let fault = |begun| Err(Fault { begun, why: "reset".to_owned() });
        let sent = Instant::now();
        book.end(Kind::Post, sent, fault(None));
        assert_eq!(count(&book, Kind::Post), (0, 0, 1));
        book.kill_begins(3);
        book.kill_ends();
        book.end(Kind::Post, sent, fault(None));
        book.end(Kind::Post, sent, fault(Some(3)));
        assert_eq!(count(&book, Kind::Post), (0, 2, 1));
        // Another instance's answer broke off.
        book.end(Kind::Post, sent, fault(Some(4)));
        // It was sent when the instance was gone.
        book.end(Kind::Post, Instant::now(), fault(None));
        assert_eq!(count(&book, Kind::Post), (0, 2, 3));
        // It could be repeated, unless its answer had begun.
        book.end(Kind::Http2, sent, fault(None));
        book.end(Kind::Http2, sent, fault(Some(3)));
        assert_eq!(count(&book, Kind::Http2), (0, 1, 1));
    }
}
