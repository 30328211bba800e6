//! Calls that are given up, and processes that end.

use std::{future::Future, task::Poll};

use serde_json::json;
use tidegate_store::{DeploymentFilter, DeploymentUpdate, Error, Input, Store, Transition};
use tidegate_types::DeploymentId;

use super::{
    Place,
    sample::{deployment, event, input, scope, transition},
};

const PLACE: &str = "shop/production";

/// Drops a call after one poll, by which it was sent; its answer if it had one by then.
async fn given_up<T>(call: impl Future<Output = T>) -> Option<T> {
    let mut call = Box::pin(call);
    std::future::poll_fn(move |context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// A step with an event, an input and the deployment in it; all of them tell the version.
fn step(version: u64, id: DeploymentId, applied: Vec<String>) -> Transition {
    Transition {
        events: vec![event(Some(id), "stepped"), event(None, "noted")],
        applied,
        deployments: vec![DeploymentUpdate {
            id,
            release: None,
            status: format!("at {}", version + 1),
            plan: None,
            summary: json!(version + 1),
            ended_at: None,
        }],
        ..transition(PLACE, version, json!({ "at": version + 1 }))
    }
}

/// The version; everything that a step wrote has to fit it.
async fn version(store: &dyn Store) -> u64 {
    let place = scope(PLACE);
    let Some(stored) = store.load(&place).await.unwrap() else {
        assert_eq!(store.events(&place, 0, usize::MAX).await.unwrap(), []);
        return 0;
    };
    assert_eq!(stored.state, json!({ "at": stored.version }));
    assert_eq!(stored.last_seq, 2 * stored.version);
    let events = store.events(&place, 0, usize::MAX).await.unwrap();
    assert_eq!(events.len() as u64, stored.last_seq);
    let latest = store.deployments(&DeploymentFilter::Scope(place), None, 1).await.unwrap();
    assert_eq!(latest[0].status, format!("at {}", stored.version));
    stored.version
}

/// An answer is a promise: the next process finds what was answered.
pub async fn what_was_answered_is_there_for_whoever_comes_next(place: &mut dyn Place) {
    let id = place.store().request_deployment(deployment(PLACE, None)).await.unwrap().id;
    for number in 0..5 {
        let key = format!("input {number}");
        place.store().accept(input(PLACE, &key)).await.unwrap();
        place.reopen();
        let pending = place.store().pending(&scope(PLACE)).await.unwrap();
        assert!(pending.iter().any(|input| input.key == key), "{pending:?}");
        place.store().commit(step(number, id, vec![key])).await.unwrap();
        place.reopen();
        assert_eq!(version(place.store()).await, number + 1);
    }
    let pending = place.store().pending(&scope(PLACE)).await.unwrap();
    assert_eq!(pending.len(), 1, "the request alone");
}

/// Nobody waited for the answer: none of it is there, or all of it.
pub async fn a_dropped_write_happened_wholly_or_not_at_all(place: &mut dyn Place) {
    let id = place.store().request_deployment(deployment(PLACE, None)).await.unwrap().id;
    place.store().commit(step(0, id, Vec::new())).await.unwrap();
    let mut known = 1;
    for round in 0..20 {
        let key = format!("input {round}");
        let accepted = given_up(place.store().accept(input(PLACE, &key))).await;
        let committed = given_up(place.store().commit(step(known, id, Vec::new()))).await;
        if round % 2 == 0 {
            place.reopen();
        }
        // Another write, after which the dropped ones are decided.
        place.store().set_meta("round", &round.to_string()).await.unwrap();
        let found = version(place.store()).await;
        assert!(found == known || found == known + 1, "{known}, then {found}");
        assert!(committed.is_none_or(|answer| answer.is_ok()) || found == known);
        known = found;
        let repeated = place.store().accept(input(PLACE, &key)).await.unwrap();
        assert!(accepted.is_none() || repeated == tidegate_store::Accepted::Duplicate);
        let pending = place.store().pending(&scope(PLACE)).await.unwrap();
        assert_eq!(pending.iter().filter(|input| input.key == key).count(), 1);
    }
}

/// Whoever did not hear which number was allotted asks again under the same key.
pub async fn a_dropped_request_is_the_same_deployment_when_it_is_repeated(place: &mut dyn Place) {
    for round in 0..10 {
        let key = format!("key {round}");
        let request = || deployment(PLACE, Some(&key));
        let _ = given_up(place.store().request_deployment(request())).await;
        if round % 2 == 0 {
            place.reopen();
        }
        let first = place.store().request_deployment(request()).await.unwrap();
        let again = place.store().request_deployment(request()).await.unwrap();
        assert_eq!((again.id, again.duplicate), (first.id, true));
        assert_eq!(first.id, DeploymentId(round + 1), "no number is lost");
    }
    let pending = place.store().pending(&scope(PLACE)).await.unwrap();
    assert_eq!(pending.len(), 10);
}

/// The same transition again is a conflict exactly when it had happened, and then the version says
/// so: nothing happens twice.
pub async fn who_does_not_know_whether_it_happened_learns_it_from_the_version(
    place: &mut dyn Place,
) {
    let id = place.store().request_deployment(deployment(PLACE, None)).await.unwrap().id;
    let key = Input::key_of(id);
    let mut applied = vec![key];
    for round in 0..20 {
        let _ = given_up(place.store().commit(step(round, id, applied.clone()))).await;
        if round % 3 == 0 {
            place.reopen();
        }
        match place.store().commit(step(round, id, std::mem::take(&mut applied))).await {
            Ok(committed) => assert_eq!(committed.version, round + 1),
            Err(Error::Conflict { expected, found, .. }) => {
                assert_eq!((expected, found), (round, round + 1));
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(version(place.store()).await, round + 1);
    }
    assert_eq!(place.store().pending(&scope(PLACE)).await, Ok(Vec::new()));
}

/// The one that was replaced still believes in its version: every commit of it is refused, whatever
/// it is, and the new one does not notice.
pub async fn an_engine_that_was_replaced_commits_nothing_any_more(place: &mut dyn Place) {
    let id = place.store().request_deployment(deployment(PLACE, None)).await.unwrap().id;
    place.store().commit(step(0, id, Vec::new())).await.unwrap();
    let believed = version(place.store()).await;
    place.reopen();
    for number in 1..6 {
        place.store().commit(step(number, id, Vec::new())).await.unwrap();
        let late = place.store().commit(step(believed, id, vec![Input::key_of(id)])).await;
        let conflict = matches!(late, Err(Error::Conflict { expected: 1, .. }));
        assert!(conflict, "{late:?}");
        assert_eq!(version(place.store()).await, number + 1);
    }
    assert_eq!(place.store().pending(&scope(PLACE)).await.unwrap().len(), 1);
}
