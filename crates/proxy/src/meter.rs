//! Counting without contention: each worker writes its own shard, a reader adds them up.

use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};

use tidegate_types::{Counters, Histogram};

/// Kept apart so that two workers never write to the same cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard<T>(T);

fn shards<T: Default>(workers: usize) -> Box<[Shard<T>]> {
    (0..workers).map(|_| Shard::default()).collect()
}

#[derive(Debug)]
struct RevisionShard {
    requests: AtomicU64,
    errors: AtomicU64,
    buckets: Box<[AtomicU64]>,
}

impl Default for RevisionShard {
    fn default() -> Self {
        Self {
            requests: AtomicU64::default(),
            errors: AtomicU64::default(),
            buckets: (0..Histogram::BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// What is counted for one revision.
#[derive(Debug)]
pub(crate) struct RevisionMeter {
    shards: Box<[Shard<RevisionShard>]>,
}

impl RevisionMeter {
    pub(crate) fn new(workers: usize) -> Self {
        Self { shards: shards(workers) }
    }

    /// Counts a request that ended.
    pub(crate) fn record(&self, worker: usize, failed: bool, elapsed: Duration) {
        let shard = &self.shards[worker].0;
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        shard.buckets[usize::from(Histogram::bucket(micros))].fetch_add(1, Relaxed);
        shard.requests.fetch_add(1, Relaxed);
        if failed {
            // A reader that sees the error sees the request too.
            shard.errors.fetch_add(1, Release);
        }
    }

    /// What was counted so far.
    pub(crate) fn read(&self) -> Counters {
        let mut counters = Counters::default();
        for Shard(shard) in &self.shards {
            counters.errors += shard.errors.load(Acquire);
            counters.requests += shard.requests.load(Relaxed);
            for (bucket, count) in (0..).zip(&shard.buckets) {
                counters.latency.add(bucket, count.load(Relaxed));
            }
        }
        counters
    }
}

/// A number of things that come and go.
#[derive(Debug)]
pub(crate) struct Gauge {
    shards: Box<[Shard<AtomicU64>]>,
}

impl Gauge {
    pub(crate) fn new(workers: usize) -> Self {
        Self { shards: shards(workers) }
    }

    /// One more.
    pub(crate) fn add(&self, worker: usize) {
        self.shards[worker].0.fetch_add(1, Relaxed);
    }

    /// One less. What was counted before is seen by whoever sees this.
    pub(crate) fn subtract(&self, worker: usize) {
        self.shards[worker].0.fetch_sub(1, Release);
    }

    /// How many there are.
    pub(crate) fn read(&self) -> u64 {
        self.shards.iter().map(|Shard(shard)| shard.load(Acquire)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_up() {
        let meter = RevisionMeter::new(2);
        meter.record(0, false, Duration::from_micros(10));
        meter.record(1, true, Duration::from_micros(10));
        let read = meter.read();
        assert_eq!((read.requests, read.errors, read.latency.count()), (2, 1, 2));
        let gauge = Gauge::new(2);
        gauge.add(0);
        gauge.add(1);
        gauge.subtract(1);
        assert_eq!(gauge.read(), 1);
    }
}
