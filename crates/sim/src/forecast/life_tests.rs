use super::*;
use crate::forecast::{
    FaultForecast, Forecast, Question, change::changes, forecast, hints, work::seed,
};

const STRATEGY: &str = "canary: { steps: [10%, 100%], bake: 1m }";
const GUARD: &str = "error_rate > 30% for 10s";

/// One component with two instances, a strategy and a guard.
pub(in crate::forecast) fn manifest(strategy: &str, guard: &str) -> String {
    format!(
        "project: shop
components:
  api: {{ command: ./api, port: auto, route: /, replicas: 2 }}
environments:
  production:
    strategy: {{ {strategy} }}
    rollback: {{ when: [{guard}] }}
"
    )
}

pub(in crate::forecast) fn question(manifest: &str) -> Question {
    let read = tidegate_manifest::read(manifest, "tidegate.yaml");
    Question {
        manifest: read.unwrap_or_else(|problems| panic!("{}", problems.render(false))).manifest,
        environment: "production".parse().expect("a name"),
        component: None,
        rate: "100/s".parse().expect("a rate"),
        errors: 0.001,
        p95: Duration::from_millis(200),
        runs: 40,
        seed: 1,
        faults: Vec::new(),
    }
}

fn ask(question: &Question) -> Forecast {
    forecast(question).expect("a forecast")
}

#[track_caller]
fn of(forecast: &Forecast, fault: Fault) -> &FaultForecast {
    let found = forecast.faults.iter().find(|found| found.fault == fault);
    found.unwrap_or_else(|| panic!("{fault} was not run"))
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance * expected, "{found} is not near {expected}");
}

#[test]
fn what_can_be_computed_by_hand_comes_out() {
    let found = ask(&question(&manifest(STRATEGY, GUARD)));
    let half = of(&found, Fault::Errors50);
    assert_eq!(half.outcomes.rolled_back, 40, "{half:?}");
    // Ready after 300 ms, then the whole window, and then the next look.
    let decided = half.decision_ms.expect("it was decided");
    assert!((10_300..=10_300 + 500).contains(&decided.median), "{decided:?}");
    assert_eq!(decided.median, decided.p95);
    // A tenth of 100 requests a second, half of them, for the window and half a look.
    near(half.during.harmed, 100.0 * 0.1 * 0.5 * 10.25, 0.05);
    near(half.during.requests, 100.0 * 10.55, 0.03);
    assert_eq!(half.harmed_per_hour_after, None);
    assert_eq!(half.decided_by.len(), 1, "{:?}", half.decided_by);

    let healthy = of(&found, Fault::Healthy);
    assert_eq!(healthy.outcomes.succeeded, 40, "{healthy:?}");
    assert_eq!(healthy.decision_ms, None);
    // Nothing but failures that are usual: none is the new version's.
    near(healthy.during.harmed + 1.0, 1.0, 1e-9);
    // Two bakes of a minute, and instances that start twice.
    let took = healthy.duration_ms.expect("it ended").median;
    assert!((120_600..=122_000).contains(&took), "{took}");

    // Eight percent is below the limit: it gets through and goes on.
    let eight = of(&found, Fault::Errors8);
    assert_eq!(eight.outcomes.succeeded, 40, "{eight:?}");
    near(eight.during.harmed, 100.0 * 0.08 * (0.1 * 60.0 + 60.0), 0.05);
    near(eight.harmed_per_hour_after.expect("it goes on"), 100.0 * 3_600.0 * 0.08, 0.02);
    // Every request is slow, and no guard looks.
    let slow = of(&found, Fault::P95Doubled);
    near(slow.harmed_per_hour_after.expect("it goes on"), 360_000.0, 0.01);
}

#[test]
fn what_fails_anyway_is_no_harm_of_the_new_version() {
    let mut question = question(&manifest(STRATEGY, "error_rate > 60% for 10s"));
    question.errors = 0.1;
    question.faults = vec![Fault::Errors8];
    let found = ask(&question);
    let eight = of(&found, Fault::Errors8);
    // Eight percent of the nine tenths that would have been well.
    near(eight.harmed_per_hour_after.expect("it goes on"), 360_000.0 * 0.9 * 0.08, 0.03);
    near(eight.during.harmed, 100.0 * 0.9 * 0.08 * (0.1 * 60.0 + 60.0), 0.1);
}

