//! The buckets that were closed, kept for readers that come late.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    time::Instant,
};

use tidegate_types::{
    Bucket, Buckets, Duration, Mark, Run, Scope,
    data_plane::{ClosedStep, CountedInScope, HandedLedger},
};

use crate::limits::Limits;

/// How much there is to keep of a step.
fn size(step: &ClosedStep) -> usize {
    let counted = step.scopes.values().flat_map(|scope| scope.revisions.values());
    let sizes = counted.map(|counted| {
        1 + counted.counters.latency.counts().len() + counted.counters.first_byte.counts().len()
    });
    1 + sizes.sum::<usize>()
}

/// The buckets of all scopes. All scopes have the same steps; one in which nothing happened is a
/// bucket, too, since that nobody asked is worth knowing.
#[derive(Debug)]
pub(crate) struct Ledger {
    run: Run,
    began: Instant,
    closed: VecDeque<ClosedStep>,
    last_number: u64,
    last_end: Duration,
    size: usize,
    most: usize,
    largest: usize,
}

impl Ledger {
    /// A run begins.
    pub(crate) fn new(now: Instant, limits: &Limits) -> Self {
        // Any program can read a number of 52 bits, which are enough for no two runs to be the same.
        let run = Run(RandomState::new().hash_one(now) >> 12);
        Self {
            run,
            began: now,
            closed: VecDeque::new(),
            last_number: 0,
            last_end: Duration::from_millis(0),
            size: 0,
            most: limits.buckets_kept,
            largest: limits.buckets_size,
        }
    }

    pub(crate) fn run(&self) -> Run {
        self.run
    }

    /// A step of time is over.
    pub(crate) fn close(&mut self, now: Instant, scopes: BTreeMap<Scope, CountedInScope>) {
        let to = millis(now.saturating_duration_since(self.began)).max(self.last_end);
        self.keep(ClosedStep { number: self.last_number + 1, from: self.last_end, to, scopes });
    }

    fn keep(&mut self, step: ClosedStep) {
        (self.last_number, self.last_end) = (step.number, step.to);
        self.size += size(&step);
        self.closed.push_back(step);
        while self.closed.len() > self.most || (self.size > self.largest && self.closed.len() > 1) {
            let forgotten = self.closed.pop_front();
            self.size -= forgotten.as_ref().map_or(0, size);
        }
    }

    /// A run that another process began goes on here.
    pub(crate) fn go_on(handed: HandedLedger, now: Instant, limits: &Limits) -> Self {
        let age = std::time::Duration::from_millis(handed.age.as_millis());
        let mut ledger = Self::new(now, limits);
        ledger.run = handed.run;
        // A machine that began later than the run is none on which a process can hand over.
        ledger.began = now.checked_sub(age).unwrap_or(now);
        for step in handed.closed {
            ledger.keep(step);
        }
        ledger
    }

    /// All of it, for a successor.
    pub(crate) fn hand_on(&self, now: Instant) -> HandedLedger {
        let age = millis(now.saturating_duration_since(self.began));
        HandedLedger { run: self.run, age, closed: self.closed.iter().cloned().collect() }
    }

    /// What a reader has not read.
    pub(crate) fn read(&self, scope: &Scope, after: Option<Mark>, now: Instant) -> Buckets {
        let read = after.filter(|mark| mark.run == self.run).map_or(0, |mark| mark.number);
        let new = self.closed.iter().filter(|bucket| bucket.number > read);
        Buckets {
            run: self.run,
            now: millis(now.saturating_duration_since(self.began)),
            closed: new
                .map(|closed| {
                    let entry = closed.scopes.get(scope).cloned().unwrap_or_default();
                    Bucket {
                        number: closed.number,
                        from: closed.from,
                        to: closed.to,
                        revisions: entry.revisions,
                        unanswered: entry.unanswered,
                    }
                })
                .collect(),
        }
    }
}

