use proptest::prelude::*;
use tidegate_types::Counters;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// So many milliseconds before now.
fn ago(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - millis)
}

fn sample(from: i64, to: i64, requests: u64, errors: u64, micros: u64) -> Sample {
    let mut latency = Histogram::default();
    latency.add(Histogram::bucket(micros), requests);
    Sample {
        from: ago(from),
        to: ago(to),
        counters: Counters { latency, ..Counters::answered(requests, errors) },
    }
}

fn error_rate_above(above: f64) -> Guard {
    Guard {
        text: "error_rate > 5% for 5s".to_owned(),
        condition: Condition::ErrorRate { above, window: Duration::from_secs(5), min_requests: 50 },
    }
}

fn p95_above(limit: Duration) -> Guard {
    Guard {
        text: "p95 > 500ms for 30s".to_owned(),
        condition: Condition::Latency {
            quantile: Quantile::P95,
            above: limit,
            window: Duration::from_secs(30),
            min_requests: 50,
        },
    }
}

fn since(millis: i64, samples: &[Sample]) -> Evidence<'_> {
    Evidence { samples, since: Some(ago(millis)), ..Evidence::default() }
}

fn told(guard: &Guard, evidence: &Evidence<'_>) -> (Verdict, String) {
    let reading = read(guard, evidence, NOW);
    assert_eq!(reading.guard, guard.text);
    (reading.verdict, reading.evidence)
}

fn says(verdict: Verdict, sentence: &str) -> (Verdict, String) {
    (verdict, sentence.to_owned())
}

use Verdict::{Fail, InsufficientEvidence, Pass};

#[test]
fn error_rates_are_judged() {
    for (requests, errors, expected) in [
        (
            310,
            25,
            says(Fail, "8.1% of 310 requests failed in the last 5s (25 failed); the limit is 5%"),
        ),
        (
            100,
            5,
            says(Pass, "5% of 100 requests failed in the last 5s (5 failed); the limit is 5%"),
        ),
        (
            100,
            6,
            says(Fail, "6% of 100 requests failed in the last 5s (6 failed); the limit is 5%"),
        ),
        (
            100_000,
            5_001,
            says(
                Fail,
                "5.001% of 100000 requests failed in the last 5s (5001 failed); the limit is 5%",
            ),
        ),
        (50, 0, says(Pass, "0% of 50 requests failed in the last 5s (0 failed); the limit is 5%")),
        (49, 49, says(InsufficientEvidence, "49 of 50 requests in the last 5s")),
    ] {
        let samples = [sample(5_000, 0, requests, errors, 1)];
        assert_eq!(told(&error_rate_above(0.05), &since(5_000, &samples)), expected);
    }
}

#[test]
fn a_rate_at_its_limit_is_not_above_however_the_limit_was_computed() {
    for tenths_of_percent in 1_u32..1_000 {
        let samples = [sample(5_000, 0, 1_000, tenths_of_percent.into(), 1)];
        for limit in [
            f64::from(tenths_of_percent) / 1_000.0,
            f64::from(tenths_of_percent) / 10.0 / 100.0,
            f64::from(tenths_of_percent) * 0.001,
        ] {
            let (verdict, sentence) = told(&error_rate_above(limit), &since(5_000, &samples));
            assert_eq!(verdict, Pass, "{sentence}");
        }
        let just_below = f64::from(tenths_of_percent) / 1_000.0 - 1e-9;
        let (verdict, sentence) = told(&error_rate_above(just_below), &since(5_000, &samples));
        assert_eq!(verdict, Fail, "{sentence}");
    }
}

#[test]
fn the_room_for_rounding_hides_no_failed_request_of_as_many_as_there_are() {
    for (requests, expected) in [(100_000_000_000, Fail), (1_000_000_000_000, Pass)] {
        let samples = [sample(5_000, 0, requests, 1, 1)];
        let (verdict, _) = told(&error_rate_above(0.0), &since(5_000, &samples));
        assert_eq!(verdict, expected, "one of {requests}");
    }
}

#[test]
fn latencies_are_judged() {
    let limit = Duration::from_millis(500);
    for (micros, expected) in [
        (
            800_000,
            says(Fail, "p95 was 799ms over 310 requests in the last 30s; the limit is 500ms"),
        ),
        (
            500_000,
            says(Pass, "p95 was 500ms over 310 requests in the last 30s; the limit is 500ms"),
        ),
        (4_000, says(Pass, "p95 was 4ms over 310 requests in the last 30s; the limit is 500ms")),
    ] {
        let samples = [sample(30_000, 0, 310, 0, micros)];
        assert_eq!(told(&p95_above(limit), &since(30_000, &samples)), expected);
    }
}

