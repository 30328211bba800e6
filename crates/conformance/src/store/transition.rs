//! One step of a state machine, whole or not at all.

use serde_json::json;
use tidegate_store::{
    Committed, DeploymentFilter, DeploymentUpdate, Error, Input, NewEvent, Store, Stored,
    Transition,
};
use tidegate_types::{DeploymentId, ReleaseId};

use super::{
    Place,
    sample::{at, deployment, event, scope, transition},
};

/// State, events, inbox and deployments change together.
pub async fn a_transition_is_kept_whole(place: &mut dyn Place) {
    let store = place.store();
    let production = scope("shop/production");
    let requested = store.request_deployment(deployment("shop/production", None)).await.unwrap();
    let committed = store
        .commit(Transition {
            wake_at: Some(at(9_000)),
            events: vec![event(Some(requested.id), "accepted"), event(None, "noted")],
            applied: vec![Input::key_of(requested.id)],
            deployments: vec![DeploymentUpdate {
                id: requested.id,
                release: Some(ReleaseId::new("r-1")),
                status: "running".to_owned(),
                plan: Some(json!({ "rollouts": [] })),
                summary: json!({ "step": 1 }),
                ended_at: None,
            }],
            ..transition("shop/production", 0, json!({ "phase": "running" }))
        })
        .await;
    let expected = Committed { version: 1, last_seq: 2 };
    assert_eq!(committed, Ok(expected));
    let stored = Stored {
        version: 1,
        state: json!({ "phase": "running" }),
        wake_at: Some(at(9_000)),
        last_seq: 2,
    };
    assert_eq!(store.load(&production).await, Ok(Some(stored)));
    assert_eq!(store.pending(&production).await, Ok(vec![]));
    assert_eq!(store.scopes().await, Ok(vec![production.clone()]));
    let detail = store.deployment(requested.id).await.unwrap().unwrap();
    assert_eq!(detail.plan, Some(json!({ "rollouts": [] })));
    assert_eq!(detail.deployment.status, "running");
    assert_eq!(detail.deployment.release, Some(ReleaseId::new("r-1")));
    assert_eq!(detail.deployment.summary, json!({ "step": 1 }));
    let events = store.events(&production, 0, 9).await.unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.seq, event.kind.as_str(), event.at, event.deployment))
        .collect();
    assert_eq!(
        told,
        [(1, "accepted", at(3_000), Some(requested.id)), (2, "noted", at(3_000), None),]
    );

    let next = Transition {
        events: vec![event(None, "more")],
        ..transition("shop/production", 1, json!({ "phase": "done" }))
    };
    let expected = Committed { version: 2, last_seq: 3 };
    assert_eq!(store.commit(next).await, Ok(expected));
    let stored = store.load(&production).await.unwrap().unwrap();
    assert_eq!(stored.wake_at, None);
}

/// Everything of a scope that a transition could have changed.
async fn all_of(store: &dyn Store, of: &str) -> String {
    let scope = scope(of);
    let all = DeploymentFilter::Scope(scope.clone());
    format!(
        "{:?} {:?} {:?} {:?}",
        store.load(&scope).await,
        store.pending(&scope).await,
        store.events(&scope, 0, 99).await,
        store.deployments(&all, None, 99).await,
    )
}

/// Fencing: who computed from a state that is not the latest is told so, and nothing of it stays.
pub async fn a_transition_from_an_old_version_changes_nothing(place: &mut dyn Place) {
    let store = place.store();
    let requested = store.request_deployment(deployment("shop/production", None)).await.unwrap();
    let full = |expected_version| Transition {
        events: vec![event(Some(requested.id), "lost")],
        applied: vec![Input::key_of(requested.id)],
        ..transition("shop/production", expected_version, json!("lost"))
    };
    let conflict =
        |expected, found| Err(Error::Conflict { scope: scope("shop/production"), expected, found });
    let before = all_of(store, "shop/production").await;
    assert_eq!(store.commit(full(1)).await, conflict(1, 0));
    assert_eq!(all_of(store, "shop/production").await, before);
    for version in 0..2 {
        let good = transition("shop/production", version, json!(version));
        store.commit(good).await.unwrap();
    }
    let before = all_of(store, "shop/production").await;
    for wrong in [0, 1, 3, u64::MAX] {
        assert_eq!(store.commit(full(wrong)).await, conflict(wrong, 2));
    }
    assert_eq!(all_of(store, "shop/production").await, before);
}

