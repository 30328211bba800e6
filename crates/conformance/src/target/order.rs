//! Calls that follow each other, or do not even do that.

use tidegate_types::{Epoch, Generation, Scope};

use super::{
    Behaviour, Harness,
    world::{
        answers_come_from, apply, forgotten, good, observe, ready, refused, revision, route, scope,
        stays, table, table_of, to_be_tried_again, try_apply, until, wanted,
    },
};

/// Lists that nobody waits for leave nothing behind.
pub async fn the_latest_list_wins_without_waiting_for_any(harness: &mut dyn Harness) {
    let (one, two) = (good(harness, "api@1", 2), good(harness, "api@2", 1));
    apply(harness, 1, std::slice::from_ref(&one)).await;
    apply(harness, 2, &[one.clone(), two.clone()]).await;
    apply(harness, 3, &[]).await;
    apply(harness, 4, &[one]).await;
    apply(harness, 5, std::slice::from_ref(&two)).await;
    ready(harness, "api@2", 1).await;
    forgotten(harness, "api@1").await;
    stays(harness, "the last list", async || {
        let seen = observe(harness).await;
        seen.revisions.len() == 1 && seen.revisions[&two.id].running == 1
    })
    .await;
}

/// A revision may be named by a table as soon as its list was answered, though it has no instance.
pub async fn a_table_may_follow_its_list_at_once(harness: &mut dyn Harness) {
    apply(harness, 1, &[wanted(harness, "api@1", Behaviour::Slow, 1)]).await;
    let address = route(harness, 1, &[("api@1", 100)]).await;
    ready(harness, "api@1", 1).await;
    until(harness, "an answer", async || {
        (super::world::ask(harness, &address).await.status == 200).then_some(())
    })
    .await;
}

/// Nothing is routed to what no list named; once one did, the same table is taken.
pub async fn a_table_that_names_an_unknown_revision_is_to_be_tried_again(
    harness: &mut dyn Harness,
) {
    let (one, two) = (good(harness, "api@1", 1), good(harness, "api@2", 1));
    apply(harness, 1, std::slice::from_ref(&one)).await;
    ready(harness, "api@1", 1).await;
    let address = route(harness, 1, &[("api@1", 100)]).await;
    let next = table(harness, 2, &[("api@1", 0), ("api@2", 100)]);
    to_be_tried_again(harness.target().route(&next).await);
    assert_eq!(observe(harness).await.routes.epoch, Some(Epoch(1)));
    answers_come_from(harness, &address, "api@1").await;
    apply(harness, 2, &[one, two]).await;
    ready(harness, "api@2", 1).await;
    assert_eq!(route(harness, 2, &[("api@1", 0), ("api@2", 100)]).await, address);
    answers_come_from(harness, &address, "api@2").await;
}

/// What was forgotten is as unknown as what never was: nobody answers its requests.
pub async fn a_table_that_names_a_forgotten_revision_is_to_be_tried_again(
    harness: &mut dyn Harness,
) {
    let one = good(harness, "api@1", 1);
    apply(harness, 1, &[one.clone(), good(harness, "api@2", 1)]).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    let address = route(harness, 1, &[("api@1", 100)]).await;
    apply(harness, 2, &[one]).await;
    forgotten(harness, "api@2").await;
    let back = table(harness, 2, &[("api@2", 100)]);
    to_be_tried_again(harness.target().route(&back).await);
    answers_come_from(harness, &address, "api@1").await;
}

/// Whoever comes in whatever order: the newest list and the newest table are followed, each other
/// one was taken before them or refused.
pub async fn of_calls_at_once_the_newest_stays(harness: &mut dyn Harness) {
    const CALLS: u64 = 20;
    apply(harness, 1, &[good(harness, "api@1", 1), good(harness, "api@2", 1)]).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    route(harness, 1, &[("api@1", 100), ("api@2", 0)]).await;
    let (mut lists, mut tables) = (Vec::new(), Vec::new());
    for number in (2..=CALLS).rev() {
        let target = harness.target();
        let mut list = vec![good(harness, "api@1", 1), good(harness, "api@2", 1)];
        if number % 2 == 1 {
            list.push(good(harness, "api@3", 1));
        }
        lists.push(tokio::spawn(
            async move { target.apply(&scope(), Generation(number), &list).await },
        ));
        let target = harness.target();
        let shares = if number % 2 == 0 { [0, 100] } else { [100, 0] };
        let table = table(harness, number, &[("api@1", shares[0]), ("api@2", shares[1])]);
        tables.push(tokio::spawn(async move { target.route(&table).await }));
    }
    for (index, call) in lists.into_iter().enumerate() {
        match call.await.unwrap() {
            Ok(()) => {}
            refusal => {
                assert_ne!(index, 0, "the newest is never refused");
                refused(refusal);
            }
        }
    }
    for (index, call) in tables.into_iter().enumerate() {
        match call.await.unwrap() {
            Ok(_) => {}
            refusal => {
                assert_ne!(index, 0, "the newest is never refused");
                refused(refusal);
            }
        }
    }
    let seen = observe(harness).await;
    assert_eq!(seen.generation, Some(Generation(CALLS)));
    assert_eq!(seen.routes.epoch, Some(Epoch(CALLS)));
    let address = seen.routes.address.unwrap();
    answers_come_from(harness, &address, "api@2").await;
    forgotten(harness, "api@3").await;
    stays(harness, "the newest list", async || {
        let seen = observe(harness).await;
        seen.revisions.len() == 2 && seen.revisions.values().all(|facts| facts.running == 1)
    })
    .await;
}

/// Generations, epochs and instances are those of a scope.
pub async fn one_scope_is_nothing_to_another(harness: &mut dyn Harness) {
    let staging: Scope = "shop/staging".parse().unwrap();
    apply(harness, 50, &[good(harness, "api@1", 1)]).await;
    ready(harness, "api@1", 1).await;
    let address = route(harness, 50, &[("api@1", 100)]).await;
    let target = harness.target();
    let theirs = [good(harness, "api@7", 1)];
    target.apply(&staging, Generation(1), &theirs).await.unwrap();
    until(harness, "the other scope", async || {
        let seen = target.observe(&staging).await.unwrap();
        (seen.revisions.get(&revision("api@7"))?.ready == 1).then_some(())
    })
    .await;
    let table = table_of(harness, &staging, 1, &[("api@7", 100)]);
    assert_eq!(target.route(&table).await.unwrap(), Epoch(1));
    let seen = target.observe(&staging).await.unwrap();
    assert_eq!((seen.generation, seen.routes.epoch), (Some(Generation(1)), Some(Epoch(1))));
    assert_eq!(seen.revisions.len(), 1);
    let elsewhere = seen.routes.address.unwrap();
    assert_ne!(elsewhere, address);
    answers_come_from(harness, &elsewhere, "api@7").await;
    target.apply(&staging, Generation(2), &[]).await.unwrap();
    until(harness, "the other scope empty", async || {
        target.observe(&staging).await.unwrap().revisions.is_empty().then_some(())
    })
    .await;
    let seen = observe(harness).await;
    assert_eq!((seen.generation, seen.routes.epoch), (Some(Generation(50)), Some(Epoch(50))));
    answers_come_from(harness, &address, "api@1").await;
    refused(try_apply(harness, 49, &[]).await);
    assert_eq!(harness.starts(&revision("api@7")), 1);
}
