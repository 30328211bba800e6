//! Counting without contention: each worker writes its own shard, a reader adds them up.
//!
//! A shard has one writer, so that a count is a plain read and a plain write: no instruction that
//! locks, no line of the cache that two workers write to. What a worker has never counted has no
//! shard, and of a histogram only the powers of two that were met are there, so that ten thousand
//! revisions that nobody asks cost next to nothing.

use std::{
    sync::{
        OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use tidegate_types::{Counters, Histogram, Outcome, Unanswered};

/// Kept apart so that two workers never write to the same cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard<T>(T);

/// One shard for each worker, made when it is first written.
#[derive(Debug)]
struct Shards<T>(Box<[OnceLock<Box<Shard<T>>>]>);

impl<T: Default> Shards<T> {
    fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    fn of(&self, worker: usize) -> &T {
        &self.0[worker].get_or_init(Box::default).0
    }

    fn written(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get).map(|shard| &shard.0)
    }
}

/// A count that only one worker writes to.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Whoever reads this sees all that was counted before it.
    fn subtract_last(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Release);
    }

    fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn read_first(&self) -> u64 {
        self.0.load(Acquire)
    }
}

type Octave = [Count; Histogram::BUCKETS_IN_OCTAVE];

/// A histogram that one worker writes.
#[derive(Debug, Default)]
struct Latencies {
    octaves: [OnceLock<Box<Octave>>; Histogram::BUCKETS / Histogram::BUCKETS_IN_OCTAVE],
}

impl Latencies {
    fn record(&self, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bucket = usize::from(Histogram::bucket(micros));
        let octave = &self.octaves[bucket / Histogram::BUCKETS_IN_OCTAVE];
        let counts = octave.get_or_init(|| Box::new([const { Count(AtomicU64::new(0)) }; _]));
        counts[bucket % Histogram::BUCKETS_IN_OCTAVE].add(1);
    }

    fn add_to(&self, histogram: &mut Histogram) {
        for (first, octave) in (0..).step_by(Histogram::BUCKETS_IN_OCTAVE).zip(&self.octaves) {
            let Some(counts) = octave.get() else {
                continue;
            };
            for (bucket, count) in (first..).zip(counts.iter()) {
                histogram.add(bucket, count.read());
            }
        }
    }
}

#[derive(Debug, Default)]
struct RevisionShard {
    in_flight: Count,
    ended: [Count; Outcome::ALL.len()],
    received: Count,
    sent: Count,
    latency: Latencies,
    first_byte: Latencies,
}

/// A request that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// From its head to the end of its answer.
    pub(crate) elapsed: Duration,
    /// From its head to the head of its answer.
    pub(crate) first_byte: Option<Duration>,
    /// Bytes of its body.
    pub(crate) received: u64,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
}

/// What is counted for one revision.
#[derive(Debug)]
pub(crate) struct RevisionMeter {
    shards: Shards<RevisionShard>,
}

impl RevisionMeter {
    pub(crate) fn new(workers: usize) -> Self {
        Self { shards: Shards::new(workers) }
    }

    /// A request begins.
    pub(crate) fn begin(&self, worker: usize) {
        self.shards.of(worker).in_flight.add(1);
    }

    /// A request that began is no longer under way.
    pub(crate) fn end(&self, worker: usize) {
        self.shards.of(worker).in_flight.subtract_last();
    }

    /// Counts a request that ended.
    pub(crate) fn record(&self, worker: usize, ended: &Ended) {
        let shard = self.shards.of(worker);
        shard.ended[ended.outcome as usize].add(1);
        shard.latency.record(ended.elapsed);
        if let Some(first_byte) = ended.first_byte {
            shard.first_byte.record(first_byte);
        }
        shard.received.add(ended.received);
        shard.sent.add(ended.sent);
    }

    /// Counts what was carried both ways after a request was counted.
    pub(crate) fn carried(&self, worker: usize, received: u64, sent: u64) {
        let shard = self.shards.of(worker);
        shard.received.add(received);
        shard.sent.add(sent);
    }

    /// How many requests are under way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.shards.written().map(|shard| shard.in_flight.read_first()).sum()
    }

    /// What was counted so far.
    pub(crate) fn read(&self) -> Counters {
        let mut counters = Counters::default();
        for shard in self.shards.written() {
            for (outcome, count) in Outcome::ALL.into_iter().zip(&shard.ended) {
                counters.ended.add(outcome, count.read());
            }
            counters.received += shard.received.read();
            counters.sent += shard.sent.read();
            shard.latency.add_to(&mut counters.latency);
            shard.first_byte.add_to(&mut counters.first_byte);
        }
        counters
    }
}

