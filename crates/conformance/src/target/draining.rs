//! What is not named any more leaves in order.

use tidegate_types::{Duration, WantedRevision, Workload};

use super::{
    Harness,
    world::{
        Load, answers_come_from, apply, ask, facts, forgotten, good, in_flight, ready, revision,
        route, until,
    },
};

fn abrupt(harness: &dyn Harness, name: &str) -> WantedRevision {
    let mut wanted = good(harness, name, 1);
    if let Workload::Process(process) = &mut wanted.spec.workload {
        process.stop.timeout = Duration::from_millis(1);
    }
    wanted
}

/// Two revisions whose instances, once told to stop, answer nothing any more.
async fn two_revisions(harness: &mut dyn Harness, shares: [u32; 2]) -> String {
    apply(harness, 1, &[abrupt(harness, "api@1"), abrupt(harness, "api@2")]).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    route(harness, 1, &[("api@1", shares[0]), ("api@2", shares[1])]).await
}

/// A request in flight keeps its instance, and only that.
pub async fn what_is_not_named_answers_what_it_was_asked(harness: &mut dyn Harness) {
    let address = two_revisions(harness, [100, 0]).await;
    let held = tokio::spawn(harness.visitor()(&address, Duration::from_millis(1_000)));
    in_flight(harness, 1).await;
    route(harness, 2, &[("api@1", 0), ("api@2", 100)]).await;
    apply(harness, 2, &[abrupt(harness, "api@2")]).await;
    until(harness, "draining", async || {
        let facts = facts(harness, "api@1").await;
        (facts.draining == 1 && facts.ready == 0).then_some(())
    })
    .await;
    answers_come_from(harness, &address, "api@2").await;
    let answer = held.await.unwrap();
    assert_eq!((answer.status, answer.revision), (200, Some(revision("api@1"))));
    forgotten(harness, "api@1").await;
}

/// Though the table in force still names it: first no request comes to it, then it stops.
pub async fn what_is_not_named_loses_its_traffic_before_it_stops(harness: &mut dyn Harness) {
    let address = two_revisions(harness, [50, 50]).await;
    let load = Load::on(harness, &address);
    until(harness, "both to answer", async || {
        (ask(harness, &address).await.revision == Some(revision("api@1"))).then_some(())
    })
    .await;
    apply(harness, 2, &[abrupt(harness, "api@2")]).await;
    forgotten(harness, "api@1").await;
    answers_come_from(harness, &address, "api@2").await;
    load.assert_all_answered().await;
}

/// A request without an end does not keep an instance for ever.
pub async fn requests_that_never_end_are_waited_for_no_longer_than_the_drain(
    harness: &mut dyn Harness,
) {
    let mut one = good(harness, "api@1", 1);
    let Workload::Process(process) = &mut one.spec.workload else { return };
    process.stop.drain = Duration::from_millis(200);
    process.stop.timeout = Duration::from_millis(200);
    apply(harness, 1, &[one]).await;
    ready(harness, "api@1", 1).await;
    let address = route(harness, 1, &[("api@1", 100)]).await;
    let endless = tokio::spawn(harness.visitor()(&address, Duration::from_hours(10)));
    in_flight(harness, 1).await;
    apply(harness, 2, &[]).await;
    forgotten(harness, "api@1").await;
    assert_ne!(endless.await.unwrap().status, 200);
}
