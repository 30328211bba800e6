//! Nobody answered: it happened or it did not.

use tidegate_targets::Effect;
use tidegate_types::{Duration, Epoch, WantedRevision, Workload};

use super::{
    Harness,
    world::{
        answers_come_from, apply, dropped_after, facts, forgotten, good, observe, ready, route,
        stays, table, until,
    },
};

/// The error says that it is unknown and that trying again may help; looking never waits; and in
/// the end what is told is what is so.
pub async fn an_unanswered_table_may_be_in_force(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 1), good(harness, "api@2", 1)];
    apply(harness, 1, &list).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    let address = route(harness, 1, &[("api@1", 100), ("api@2", 0)]).await;
    let next = [("api@1", 0), ("api@2", 100)];
    if !harness.silence(true).await {
        return;
    }
    let error = harness.target().route(&table(harness, 2, &next)).await.unwrap_err();
    assert_eq!((error.retry, error.effect), (true, Effect::Maybe), "{error}");
    assert_eq!(observe(harness).await.routes.epoch, Some(Epoch(1)), "not before it is known");
    // Lists are taken all the same.
    apply(harness, 2, &list).await;
    harness.silence(false).await;
    // It is found out without anybody asking again.
    until(harness, "the truth", async || {
        (observe(harness).await.routes.epoch == Some(Epoch(2))).then_some(())
    })
    .await;
    answers_come_from(harness, &address, "api@2").await;
    assert_eq!(route(harness, 2, &next).await, address);
}

/// Two revisions, of which only the first gets requests. The second drains for a moment only: that
/// its drain is over does not stop what may still get some.
async fn a_stable_and_a_candidate(harness: &mut dyn Harness) -> (WantedRevision, String) {
    let (one, mut two) = (good(harness, "api@1", 1), good(harness, "api@2", 1));
    if let Workload::Process(process) = &mut two.spec.workload {
        process.stop.drain = Duration::from_millis(20);
    }
    apply(harness, 1, &[one.clone(), two]).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    let address = route(harness, 1, &[("api@1", 100)]).await;
    (one, address)
}

async fn is_stopped_once_it_is_known(harness: &mut dyn Harness, address: &str) {
    stays(harness, "the candidate", async || facts(harness, "api@2").await.running == 1).await;
    harness.silence(false).await;
    route(harness, 3, &[("api@1", 100)]).await;
    answers_come_from(harness, address, "api@1").await;
    forgotten(harness, "api@2").await;
}

/// As long as requests may come to an instance it is not stopped.
pub async fn nothing_stops_that_an_unanswered_table_may_have_given_traffic(
    harness: &mut dyn Harness,
) {
    let (one, address) = a_stable_and_a_candidate(harness).await;
    if !harness.silence(true).await {
        return;
    }
    harness.target().route(&table(harness, 2, &[("api@2", 100)])).await.unwrap_err();
    apply(harness, 2, &[one]).await;
    is_stopped_once_it_is_known(harness, &address).await;
}

/// The same when nobody waited for the answer.
pub async fn nothing_stops_that_a_dropped_table_may_have_given_traffic(harness: &mut dyn Harness) {
    let (one, address) = a_stable_and_a_candidate(harness).await;
    if !harness.silence(true).await {
        return;
    }
    let (target, next) = (harness.target(), table(harness, 2, &[("api@2", 100)]));
    // By its first poll it may be sent, and nobody answers it.
    let answered = dropped_after(1, target.route(&next)).await;
    assert!(answered.is_none_or(|answer| answer.is_err()));
    apply(harness, 2, &[one]).await;
    is_stopped_once_it_is_known(harness, &address).await;
}
