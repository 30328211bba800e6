//! What a guard says of the candidate at one moment.

use tidegate_types::{
    Condition, Duration, Guard, GuardReading, Histogram, Quantile, Sample, Timestamp, Verdict,
};

use crate::{
    sentence::{count, latency, percent, percent_beside},
    summary::error_rate,
    window::Window,
};

/// Rates are compared with this much room for the rounding of a limit: `0.3%` need not be the same
/// number as three of a thousand. No two rates of fewer than 10^11 requests are this close.
const ROUNDING: f64 = 1e-12;

/// What is known of the candidate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// What it did, in the order of time.
    pub samples: &'a [Sample],
    /// When it first got traffic in this deployment; none when it has had none.
    pub since: Option<Timestamp>,
    /// The largest number of failed checks in a row of one of its instances that was ready before.
    pub failed_checks: u32,
    /// Exits of its instances that nobody asked for.
    pub restarts: u32,
}

/// Judges `guard`.
///
/// A condition on traffic is judged over the trailing window that ends `now`, on whole samples, and
/// only when the candidate had traffic all that time, somebody looked for at least nine tenths of it,
/// and enough requests came. A limit that is met exactly is not breached. Best called right after a
/// sample was taken: the time since the last one is time without evidence.
#[must_use]
pub fn judge(guard: &Guard, evidence: &Evidence<'_>, now: Timestamp) -> Judgement {
    let found = match &guard.condition {
        Condition::ErrorRate { above, window, min_requests } => {
            judge_error_rate(evidence, now, *above, *window, *min_requests)
        }
        Condition::Latency { quantile, above, window, min_requests } => {
            judge_latency(evidence, now, *quantile, *above, *window, *min_requests)
        }
        Condition::HealthCheckFailures { at_least } => {
            Ok(Found::FailedChecks { number: evidence.failed_checks, limit: *at_least })
        }
        Condition::Restarts { at_least } => {
            Ok(Found::Exits { number: evidence.restarts, limit: *at_least })
        }
    };
    Judgement(found)
}

/// Judges `guard` and says so in words.
#[must_use]
pub fn read(guard: &Guard, evidence: &Evidence<'_>, now: Timestamp) -> GuardReading {
    let judgement = judge(guard, evidence, now);
    GuardReading {
        guard: guard.text.clone(),
        verdict: judgement.verdict(),
        evidence: judgement.sentence(),
    }
}

/// What a guard found, as numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement(Result<Found, Missing>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Found {
    ErrorRate { rate: f64, requests: u64, errors: u64, limit: f64, length: Duration },
    Latency { quantile: Quantile, micros: u64, requests: u64, limit: u64, length: Duration },
    FailedChecks { number: u32, limit: u32 },
    Exits { number: u32, limit: u32 },
}

/// What is missing for a verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Missing {
    Traffic,
    Time { watched: Duration, length: Duration },
    Samples { covered: Duration, length: Duration },
    Requests { requests: u64, needed: u64, length: Duration },
    Latencies { length: Duration },
    Limit { limit: f64 },
}

impl Judgement {
    /// What the guard says.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.0 {
            Err(_) => Verdict::InsufficientEvidence,
            Ok(found) if found.is_breach() => Verdict::Fail,
            Ok(_) => Verdict::Pass,
        }
    }

    /// The numbers behind it, for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.0 {
            Ok(found) => found.sentence(),
            Err(missing) => missing.sentence(),
        }
    }
}