#[test]
fn faults_of_instances_are_told_by_the_guards_that_always_hold() {
    let found = ask(&question(&manifest(STRATEGY, GUARD)));
    let crashing = of(&found, Fault::CrashLoop);
    assert_eq!(crashing.outcomes.rolled_back, 40, "{crashing:?}");
    // Three lives of 2.3 s with pauses of 100 and 200 ms between them.
    assert_eq!(crashing.decision_ms.expect("it was decided").median, 7_200);
    let never = of(&found, Fault::NeverReady);
    assert_eq!(never.outcomes.failed, 40, "{never:?}");
    near(never.during.harmed + 1.0, 1.0, 1e-9);
    // Nobody watches for twenty minutes; in the hour after it shows.
    let leak = of(&found, Fault::Leak20m);
    assert_eq!(leak.outcomes.succeeded, 40, "{leak:?}");
    assert!(leak.harmed_per_hour_after.expect("it goes on") > 1_000.0, "{leak:?}");
}

#[test]
fn an_incident_of_all_is_no_harm_of_the_new_version_and_brings_a_wrong_way_back() {
    let found = ask(&question(&manifest(STRATEGY, "error_rate > 15% for 10s")));
    let incident = of(&found, Fault::IncidentBoth);
    assert!(incident.went_back > 0.5, "{incident:?}");
    assert!(!incident.should_go_back);
    near(incident.during.harmed + 1.0, 1.0, 1e-9);
}

#[test]
fn without_enough_requests_it_is_held_and_that_is_not_caught() {
    let mut question = question(&manifest(STRATEGY, GUARD));
    question.rate = "6/m".parse().expect("a rate");
    let found = ask(&question);
    for fault in [Fault::Errors50, Fault::Healthy] {
        let held = of(&found, fault);
        assert_eq!((held.outcomes.held, held.went_back), (40, 0.0), "{held:?}");
        assert_eq!(held.duration_ms, None);
    }
    let hints = hints(&question, &found).expect("hints");
    assert_eq!(hints[0].fault, Fault::Healthy);
}

#[test]
fn a_plan_that_stops_the_old_first_loses_requests_even_when_all_is_well() {
    let found = ask(&question(&manifest("recreate: { bake: 20s }", GUARD)));
    let healthy = of(&found, Fault::Healthy);
    assert_eq!(healthy.outcomes.succeeded, 40, "{healthy:?}");
    // 200 ms to stop, 300 ms to start.
    near(healthy.during.harmed, 100.0 * 0.5, 0.1);
}

#[test]
fn the_same_seed_gives_the_same_and_another_does_not() {
    let mut question = question(&manifest(STRATEGY, "error_rate > 7% for 10s"));
    question.faults = vec![Fault::Errors8];
    question.runs = 20;
    let first = ask(&question);
    assert_eq!(first, ask(&question));
    question.seed = 2;
    let other = ask(&question);
    assert_ne!(of(&first, Fault::Errors8).during, of(&other, Fault::Errors8).during);
    assert_eq!(first.faults.len(), 2, "healthy is always run");
}

/// The state machine is not asked where its answer is known. Asked at every look it says the same.
#[test]
fn leaving_questions_out_changes_nothing() {
    for (strategy, guard, rate) in [
        (STRATEGY, "error_rate > 7% for 10s, p95 > 300ms for 15s", "100/s"),
        ("rolling: { bake: 30s }", "error_rate > 7% for 10s", "100/s"),
        ("recreate: { bake: 30s }", "error_rate > 7% for 10s", "30/s"),
        ("blue_green: { canary: 10%, bake: 20s }", "error_rate > 7% for 10s", "2/s"),
    ] {
        let mut question = question(&manifest(strategy, guard));
        question.rate = rate.parse().expect("a rate");
        let subject = Subject::new(&question).expect("a plan");
        for fault in Fault::ALL {
            for number in 0..3 {
                let seed = seed(1, fault, number);
                let quick = run(&subject, fault, seed);
                let thorough = watch(&subject, fault, seed, true);
                assert_eq!(quick, thorough, "{strategy}, {fault}, run {number}");
            }
        }
    }
}

