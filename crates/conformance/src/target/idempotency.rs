//! Saying a thing twice is saying it once.

use super::{
    Harness,
    world::{
        answers_come_from, apply, ask, facts, forgotten, good, observe, ready, revision, route,
        stays, until,
    },
};

/// A list that is told again starts nothing more, whether or not the first is fulfilled.
pub async fn applying_twice_is_applying_once(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 2)];
    apply(harness, 1, &list).await;
    apply(harness, 1, &list).await;
    ready(harness, "api@1", 2).await;
    let before = observe(harness).await;
    apply(harness, 1, &list).await;
    stays(harness, "two instances", async || observe(harness).await == before).await;
    assert_eq!(harness.starts(&revision("api@1")), 2);
}

/// A table that is told again moves nothing, and its address stays.
pub async fn routing_twice_is_routing_once(harness: &mut dyn Harness) {
    apply(harness, 1, &[good(harness, "api@1", 1), good(harness, "api@2", 1)]).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    let address = route(harness, 1, &[("api@1", 100), ("api@2", 0)]).await;
    for _ in 0..3 {
        assert_eq!(route(harness, 1, &[("api@1", 100), ("api@2", 0)]).await, address);
        answers_come_from(harness, &address, "api@1").await;
    }
}

/// Instances, data plane and control plane are gone; the same wish brings everything back, and
/// what died is counted.
pub async fn a_wish_repeated_after_everything_was_killed_brings_it_back(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 2)];
    apply(harness, 7, &list).await;
    ready(harness, "api@1", 2).await;
    route(harness, 9, &[("api@1", 100)]).await;
    harness.crash().await;
    harness.kill_everything().await;
    harness.start().await;
    apply(harness, 7, &list).await;
    let address = until(harness, "the same table", async || {
        let target = harness.target();
        let table = super::world::table(harness, 9, &[("api@1", 100)]);
        target.route(&table).await.ok()?;
        observe(harness).await.routes.address
    })
    .await;
    let facts = ready(harness, "api@1", 2).await;
    assert_eq!(facts.exits, 2, "{facts:?}");
    until(harness, "an answer", async || {
        (ask(harness, &address).await.status == 200).then_some(())
    })
    .await;
    answers_come_from(harness, &address, "api@1").await;
    assert_eq!(harness.starts(&revision("api@1")), 4);
}

/// What is wanted again after it was forgotten is new.
pub async fn what_was_forgotten_can_be_wanted_again(harness: &mut dyn Harness) {
    for round in 0..3 {
        apply(harness, 2 * round + 1, &[good(harness, "api@1", 1)]).await;
        ready(harness, "api@1", 1).await;
        let address = route(harness, 2 * round + 1, &[("api@1", 100)]).await;
        answers_come_from(harness, &address, "api@1").await;
        apply(harness, 2 * round + 2, &[]).await;
        forgotten(harness, "api@1").await;
        assert_eq!(facts(harness, "api@1").await.running, 0);
    }
    assert_eq!(harness.starts(&revision("api@1")), 3);
}