#[test]
fn one_slow_request_in_twenty_is_not_the_95th_percentile() {
    let fast_and_slow = |slow| {
        [sample(30_000, 15_000, 100 - slow, 0, 1_000), sample(15_000, 0, slow, 0, 3_000_000)]
    };
    let guard = p95_above(Duration::from_secs(1));
    assert_eq!(told(&guard, &since(30_000, &fast_and_slow(5))).0, Pass);
    assert_eq!(told(&guard, &since(30_000, &fast_and_slow(6))).0, Fail);
}

#[test]
fn too_little_is_never_a_pass_and_says_what_is_missing() {
    let good = [sample(5_000, 0, 1_000, 0, 1)];
    let bad = [sample(5_000, 0, 1_000, 1_000, 1)];
    let guard = error_rate_above(0.05);
    for samples in [&good, &bad] {
        let no_traffic = Evidence { samples, ..Evidence::default() };
        assert_eq!(
            told(&guard, &no_traffic),
            says(InsufficientEvidence, "the candidate has had no traffic yet")
        );
        assert_eq!(
            told(&guard, &since(4_999, samples)),
            says(InsufficientEvidence, "watched for 4s of 5s")
        );
        assert_eq!(
            told(&guard, &since(400, samples)),
            says(InsufficientEvidence, "watched for 400ms of 5s")
        );
        assert_eq!(
            told(&guard, &since(-60_000, samples)),
            says(InsufficientEvidence, "watched for 0s of 5s"),
            "the clock went back"
        );
    }
    assert_eq!(
        told(&guard, &since(5_000, &[])),
        says(InsufficientEvidence, "requests were counted for only 0s of the last 5s")
    );
    let gap = [sample(5_000, 4_000, 500, 0, 1), sample(3_400, 0, 500, 0, 1)];
    assert_eq!(
        told(&guard, &since(5_000, &gap)),
        says(InsufficientEvidence, "requests were counted for only 4s of the last 5s")
    );
    let small_gap = [sample(5_000, 4_000, 500, 0, 1), sample(3_500, 0, 500, 0, 1)];
    assert_eq!(told(&guard, &since(5_000, &small_gap)).0, Pass);
    assert_eq!(
        told(&error_rate_above(f64::NAN), &since(5_000, &good)),
        says(InsufficientEvidence, "NaN is not a limit")
    );
}

#[test]
fn without_a_minimum_one_request_is_needed_all_the_same() {
    let mut guard = error_rate_above(0.05);
    if let Condition::ErrorRate { min_requests, .. } = &mut guard.condition {
        *min_requests = 0;
    }
    let none = [sample(5_000, 0, 0, 0, 1)];
    assert_eq!(
        told(&guard, &since(5_000, &none)),
        says(InsufficientEvidence, "0 of 1 request in the last 5s")
    );
}

#[test]
fn what_is_older_than_the_window_does_not_count() {
    let samples = [sample(20_000, 5_000, 1_000, 1_000, 1), sample(5_000, 0, 1_000, 0, 1)];
    let (verdict, _) = told(&error_rate_above(0.05), &since(20_000, &samples));
    assert_eq!(verdict, Pass);
}

#[test]
fn counts_breach_at_their_number() {
    let checks = Guard {
        text: "health_check_failures >= 3".to_owned(),
        condition: Condition::HealthCheckFailures { at_least: 3 },
    };
    let exits =
        Guard { text: "restarts >= 1".to_owned(), condition: Condition::Restarts { at_least: 1 } };
    let evidence =
        |failed_checks, restarts| Evidence { failed_checks, restarts, ..Evidence::default() };
    assert_eq!(
        told(&checks, &evidence(2, 9)),
        says(Pass, "2 failed checks in a row; the limit is 3")
    );
    assert_eq!(
        told(&checks, &evidence(3, 0)),
        says(Fail, "3 failed checks in a row; the limit is 3")
    );
    assert_eq!(told(&exits, &evidence(9, 0)), says(Pass, "0 unexpected exits; the limit is 1"));
    assert_eq!(told(&exits, &evidence(0, 1)), says(Fail, "1 unexpected exit; the limit is 1"));
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>(), -9_i64..9]
        .prop_map(Timestamp::from_millis)
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(u64::MAX), Just(0), any::<u64>(), 0_u64..100]
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let buckets = prop::collection::vec((any::<u16>(), any_number()), 0..4);
    (any_time(), any_time(), any_number(), any_number(), buckets).prop_map(
        |(from, to, requests, errors, buckets)| {
            let mut latency = Histogram::default();
            for (bucket, count) in buckets {
                latency.add(bucket, count);
            }
            Sample {
                from,
                to,
                counters: Counters { latency, ..Counters::answered(requests, errors) },
            }
        },
    )
}

