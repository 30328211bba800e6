//! Calls that are given up at every point where they wait.
//!
//! Each runs with a control plane that has just come up, so that all it has to learn first is among
//! the points, too.

use tidegate_types::{Epoch, Generation};

use super::{
    Harness,
    world::{
        answers_come_from, apply, ask, dropped_after, good, observe, ready, revision, route, scope,
        stays, table, until,
    },
};

/// More points than any call has.
const MOST: usize = 1_000;

async fn restart(harness: &mut dyn Harness) {
    harness.crash().await;
    harness.start().await;
}

/// Tries with a call that is dropped after no poll, after one, after two, until it is answered.
/// Says how many points there were.
async fn at_every_point(
    harness: &mut dyn Harness,
    mut attempt: impl AsyncFnMut(&mut dyn Harness, usize) -> bool,
) {
    for polls in 0..MOST {
        restart(harness).await;
        if attempt(harness, polls).await {
            return;
        }
    }
    panic!("it was never answered");
}

/// A list that was given up is not heard of any more once a newer one was answered.
pub async fn a_dropped_list_never_overtakes_a_newer_one(harness: &mut dyn Harness) {
    let mut generation = 1;
    let one = good(harness, "api@1", 1);
    apply(harness, generation, std::slice::from_ref(&one)).await;
    ready(harness, "api@1", 1).await;
    at_every_point(harness, async |harness, polls| {
        generation += 2;
        let (target, scope) = (harness.target(), scope());
        let list = [good(harness, "api@2", 1)];
        let call = target.apply(&scope, Generation(generation - 1), &list);
        let answered = dropped_after(polls, call).await.is_some();
        apply(harness, generation, std::slice::from_ref(&one)).await;
        ready(harness, "api@1", 1).await;
        until(harness, "the newer list alone", async || {
            (observe(harness).await.revisions.len() == 1).then_some(())
        })
        .await;
        stays(harness, "the newer list", async || {
            let seen = observe(harness).await;
            seen.generation == Some(Generation(generation))
                && seen.revisions.len() == 1
                && seen.revisions[&one.id].running == 1
        })
        .await;
        answered
    })
    .await;
}

/// A list that was given up and is told again is followed, and starts nothing twice.
pub async fn a_dropped_list_is_taken_when_it_is_repeated(harness: &mut dyn Harness) {
    let mut number = 0;
    at_every_point(harness, async |harness, polls| {
        number += 1;
        let name = format!("api@{number}");
        let (target, scope) = (harness.target(), scope());
        let list = [good(harness, &name, 1)];
        let call = target.apply(&scope, Generation(number), &list);
        let answered = dropped_after(polls, call).await.is_some();
        apply(harness, number, &list).await;
        assert_eq!(observe(harness).await.generation, Some(Generation(number)));
        ready(harness, &name, 1).await;
        assert_eq!(harness.starts(&revision(&name)), 1);
        answered
    })
    .await;
}

async fn two_revisions(harness: &mut dyn Harness) -> String {
    apply(harness, 1, &[good(harness, "api@1", 1), good(harness, "api@2", 1)]).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    route(harness, 1, &[("api@1", 100), ("api@2", 0)]).await
}

/// A table that was given up moves no request any more once a newer one was answered.
pub async fn a_dropped_table_never_overtakes_a_newer_one(harness: &mut dyn Harness) {
    let address = two_revisions(harness).await;
    let mut epoch = 1;
    at_every_point(harness, async |harness, polls| {
        epoch += 2;
        let target = harness.target();
        let dropped = table(harness, epoch - 1, &[("api@1", 0), ("api@2", 100)]);
        let answered = dropped_after(polls, target.route(&dropped)).await.is_some();
        assert_eq!(route(harness, epoch, &[("api@1", 100), ("api@2", 0)]).await, address);
        stays(harness, "the newer table", async || {
            let answer = ask(harness, &address).await;
            observe(harness).await.routes.epoch == Some(Epoch(epoch))
                && answer.revision == Some(revision("api@1"))
        })
        .await;
        answered
    })
    .await;
}

/// A table that was given up and is told again is in force.
pub async fn a_dropped_table_is_taken_when_it_is_repeated(harness: &mut dyn Harness) {
    let address = two_revisions(harness).await;
    let mut epoch = 1;
    at_every_point(harness, async |harness, polls| {
        epoch += 1;
        let target = harness.target();
        let (name, shares) = if epoch % 2 == 0 { ("api@2", [0, 100]) } else { ("api@1", [100, 0]) };
        let shares = [("api@1", shares[0]), ("api@2", shares[1])];
        let dropped = table(harness, epoch, &shares);
        let answered = dropped_after(polls, target.route(&dropped)).await.is_some();
        assert_eq!(route(harness, epoch, &shares).await, address);
        answers_come_from(harness, &address, name).await;
        answered
    })
    .await;
}

/// Nobody says anything after a table was given up: what is observed becomes what is so.
pub async fn a_dropped_table_takes_effect_or_not_and_it_is_told_which(harness: &mut dyn Harness) {
    let address = two_revisions(harness).await;
    let mut epoch = 1;
    at_every_point(harness, async |harness, polls| {
        epoch += 2;
        let target = harness.target();
        route(harness, epoch - 1, &[("api@1", 100), ("api@2", 0)]).await;
        let dropped = table(harness, epoch, &[("api@1", 0), ("api@2", 100)]);
        let answered = dropped_after(polls, target.route(&dropped)).await.is_some();
        // Both have to agree, and go on agreeing.
        let mut agreed = 0;
        until(harness, "requests that go where they are told to go", async || {
            let told = observe(harness).await.routes.epoch;
            let expected = match told {
                Some(Epoch(told)) if told == epoch => "api@2",
                Some(Epoch(told)) if told == epoch - 1 => "api@1",
                other => panic!("{other:?}"),
            };
            let answer = ask(harness, &address).await;
            assert_eq!(answer.status, 200);
            agreed = if answer.revision == Some(revision(expected)) { agreed + 1 } else { 0 };
            (agreed == 20).then_some(())
        })
        .await;
        answered
    })
    .await;
}