/// Why no revision answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAnswered {
    NoRoute,
    NoSuchRevision,
    NobodyReady,
    Overloaded,
    Maintenance,
    Malformed,
}

/// Requests that no revision answered.
#[derive(Debug)]
pub(crate) struct UnansweredMeter {
    shards: Shards<[Count; 6]>,
}

impl UnansweredMeter {
    pub(crate) fn new(workers: usize) -> Self {
        Self { shards: Shards::new(workers) }
    }

    /// One more.
    pub(crate) fn add(&self, worker: usize, why: NotAnswered) {
        self.shards.of(worker)[why as usize].add(1);
    }

    /// What was counted so far.
    pub(crate) fn read(&self) -> Unanswered {
        let mut all = Unanswered::default();
        for shard in self.shards.written() {
            let of = |why: NotAnswered| shard[why as usize].read();
            all.merge(&Unanswered {
                no_route: of(NotAnswered::NoRoute),
                no_such_revision: of(NotAnswered::NoSuchRevision),
                nobody_ready: of(NotAnswered::NobodyReady),
                overloaded: of(NotAnswered::Overloaded),
                maintenance: of(NotAnswered::Maintenance),
                malformed: of(NotAnswered::Malformed),
            });
        }
        all
    }
}

/// A number of things that come and go.
#[derive(Debug)]
pub(crate) struct Gauge {
    shards: Shards<Count>,
}

impl Gauge {
    pub(crate) fn new(workers: usize) -> Self {
        Self { shards: Shards::new(workers) }
    }

    /// One more.
    pub(crate) fn add(&self, worker: usize) {
        self.shards.of(worker).add(1);
    }

    /// One less. What was counted before is seen by whoever sees this.
    pub(crate) fn subtract(&self, worker: usize) {
        self.shards.of(worker).subtract_last();
    }

    /// How many there are.
    pub(crate) fn read(&self) -> u64 {
        self.shards.written().map(Count::read_first).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended(outcome: Outcome, micros: u64) -> Ended {
        Ended {
            outcome,
            elapsed: Duration::from_micros(micros),
            first_byte: None,
            received: 0,
            sent: 0,
        }
    }

    #[test]
    fn shards_are_added_up() {
        let meter = RevisionMeter::new(2);
        meter.record(0, &ended(Outcome::Success, 10));
        let first_byte = Some(Duration::from_micros(3));
        let last = Ended { first_byte, received: 5, sent: 7, ..ended(Outcome::EndpointReset, 10) };
        meter.record(1, &last);
        meter.carried(0, 100, 200);
        let read = meter.read();
        assert_eq!((read.requests(), read.errors(), read.latency.count()), (2, 1, 2));
        assert_eq!((read.first_byte.quantile(1.0), read.first_byte.count()), (Some(3), 1));
        assert_eq!((read.received, read.sent), (105, 207));
        meter.begin(0);
        meter.begin(1);
        meter.end(0);
        assert_eq!(meter.in_flight(), 1);

        let gauge = Gauge::new(2);
        gauge.add(0);
        gauge.add(1);
        gauge.subtract(1);
        assert_eq!(gauge.read(), 1);

        let unanswered = UnansweredMeter::new(2);
        unanswered.add(0, NotAnswered::NoRoute);
        unanswered.add(1, NotAnswered::Malformed);
        unanswered.add(1, NotAnswered::NobodyReady);
        let read = unanswered.read();
        assert_eq!((read.total(), read.malformed, read.no_such_revision), (2, 1, 0));
    }

    #[test]
    fn what_was_never_counted_takes_no_room() {
        let meter = RevisionMeter::new(64);
        meter.record(3, &ended(Outcome::Success, 500));
        assert_eq!(meter.shards.written().count(), 1);
        let shard = meter.shards.of(3);
        let there = |latencies: &Latencies| {
            latencies.octaves.iter().filter(|octave| octave.get().is_some()).count()
        };
        assert_eq!((there(&shard.latency), there(&shard.first_byte)), (1, 0));
    }

    proptest! {
        #[test]
        fn workers_count_what_a_histogram_counts(
            latencies in proptest::collection::vec((0_usize..3, 0_u32..40, any::<u64>()), 0..200),
        ) {
            let meter = RevisionMeter::new(3);
            let mut histogram = Histogram::default();
            for (worker, octave, number) in latencies {
                let micros = number & ((2 << octave) - 1);
                meter.record(worker, &ended(Outcome::Success, micros));
                histogram.record(micros);
            }
            prop_assert_eq!(meter.read().latency, histogram);
        }
    }
}