impl Found {
    fn is_breach(&self) -> bool {
        match self {
            Self::ErrorRate { rate, limit, .. } => rate - limit > ROUNDING,
            // Latencies are known to within a bucket. In the limit's own bucket nobody can tell on
            // which side they were; only a whole bucket beyond is certainly above.
            Self::Latency { micros, limit, .. } => {
                Histogram::bucket(*micros) > Histogram::bucket(*limit)
            }
            Self::FailedChecks { number, limit } | Self::Exits { number, limit } => number >= limit,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::ErrorRate { rate, requests, errors, limit, length } => format!(
                "{} of {} failed in the last {length} ({errors} failed); the limit is {}",
                percent_beside(*rate, *limit, self.is_breach()),
                count(*requests, "request"),
                percent(*limit),
            ),
            Self::Latency { quantile, micros, requests, limit, length } => {
                let shown = if self.is_breach() { *micros } else { *micros.min(limit) };
                format!(
                    "{quantile} was {} over {} in the last {length}; the limit is {}",
                    latency(shown),
                    count(*requests, "request"),
                    latency(*limit),
                )
            }
            Self::FailedChecks { number, limit } => {
                format!(
                    "{} in a row; the limit is {limit}",
                    count((*number).into(), "failed check")
                )
            }
            Self::Exits { number, limit } => {
                format!("{}; the limit is {limit}", count((*number).into(), "unexpected exit"))
            }
        }
    }
}

impl Missing {
    fn sentence(&self) -> String {
        match self {
            Self::Traffic => "the candidate has had no traffic yet".to_owned(),
            Self::Time { watched, length } => {
                format!("watched for {} of {length}", in_whole_seconds(*watched))
            }
            Self::Samples { covered, length } => {
                let covered = in_whole_seconds(*covered);
                format!("requests were counted for only {covered} of the last {length}")
            }
            Self::Requests { requests, needed, length } => {
                format!("{requests} of {} in the last {length}", count(*needed, "request"))
            }
            Self::Latencies { length } => format!("no latencies in the last {length}"),
            Self::Limit { limit } => format!("{limit} is not a limit"),
        }
    }
}

/// Whether the window can be judged at all.
fn watched(evidence: &Evidence<'_>, length: Duration, now: Timestamp) -> Result<(), Missing> {
    let since = evidence.since.ok_or(Missing::Traffic)?;
    let watched = now.since(since);
    if watched < length { Err(Missing::Time { watched, length }) } else { Ok(()) }
}

fn covered(window: &Window, length: Duration) -> Result<(), Missing> {
    if window.covers(length) {
        Ok(())
    } else {
        Err(Missing::Samples { covered: window.covered, length })
    }
}

fn judge_error_rate(
    evidence: &Evidence<'_>,
    now: Timestamp,
    limit: f64,
    length: Duration,
    min_requests: u64,
) -> Result<Found, Missing> {
    watched(evidence, length, now)?;
    let window = Window::collect(evidence.samples, length, now, |_| {});
    covered(&window, length)?;
    let requests = window.requests;
    enough(requests, min_requests, length)?;
    let rate = error_rate(requests, window.errors).filter(|_| limit.is_finite());
    let rate = rate.ok_or(Missing::Limit { limit })?;
    Ok(Found::ErrorRate { rate, requests, errors: window.errors.min(requests), limit, length })
}

fn judge_latency(
    evidence: &Evidence<'_>,
    now: Timestamp,
    quantile: Quantile,
    limit: Duration,
    length: Duration,
    min_requests: u64,
) -> Result<Found, Missing> {
    watched(evidence, length, now)?;
    let mut latencies = Histogram::default();
    let window = Window::collect(evidence.samples, length, now, |counters| {
        latencies.merge(&counters.latency);
    });
    covered(&window, length)?;
    let requests = latencies.count();
    enough(requests, min_requests, length)?;
    let micros = latencies.quantile(quantile.fraction()).ok_or(Missing::Latencies { length })?;
    let limit = limit.as_millis().saturating_mul(1_000);
    Ok(Found::Latency { quantile, micros, requests, limit, length })
}

/// Even where no minimum is asked for, nothing says nothing.
fn enough(requests: u64, min_requests: u64, length: Duration) -> Result<(), Missing> {
    let needed = min_requests.max(1);
    if requests >= needed { Ok(()) } else { Err(Missing::Requests { requests, needed, length }) }
}

/// Milliseconds are for machines, unless there is nothing else.
fn in_whole_seconds(time: Duration) -> Duration {
    Duration::from_millis(match time.as_millis() {
        millis @ 0..1_000 => millis,
        millis => millis / 1_000 * 1_000,
    })
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