fn millis(time: std::time::Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_types::{Counted, Counters, RevisionId};

    use super::*;

    fn scope() -> Scope {
        "shop/production".parse().unwrap()
    }

    fn some(requests: u64) -> BTreeMap<Scope, CountedInScope> {
        let counters = Counters::answered(requests, 0);
        let counted = Counted { counters, ..Counted::default() };
        let revisions = BTreeMap::from([(RevisionId::new("api@1"), counted)]);
        BTreeMap::from([(scope(), CountedInScope { revisions, ..CountedInScope::default() })])
    }

    fn numbers(buckets: &Buckets) -> Vec<u64> {
        buckets.closed.iter().map(|bucket| bucket.number).collect()
    }

    #[test]
    fn a_late_reader_gets_each_bucket_once() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut ledger = Ledger::new(began, &Limits::default());
        ledger.close(at(10), some(3));
        ledger.close(at(20), BTreeMap::new());
        let first = ledger.read(&scope(), None, at(24));
        assert_eq!(numbers(&first), [1, 2]);
        assert_eq!(first.now.as_millis(), 24_000);
        let span = |bucket: &Bucket| (bucket.from.as_millis(), bucket.to.as_millis());
        assert_eq!(span(&first.closed[0]), (0, 10_000));
        assert_eq!(span(&first.closed[1]), (10_000, 20_000));
        assert!(first.closed[1].revisions.is_empty());

        let mark = first.mark(None);
        assert!(ledger.read(&scope(), Some(mark), at(25)).closed.is_empty());
        // The machine stood still.
        ledger.close(at(95), some(5));
        let next = ledger.read(&scope(), Some(mark), at(95));
        assert_eq!((numbers(&next), span(&next.closed[0])), (vec![3], (20_000, 95_000)));
        let again = ledger.read(&scope(), Some(mark), at(95));
        assert_eq!(again, next, "reading takes nothing away");
        assert!(ledger.read(&scope(), Some(next.mark(Some(mark))), at(95)).closed.is_empty());

        let other: Scope = "shop/staging".parse().unwrap();
        let of_another = ledger.read(&other, None, at(95));
        assert_eq!(numbers(&of_another), [1, 2, 3]);
        assert!(of_another.closed.iter().all(|bucket| bucket.revisions.is_empty()));
    }

    #[test]
    fn another_run_is_read_from_its_beginning() {
        let now = Instant::now();
        let limits = Limits::default();
        let (former, mut later) = (Ledger::new(now, &limits), Ledger::new(now, &limits));
        assert_ne!(former.run(), later.run());
        later.close(now, some(1));
        let mark = Mark { run: former.run(), number: 500 };
        assert_eq!(numbers(&later.read(&scope(), Some(mark), now)), [1]);
    }

    #[test]
    fn a_run_goes_on_in_another_process() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let limits = Limits::default();
        let mut former = Ledger::new(began, &limits);
        former.close(at(10), some(3));
        let mark = former.read(&scope(), None, at(10)).mark(None);
        former.close(at(14), some(4));
        let mut later = Ledger::go_on(former.hand_on(at(14)), at(14), &limits);
        later.close(at(24), some(5));
        let read = later.read(&scope(), Some(mark), at(25));
        assert_eq!(
            (read.run, read.now.as_millis(), numbers(&read)),
            (former.run(), 25_000, vec![2, 3])
        );
        let span = |bucket: &Bucket| (bucket.from.as_millis(), bucket.to.as_millis());
        assert_eq!(
            (span(&read.closed[0]), span(&read.closed[1])),
            ((10_000, 14_000), (14_000, 24_000))
        );
        assert_eq!(read.closed[0], former.read(&scope(), Some(mark), at(14)).closed[0]);
    }

    #[test]
    fn the_oldest_are_forgotten_and_that_shows() {
        let now = Instant::now();
        let limits = Limits { buckets_kept: 3, ..Limits::default() };
        let mut ledger = Ledger::new(now, &limits);
        for _ in 0..5 {
            ledger.close(now, some(1));
        }
        let mark = Mark { run: ledger.run(), number: 1 };
        assert_eq!(numbers(&ledger.read(&scope(), Some(mark), now)), [3, 4, 5]);

        let limits = Limits { buckets_size: 5, ..Limits::default() };
        let mut ledger = Ledger::new(now, &limits);
        for _ in 0..9 {
            ledger.close(now, some(1));
        }
        assert_eq!(numbers(&ledger.read(&scope(), None, now)), [8, 9], "of size two each");
        let limits = Limits { buckets_size: 0, ..Limits::default() };
        let mut ledger = Ledger::new(now, &limits);
        ledger.close(now, some(1));
        assert_eq!(numbers(&ledger.read(&scope(), None, now)), [1], "the last one always");
    }

    #[test]
    fn a_clock_that_went_back_closes_an_empty_span() {
        let began = Instant::now();
        let mut ledger = Ledger::new(began, &Limits::default());
        ledger.close(began + Duration::from_secs(10), some(1));
        ledger.close(began + Duration::from_secs(9), some(1));
        let last = ledger.read(&scope(), None, began).closed.pop().unwrap();
        assert_eq!((last.from, last.to), (last.to, last.from));
    }
}
