//! What can be asked for.

use serde_json::json;
use tidegate_store::{DeploymentFilter, Transition};
use tidegate_types::{DeploymentId, ReleaseId};

use super::{
    Place,
    sample::{at, deployment, event, scope, transition},
};

/// Asking for what is not there is no error.
pub async fn an_empty_store_has_nothing(place: &mut dyn Place) {
    let store = place.store();
    let scope = scope("shop/production");
    let deployment = DeploymentId(1);
    assert_eq!(store.projects().await, Ok(vec![]));
    assert_eq!(store.scopes().await, Ok(vec![]));
    assert_eq!(store.load(&scope).await, Ok(None));
    assert_eq!(store.pending(&scope).await, Ok(vec![]));
    assert_eq!(store.deployment(deployment).await, Ok(None));
    assert_eq!(store.events(&scope, 0, 9).await, Ok(vec![]));
    assert_eq!(store.deployment_events(deployment, 0, 9).await, Ok(vec![]));
    assert_eq!(store.release(&ReleaseId::new("r-1")).await, Ok(None));
    assert_eq!(store.releases(&scope.project, 9).await, Ok(vec![]));
    assert_eq!(store.meta("id").await, Ok(None));
    assert_eq!(store.forget_samples(at(i64::MAX)).await, Ok(0));
    let all = DeploymentFilter::All;
    assert_eq!(store.deployments(&all, None, 9).await, Ok(vec![]));
}

/// The latest first, each once.
pub async fn deployments_are_listed_in_pages(place: &mut dyn Place) {
    let store = place.store();
    let places = ["shop/production", "shop/staging", "blog/production"];
    for number in 0..9 {
        let place = places[number % places.len()];
        store.request_deployment(deployment(place, None)).await.unwrap();
    }
    let listed = async |filter: DeploymentFilter, before: Option<u64>, limit| {
        let before = before.map(DeploymentId);
        let found = store.deployments(&filter, before, limit).await.unwrap();
        found.iter().map(|deployment| deployment.id.0).collect::<Vec<_>>()
    };
    let all = || DeploymentFilter::All;
    assert_eq!(listed(all(), None, 3).await, [9, 8, 7]);
    assert_eq!(listed(all(), Some(7), 3).await, [6, 5, 4]);
    assert_eq!(listed(all(), Some(2), 3).await, [1]);
    assert_eq!(listed(all(), Some(0), 3).await, [0_u64; 0]);
    assert_eq!(listed(all(), Some(u64::MAX), 1).await, [9]);
    assert_eq!(listed(all(), None, 0).await, [0_u64; 0]);
    assert_eq!(listed(all(), None, usize::MAX).await.len(), 9);
    let shop = || DeploymentFilter::Project("shop".parse().unwrap());
    assert_eq!(listed(shop(), None, 9).await, [8, 7, 5, 4, 2, 1]);
    assert_eq!(listed(shop(), Some(5), 1).await, [4]);
    let staging = || DeploymentFilter::Scope(scope("shop/staging"));
    assert_eq!(listed(staging(), None, 9).await, [8, 5, 2]);
    assert_eq!(listed(staging(), Some(8), 9).await, [5, 2]);
}

/// Without gaps, from one.
pub async fn events_are_numbered_in_their_scope(place: &mut dyn Place) {
    let store = place.store();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let requested = store.request_deployment(deployment("shop/production", None)).await;
        ids.push(requested.unwrap().id);
    }
    for (version, deployment) in [(0, ids[0]), (1, ids[1]), (2, ids[0])] {
        let transition = Transition {
            events: vec![event(Some(deployment), "a"), event(None, "b")],
            ..transition("shop/production", version, json!({}))
        };
        store.commit(transition).await.unwrap();
    }
    let other =
        Transition { events: vec![event(None, "c")], ..transition("shop/staging", 0, json!({})) };
    assert_eq!(store.commit(other).await.unwrap().last_seq, 1);

    let production = scope("shop/production");
    let numbers = async |after, limit| {
        let events = store.events(&production, after, limit).await.unwrap();
        events.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, 99).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(2, 3).await, [3, 4, 5]);
    assert_eq!(numbers(6, 99).await, [0_u64; 0]);
    assert_eq!(numbers(u64::MAX, 99).await, [0_u64; 0]);
    let of_first = async |after, limit| {
        let events = store.deployment_events(ids[0], after, limit).await.unwrap();
        events.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(of_first(0, 99).await, [1, 5]);
    assert_eq!(of_first(1, 99).await, [5]);
    assert_eq!(of_first(0, 1).await, [1]);
}
