//! What is older than what is followed changes nothing.

use tidegate_types::{Epoch, Generation, Observation};

use super::{
    Harness,
    world::{
        answers_come_from, apply, good, observe, ready, refused, revision, route, scope, stays,
        table, try_apply, until,
    },
};

/// A control plane that wrongly believes it is in charge starts and stops nothing.
pub async fn an_older_generation_is_refused_and_changes_nothing(harness: &mut dyn Harness) {
    let one = good(harness, "api@1", 1);
    apply(harness, 5, std::slice::from_ref(&one)).await;
    ready(harness, "api@1", 1).await;
    let before = observe(harness).await;
    for (generation, list) in
        [(4, vec![]), (4, vec![one.clone(), good(harness, "api@2", 1)]), (0, vec![one])]
    {
        refused(try_apply(harness, generation, &list).await);
    }
    stays(harness, "as it was", async || observe(harness).await == before).await;
    assert_eq!(harness.starts(&revision("api@1")), 1);
    assert_eq!(harness.starts(&revision("api@2")), 0);
}

/// Also when it says something else: a list that announces may share its generation with the one
/// before it.
pub async fn the_same_generation_is_taken_again(harness: &mut dyn Harness) {
    let one = good(harness, "api@1", 1);
    for list in [
        vec![one.clone()],
        vec![one.clone()],
        vec![one.clone(), good(harness, "api@2", 1)],
        vec![one.clone(), good(harness, "api@2", 1)],
    ] {
        apply(harness, 5, &list).await;
        assert_eq!(observe(harness).await.generation, Some(Generation(5)));
    }
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    assert_eq!(harness.starts(&revision("api@1")), 1);
}

/// A table that is late moves no request.
pub async fn an_older_epoch_is_refused_and_changes_nothing(harness: &mut dyn Harness) {
    apply(harness, 1, &[good(harness, "api@1", 1), good(harness, "api@2", 1)]).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    let address = route(harness, 5, &[("api@1", 100)]).await;
    let before = observe(harness).await;
    for epoch in [4, 0] {
        refused(harness.target().route(&table(harness, epoch, &[("api@2", 100)])).await);
    }
    stays(harness, "as it was", async || observe(harness).await == before).await;
    answers_come_from(harness, &address, "api@1").await;
}

/// A table that is in force is confirmed as often as it is told.
pub async fn the_same_epoch_is_taken_again(harness: &mut dyn Harness) {
    apply(harness, 1, &[good(harness, "api@1", 1)]).await;
    for _ in 0..3 {
        route(harness, 5, &[("api@1", 100)]).await;
    }
}

/// The data plane goes on, and with it what it follows: a new control plane cannot go back.
pub async fn an_older_epoch_is_refused_by_a_new_control_plane_too(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 1), good(harness, "api@2", 1)];
    apply(harness, 1, &list).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    let address = route(harness, 5, &[("api@1", 100)]).await;
    harness.crash().await;
    harness.start().await;
    apply(harness, 1, &list).await;
    // At once, before it can have looked around.
    refused(harness.target().route(&table(harness, 4, &[("api@2", 100)])).await);
    answers_come_from(harness, &address, "api@1").await;
    assert_eq!(route(harness, 6, &[("api@2", 100)]).await, address);
    answers_come_from(harness, &address, "api@2").await;
}

/// A new control plane either knows the generation and holds to it, or says that it knows none and
/// takes what it is told. Whoever looks first is never surprised.
pub async fn a_generation_is_followed_over_a_crash_or_told_as_unknown(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 1)];
    apply(harness, 5, &list).await;
    ready(harness, "api@1", 1).await;
    harness.crash().await;
    harness.start().await;
    match observe(harness).await.generation {
        Some(known) => {
            assert_eq!(known, Generation(5));
            refused(try_apply(harness, 4, &[]).await);
            apply(harness, 5, &list).await;
        }
        None => apply(harness, 4, &list).await,
    }
    stays(harness, "one instance", async || {
        observe(harness).await.revisions[&revision("api@1")].running == 1
    })
    .await;
    assert_eq!(harness.starts(&revision("api@1")), 1);
}

/// What was answered is what the next look tells, at once, and no later look goes back behind it.
pub async fn observation_tells_what_was_answered(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 1)];
    for number in 1..50 {
        apply(harness, number, &list).await;
        assert_eq!(observe(harness).await.generation, Some(Generation(number)));
        route(harness, number, &[("api@1", 100)]).await;
        // Others are still busy with telling what they saw before.
        for _ in 0..300 {
            let seen = observe(harness).await;
            let told = (seen.generation, seen.routes.epoch);
            assert_eq!(told, (Some(Generation(number)), Some(Epoch(number))));
            tokio::task::yield_now().await;
        }
    }
}

/// An empty place tells no generation, no epoch and no revision.
pub async fn nothing_is_told_before_anything_was_asked(harness: &mut dyn Harness) {
    assert_eq!(observe(harness).await, Observation::default());
    let traffic =
        until(harness, "the counters", async || harness.target().traffic(&scope()).await.ok())
            .await;
    assert!(traffic.revisions.is_empty() && traffic.in_flight.is_empty(), "{traffic:?}");
}