fn any_guard() -> impl Strategy<Value = Guard> {
    let duration = || any_number().prop_map(Duration::from_millis);
    let quantile = prop_oneof![Just(Quantile::P50), Just(Quantile::P95), Just(Quantile::P99)];
    let condition = prop_oneof![
        (any::<f64>(), duration(), any_number()).prop_map(|(above, window, min_requests)| {
            Condition::ErrorRate { above, window, min_requests }
        }),
        (quantile, duration(), duration(), any_number()).prop_map(
            |(quantile, above, window, min_requests)| Condition::Latency {
                quantile,
                above,
                window,
                min_requests,
            }
        ),
        any::<u32>().prop_map(|at_least| Condition::HealthCheckFailures { at_least }),
        any::<u32>().prop_map(|at_least| Condition::Restarts { at_least }),
    ];
    condition.prop_map(|condition| Guard { text: "any".to_owned(), condition })
}

/// Twenty looks, a quarter of a second apart, at a candidate with traffic.
fn five_seconds() -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec((0_u64..20, 0_u64..4, 0_u64..2_000_000), 20).prop_map(|looks| {
        let ends = (0..20_i64).rev().map(|look| look * 250);
        ends.zip(looks)
            .map(|(to, (requests, errors, micros))| {
                sample(to + 250, to, requests, errors.min(requests), micros)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn no_numbers_make_it_panic(
        guard in any_guard(),
        samples in prop::collection::vec(any_sample(), 0..5),
        since in prop::option::of(any_time()),
        now in any_time(),
        failed_checks in any::<u32>(),
        restarts in any::<u32>(),
    ) {
        let evidence = Evidence { samples: &samples, since, failed_checks, restarts };
        let reading = read(&guard, &evidence, now);
        prop_assert!(!reading.evidence.is_empty());
        let _ = crate::summary(&samples);
    }

    #[test]
    fn how_often_somebody_looked_does_not_matter(
        samples in five_seconds(),
        joints in prop::collection::vec(any::<bool>(), 20),
        limit in 0_u32..30,
        millis in 1_u64..2_000,
    ) {
        let mut merged: Vec<Sample> = Vec::new();
        for (sample, joint) in samples.iter().zip(joints) {
            match merged.last_mut() {
                Some(last) if joint => {
                    last.to = sample.to;
                    last.counters.merge(&sample.counters);
                }
                _ => merged.push(sample.clone()),
            }
        }
        let mut latency = p95_above(Duration::from_millis(millis));
        if let Condition::Latency { window, .. } = &mut latency.condition {
            *window = Duration::from_secs(5);
        }
        for guard in [error_rate_above(f64::from(limit) / 100.0), latency] {
            prop_assert_eq!(
                told(&guard, &since(5_000, &merged)),
                told(&guard, &since(5_000, &samples))
            );
        }
    }

    #[test]
    fn it_does_not_matter_which_look_saw_what(
        samples in five_seconds().prop_flat_map(|samples| {
            let counters: Vec<_> = samples.iter().map(|sample| sample.counters.clone()).collect();
            (Just(samples), Just(counters).prop_shuffle())
        }),
        limit in 0_u32..30,
    ) {
        let (samples, counters) = samples;
        let shuffled: Vec<_> = samples
            .iter()
            .zip(counters)
            .map(|(sample, counters)| Sample { counters, ..sample.clone() })
            .collect();
        let guard = error_rate_above(f64::from(limit) / 100.0);
        prop_assert_eq!(
            told(&guard, &since(5_000, &shuffled)),
            told(&guard, &since(5_000, &samples))
        );
    }

    #[test]
    fn more_errors_never_turn_a_fail_into_a_pass(
        requests in 50_u64..100_000,
        errors in 0_u64..100_000,
        more in 0_u64..100_000,
        limit in 0_u32..10_000,
    ) {
        let guard = error_rate_above(f64::from(limit) / 10_000.0);
        let verdict = |errors: u64| {
            let samples = [sample(5_000, 0, requests, errors.min(requests), 1)];
            told(&guard, &since(5_000, &samples)).0
        };
        prop_assert!(verdict(errors) == Pass || verdict(errors.saturating_add(more)) == Fail);
    }
}