/// A plan of hours is looked at less often. That moves a decision by a look, and no more.
#[test]
fn coarse_looks_find_what_fine_ones_find() {
    let strategy = "canary: { steps: [10%, 100%], bake: 20m }";
    let mut question = question(&manifest(strategy, "error_rate > 5% for 2m, restarts >= 5"));
    question.runs = 12;
    let mut subject = Subject::new(&question).expect("a plan");
    assert_eq!(subject.pace.every, Some(5_000));
    let faults = [Fault::Errors8, Fault::Errors2, Fault::Leak20m, Fault::CrashLoop];
    let coarse = crate::forecast::work::simulate(&subject, &faults, 12);
    subject.pace.every = Some(FINEST);
    let fine = crate::forecast::work::simulate(&subject, &faults, 12);
    for (coarse, fine) in coarse.iter().zip(&fine) {
        assert_eq!(coarse.outcomes, fine.outcomes, "{}", coarse.fault);
        if let (Some(coarse), Some(fine)) = (coarse.decision_ms, fine.decision_ms) {
            assert!(coarse.median.abs_diff(fine.median) <= 10_000, "{coarse:?} {fine:?}");
        }
    }
}

#[test]
fn a_fault_that_cannot_show_is_not_run_and_refused_when_asked_for() {
    let manifest = "project: shop
components:
  job: { command: ./job }
  web: { path: web, static: {} }
environments:
  production: {}
";
    let mut question = question(manifest);
    let names = |question: &Question| {
        let found = ask(question);
        found.faults.iter().map(|found| found.fault.name()).collect::<Vec<_>>().join(" ")
    };
    question.runs = 1;
    // The first that takes requests.
    let site = "errors-50% errors-8% errors-2% p95-doubled incident-both healthy";
    assert_eq!(names(&question), site);
    question.component = Some("job".parse().expect("a name"));
    assert_eq!(names(&question), "crash-loop never-ready leak-20m healthy");
    question.faults = vec![Fault::Errors8];
    assert!(matches!(forecast(&question), Err(crate::forecast::Error::NoSuchFault { .. })));
    question.component = Some("jib".parse().expect("a name"));
    let error = forecast(&question).expect_err("there is none").to_string();
    assert_eq!(error, "there is no component `jib`; there are job, web");
}

#[test]
fn a_hint_is_a_change_that_was_tried_and_would_pass_the_check() {
    let mut question = question(&manifest(STRATEGY, "error_rate > 5% for 30s"));
    question.faults = vec![Fault::Errors2];
    let found = ask(&question);
    assert!(of(&found, Fault::Errors2).went_back < 0.1);
    let hints = hints(&question, &found).expect("hints");
    let [hint] = hints.as_slice() else { panic!("{hints:?}") };
    let change = hint.change.as_ref().expect("something helps");
    assert!(change.right > 0.9 && change.healthy_after > 0.98, "{change:?}");
    assert!(change.what.starts_with("`error_rate > 2% for 30s`"), "{change:?}");
}

/// What a hint names is what a user can write: each guard of each change is read back as it is.
#[test]
fn changed_manifests_are_ones_that_can_be_written() {
    let asked = question(&manifest(STRATEGY, "error_rate > 5% for 30s, p95 > 1s for 30s"));
    let mut number = 0;
    for fault in Fault::ALL {
        for change in changes(&asked, fault).expect("changes") {
            let environment = &change.manifest.environments[0];
            assert!(change.manifest != asked.manifest, "{}", change.what);
            for guard in &environment.rollback.when {
                let written = manifest("canary: { steps: [10%, 100%], bake: 24h }", &guard.text);
                let read = question(&written).manifest;
                let read = &read.environments[0].rollback.when;
                let same = read.iter().any(|read| {
                    read.text == guard.text && read.condition.window() == guard.condition.window()
                });
                assert!(same, "{}: {}", change.what, guard.text);
                number += 1;
            }
        }
    }
    assert!(number > 20, "{number}");
}
