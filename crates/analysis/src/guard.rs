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
pub fn read(guard: &Guard, evidence: &Evidence<'_>, now: Timestamp) -> GuardReading {
    let (verdict, sentence) = match &guard.condition {
        Condition::ErrorRate { above, window, min_requests } => {
            judge_traffic(evidence, *window, now)
                .and_then(|found| judge_error_rate(&found, *above, *window, *min_requests))
        }
        Condition::Latency { quantile, above, window, min_requests } => {
            judge_traffic(evidence, *window, now)
                .and_then(|found| judge_latency(&found, *quantile, *above, *window, *min_requests))
        }
        Condition::HealthCheckFailures { at_least } => {
            let sentence = count(evidence.failed_checks.into(), "failed check") + " in a row";
            Ok(judge_count(evidence.failed_checks, *at_least, &sentence))
        }
        Condition::Restarts { at_least } => {
            let sentence = count(evidence.restarts.into(), "unexpected exit");
            Ok(judge_count(evidence.restarts, *at_least, &sentence))
        }
    }
    .unwrap_or_else(|missing| (Verdict::InsufficientEvidence, missing));
    GuardReading { guard: guard.text.clone(), verdict, evidence: sentence }
}

/// What is missing for a verdict, as a sentence.
type Missing = String;

/// The window's counters, if it can be judged at all.
fn judge_traffic(
    evidence: &Evidence<'_>,
    length: Duration,
    now: Timestamp,
) -> Result<Window, Missing> {
    let since = evidence.since.ok_or_else(|| "the candidate has had no traffic yet".to_owned())?;
    let watched = now.since(since);
    if watched < length {
        return Err(format!("watched for {} of {length}", in_whole_seconds(watched)));
    }
    let window = Window::collect(evidence.samples, length, now);
    if window.covers(length) {
        Ok(window)
    } else {
        let covered = in_whole_seconds(window.covered);
        Err(format!("requests were counted for only {covered} of the last {length}"))
    }
}

fn judge_error_rate(
    window: &Window,
    limit: f64,
    length: Duration,
    min_requests: u64,
) -> Result<(Verdict, String), Missing> {
    let requests = window.counters.requests;
    enough(requests, min_requests, length)?;
    let Some(rate) = error_rate(&window.counters).filter(|_| limit.is_finite()) else {
        return Err(format!("{limit} is not a limit"));
    };
    let is_above = rate - limit > ROUNDING;
    let sentence = format!(
        "{} of {} failed in the last {length} ({} failed); the limit is {}",
        percent_beside(rate, limit, is_above),
        count(requests, "request"),
        window.counters.errors.min(requests),
        percent(limit),
    );
    Ok((verdict(is_above), sentence))
}

fn judge_latency(
    window: &Window,
    quantile: Quantile,
    limit: Duration,
    length: Duration,
    min_requests: u64,
) -> Result<(Verdict, String), Missing> {
    let requests = window.counters.latency.count();
    enough(requests, min_requests, length)?;
    let Some(found) = window.counters.latency.quantile(quantile.fraction()) else {
        return Err(format!("no latencies in the last {length}"));
    };
    let limit = limit.as_millis().saturating_mul(1_000);
    // Latencies are known to within a bucket. In the limit's own bucket nobody can tell on which
    // side they were; only a whole bucket beyond is certainly above.
    let is_above = Histogram::bucket(found) > Histogram::bucket(limit);
    let shown = if is_above { found } else { found.min(limit) };
    let sentence = format!(
        "{quantile} was {} over {} in the last {length}; the limit is {}",
        latency(shown),
        count(requests, "request"),
        latency(limit),
    );
    Ok((verdict(is_above), sentence))
}

/// Even where no minimum is asked for, nothing says nothing.
fn enough(requests: u64, min_requests: u64, length: Duration) -> Result<(), Missing> {
    let needed = min_requests.max(1);
    if requests >= needed {
        return Ok(());
    }
    Err(format!("{requests} of {} in the last {length}", count(needed, "request")))
}

fn judge_count(found: u32, at_least: u32, sentence: &str) -> (Verdict, String) {
    (verdict(found >= at_least), format!("{sentence}; the limit is {at_least}"))
}

fn verdict(is_breached: bool) -> Verdict {
    if is_breached { Verdict::Fail } else { Verdict::Pass }
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