/// A transition with one wrong part leaves none of the others.
pub async fn a_transition_that_names_what_is_not_there_changes_nothing(place: &mut dyn Place) {
    let store = place.store();
    let here = store.request_deployment(deployment("shop/production", None)).await.unwrap().id;
    let elsewhere = store.request_deployment(deployment("shop/staging", None)).await.unwrap().id;
    let update = |id| DeploymentUpdate {
        id,
        release: None,
        status: "lost".to_owned(),
        plan: None,
        summary: json!("lost"),
        ended_at: None,
    };
    // Each begins with something that is there, which must not stay.
    let good = || Transition {
        events: vec![event(Some(here), "lost")],
        applied: vec![Input::key_of(here)],
        deployments: vec![update(here)],
        ..transition("shop/production", 0, json!("lost"))
    };
    let mut transitions = Vec::new();
    for id in [elsewhere, DeploymentId(99), DeploymentId(u64::MAX)] {
        let (mut key, mut row, mut mention) = (good(), good(), good());
        key.applied.push(Input::key_of(id));
        row.deployments.push(update(id));
        mention.events.push(event(Some(id), "lost"));
        transitions.extend([key, row, mention]);
    }
    let mut twice = good();
    twice.applied.push(Input::key_of(here));
    transitions.push(twice);

    let before = all_of(store, "shop/production").await;
    for transition in transitions {
        let refused = store.commit(transition).await.unwrap_err();
        assert!(matches!(refused, Error::Missing { .. }), "{refused}");
        assert_eq!(all_of(store, "shop/production").await, before);
    }
    store.commit(good()).await.unwrap();
}

/// An update of a deployment takes nothing away.
pub async fn what_an_update_leaves_out_stays(place: &mut dyn Place) {
    let store = place.store();
    let id = store.request_deployment(deployment("shop/production", None)).await.unwrap().id;
    let update = |status: &str| DeploymentUpdate {
        id,
        release: None,
        status: status.to_owned(),
        plan: None,
        summary: json!(status),
        ended_at: None,
    };
    let ended = DeploymentUpdate {
        release: Some(ReleaseId::new("r-1")),
        plan: Some(json!("frozen")),
        ended_at: Some(at(7)),
        ..update("ended")
    };
    for (version, update) in [(0, ended), (1, update("shown"))] {
        let transition = Transition {
            deployments: vec![update],
            ..transition("shop/production", version, json!({}))
        };
        store.commit(transition).await.unwrap();
    }
    let detail = store.deployment(id).await.unwrap().unwrap();
    assert_eq!(detail.plan, Some(json!("frozen")));
    assert_eq!(detail.deployment.release, Some(ReleaseId::new("r-1")));
    assert_eq!(detail.deployment.ended_at, Some(at(7)));
    assert_eq!(detail.deployment.status, "shown");
    assert_eq!(detail.deployment.summary, json!("shown"));
}

/// States are compared, so nothing may be rounded.
pub async fn values_come_back_to_the_last_bit(place: &mut dyn Place) {
    let store = place.store();
    let state = json!({
        "nul": "a\u{0}b",
        "quotes": "'; DROP TABLE scope; --\"",
        "letters": "größer 🦀 \u{feff}",
        "large": u64::MAX,
        "small": i64::MIN,
        "tenth": 0.1,
        "third": 1.0 / 3.0,
        "tiny": 5e-324,
        "deep": [[[[{ "": null }]]]],
    });
    let full = Transition {
        wake_at: Some(at(i64::MIN)),
        at: at(i64::MAX),
        events: vec![NewEvent {
            actor: Some("a\u{0}b".to_owned()),
            payload: state.clone(),
            schema: u32::MAX,
            ..event(None, "größer")
        }],
        ..transition("shop/production", 0, state.clone())
    };
    store.commit(full).await.unwrap();
    let production = scope("shop/production");
    let stored = store.load(&production).await.unwrap().unwrap();
    assert_eq!(stored.state, state);
    assert_eq!(stored.wake_at, Some(at(i64::MIN)));
    let events = store.events(&production, 0, 1).await.unwrap();
    assert_eq!(events[0].payload, state);
    assert_eq!(events[0].actor.as_deref(), Some("a\u{0}b"));
    assert_eq!(events[0].schema, u32::MAX);
    assert_eq!(events[0].at, at(i64::MAX));
}

/// All at once, so that they meet in one commit: half of each scope's steps must be refused.
pub async fn many_writers_lose_nothing(place: &mut dyn Place) {
    let store = place.store();
    let step = |number: u64, version| {
        store.commit(Transition {
            events: vec![event(None, "stepped")],
            ..transition(&format!("shop/e{number}"), version, json!(version))
        })
    };
    for version in 0..5 {
        let steps = (0..100).map(|attempt| step(attempt / 2, version));
        let outcomes = futures_util::future::join_all(steps).await;
        for pair in outcomes.chunks(2) {
            assert_eq!(pair[0].as_ref().map(|done| done.version), Ok(version + 1));
            assert!(matches!(pair[1], Err(Error::Conflict { .. })));
        }
    }
    for number in 0..50 {
        let scope = scope(&format!("shop/e{number}"));
        let stored = store.load(&scope).await.unwrap().unwrap();
        assert_eq!((stored.version, stored.last_seq), (5, 5));
        assert_eq!(store.events(&scope, 0, 99).await.unwrap().len(), 5);
    }
}
