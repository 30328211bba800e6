//! What comes in from outside: requests and inputs.

use serde_json::{Value, json};
use tidegate_store::{Accepted, Deployment, Error, Input, Requested, Transition};
use tidegate_types::{DeploymentId, DeploymentKind};

use super::{
    Place,
    sample::{at, deployment, input, scope, transition},
};

/// A request that was answered is found by the engine, whether or not its scope has a state.
pub async fn a_request_allots_numbers_and_fills_the_inbox(place: &mut dyn Place) {
    let store = place.store();
    for number in 1..=3 {
        let requested = store.request_deployment(deployment("shop/production", None)).await;
        let expected = Requested { id: DeploymentId(number), duplicate: false };
        assert_eq!(requested, Ok(expected));
    }
    let scope = scope("shop/production");
    // A scope without a state must be found when the engine starts.
    assert_eq!(store.scopes().await, Ok(vec![scope.clone()]));
    let pending = store.pending(&scope).await.unwrap();
    let numbers: Vec<_> = pending.iter().map(|input| input.deployment).collect();
    assert_eq!(numbers, [1, 2, 3].map(|number| Some(DeploymentId(number))));
    assert_eq!(
        pending[1],
        Input {
            key: Input::key_of(DeploymentId(2)),
            scope: scope.clone(),
            kind: Input::DEPLOYMENT_REQUESTED.to_owned(),
            deployment: Some(DeploymentId(2)),
            actor: "ada".to_owned(),
            payload: json!({ "commit": "c0ffee" }),
            received_at: at(1_000),
        }
    );
    let detail = store.deployment(DeploymentId(2)).await.unwrap().unwrap();
    assert_eq!(detail.request, json!({ "commit": "c0ffee" }));
    assert_eq!(detail.plan, None);
    assert_eq!(
        detail.deployment,
        Deployment {
            id: DeploymentId(2),
            scope,
            release: None,
            kind: DeploymentKind::Deploy,
            status: Deployment::REQUESTED.to_owned(),
            actor: "ada".to_owned(),
            reason: Some("it is time".to_owned()),
            summary: Value::Null,
            requested_at: at(1_000),
            ended_at: None,
        }
    );
}

/// Whoever repeats a request under its key asks for nothing new.
pub async fn the_same_key_gives_the_same_deployment(place: &mut dyn Place) {
    let store = place.store();
    let request = |to: &'static str, key| store.request_deployment(deployment(to, Some(key)));
    let first = request("shop/production", "k").await.unwrap();
    let again = request("shop/production", "k").await.unwrap();
    assert_eq!((again.id, again.duplicate), (first.id, true));
    let other = request("shop/production", "l").await.unwrap();
    assert_ne!(other.id, first.id);
    let reused = request("shop/staging", "k").await.unwrap_err();
    assert!(matches!(&reused, Error::KeyReused { key, .. } if key == "k"));
    assert!(reused.to_string().contains("deployment 1 to shop/production"));
    let pending = store.pending(&scope("shop/production")).await.unwrap();
    assert_eq!(pending.len(), 2);
    assert_eq!(store.pending(&scope("shop/staging")).await, Ok(vec![]));
}

/// Whoever repeats an input under its key says nothing new, also after it was applied.
pub async fn an_input_is_accepted_once(place: &mut dyn Place) {
    let store = place.store();
    let production = scope("shop/production");
    let accept = |key| store.accept(input("shop/production", key));
    assert_eq!(accept("b").await, Ok(Accepted::New));
    assert_eq!(accept("a").await, Ok(Accepted::New));
    let mut changed = input("shop/production", "b");
    changed.payload = json!({ "comment": "once more" });
    assert_eq!(store.accept(changed).await, Ok(Accepted::Duplicate));
    let pending = store.pending(&production).await.unwrap();
    let keys: Vec<_> = pending.iter().map(|input| input.key.as_str()).collect();
    assert_eq!(keys, ["b", "a"], "in the order of acceptance");
    assert_eq!(pending[0].payload, json!({ "comment": "fine" }));

    let applied =
        Transition { applied: vec!["b".to_owned()], ..transition("shop/production", 0, json!({})) };
    store.commit(applied).await.unwrap();
    assert_eq!(accept("b").await, Ok(Accepted::Duplicate), "also afterwards");
    assert_eq!(store.pending(&production).await.unwrap().len(), 1);
}

/// A key that stands for something else is refused.
pub async fn keys_do_not_change_their_meaning(place: &mut dyn Place) {
    let store = place.store();
    store.accept(input("shop/production", "k")).await.unwrap();
    let mut other_kind = input("shop/production", "k");
    other_kind.kind = "abort".into();
    for reused in [other_kind, input("shop/staging", "k")] {
        let refused = store.accept(reused).await.unwrap_err();
        assert!(matches!(&refused, Error::KeyReused { .. }), "{refused}");
    }
    // Nobody can take the place of the request of a deployment to come.
    let own = input("shop/production", &Input::key_of(DeploymentId(1)));
    let refused = store.accept(own).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    store.request_deployment(deployment("shop/production", Some("k"))).await.unwrap();
}
