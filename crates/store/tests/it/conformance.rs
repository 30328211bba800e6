//! What every store promises, told by example. Each test runs over both.

use serde_json::{Value, json};
use tidegate_store::{
    Accepted, Committed, Deployment, DeploymentFilter, DeploymentUpdate, Error, Input, MemoryStore,
    Project, Requested, SqliteStore, Store, Stored, Transition,
};
use tidegate_types::{DeploymentId, DeploymentKind, ReleaseId, RevisionId};

use crate::sample::{at, counted, deployment, event, input, release, scope, transition};

macro_rules! over_both_stores {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(&super::MemoryStore::new()).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("tidegate.db");
                super::$test(&super::SqliteStore::open(path).unwrap()).await;
            })*
        }
    };
}

over_both_stores!(
    an_empty_store_has_nothing,
    a_project_keeps_its_first_date,
    a_request_allots_numbers_and_fills_the_inbox,
    the_same_key_gives_the_same_deployment,
    an_input_is_accepted_once,
    keys_do_not_change_their_meaning,
    a_transition_is_kept_whole,
    a_transition_from_an_old_version_changes_nothing,
    a_transition_that_names_what_is_not_there_changes_nothing,
    what_an_update_leaves_out_stays,
    deployments_are_listed_in_pages,
    events_are_numbered_in_their_scope,
    releases_are_immutable,
    a_commit_finds_its_latest_clean_release,
    samples_are_kept_until_forgotten,
    settings_are_replaced,
    values_come_back_to_the_last_bit,
    many_writers_lose_nothing,
);

async fn an_empty_store_has_nothing(store: &dyn Store) {
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

async fn a_project_keeps_its_first_date(store: &dyn Store) {
    let project = |name: &str, repository: &str, created_at| Project {
        name: name.parse().unwrap(),
        repository: repository.to_owned(),
        created_at: at(created_at),
    };
    store.put_project(&project("shop", "/a", 1)).await.unwrap();
    store.put_project(&project("blog", "/b", 2)).await.unwrap();
    store.put_project(&project("shop", "/c", 3)).await.unwrap();
    let expected = vec![project("blog", "/b", 2), project("shop", "/c", 1)];
    assert_eq!(store.projects().await, Ok(expected));
}

async fn a_request_allots_numbers_and_fills_the_inbox(store: &dyn Store) {
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

async fn the_same_key_gives_the_same_deployment(store: &dyn Store) {
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

async fn an_input_is_accepted_once(store: &dyn Store) {
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

async fn keys_do_not_change_their_meaning(store: &dyn Store) {
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

async fn a_transition_is_kept_whole(store: &dyn Store) {
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

async fn a_transition_from_an_old_version_changes_nothing(store: &dyn Store) {
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

async fn a_transition_that_names_what_is_not_there_changes_nothing(store: &dyn Store) {
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

async fn what_an_update_leaves_out_stays(store: &dyn Store) {
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

async fn deployments_are_listed_in_pages(store: &dyn Store) {
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

async fn events_are_numbered_in_their_scope(store: &dyn Store) {
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

async fn releases_are_immutable(store: &dyn Store) {
    let first = release("r-1", "c1", 10);
    store.put_release(&first).await.unwrap();
    let mut again = first.clone();
    again.built_at = at(99);
    store.put_release(&again).await.unwrap();
    assert_eq!(store.release(&first.id).await, Ok(Some(first.clone())));
    let mut other = first.clone();
    other.commit = "c2".into();
    let refused = store.put_release(&other).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    assert_eq!(store.release(&first.id).await, Ok(Some(first)));
}

async fn a_commit_finds_its_latest_clean_release(store: &dyn Store) {
    let mut dirty = release("r-4", "c1", 40);
    dirty.dirty = true;
    let mut foreign = release("r-5", "c1", 50);
    foreign.project = "blog".parse().unwrap();
    let releases = [
        release("r-2", "c1", 20),
        release("r-3", "c2", 30),
        release("r-1", "c1", 20),
        dirty,
        foreign,
    ];
    for release in &releases {
        store.put_release(release).await.unwrap();
    }
    let shop = "shop".parse().unwrap();
    let found = async |commit: &'static str| {
        let release = store.release_of_commit(&shop, commit).await.unwrap();
        release.map(|release| release.id.to_string())
    };
    assert_eq!(found("c1").await.as_deref(), Some("r-2"));
    assert_eq!(found("c2").await.as_deref(), Some("r-3"));
    assert_eq!(found("c3").await, None);
    let listed = async |limit| {
        let releases = store.releases(&shop, limit).await.unwrap();
        let ids = releases.iter().map(|release| release.id.to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(listed(9).await, ["r-4", "r-3", "r-2", "r-1"]);
    assert_eq!(listed(2).await, ["r-4", "r-3"]);
}

async fn samples_are_kept_until_forgotten(store: &dyn Store) {
    let id = store.request_deployment(deployment("shop/production", None)).await.unwrap().id;
    let api = RevisionId::new("api@1");
    let worker = RevisionId::new("worker@1");
    let samples = vec![
        (api.clone(), counted(10, 20, 2)),
        (api.clone(), counted(0, 10, 1)),
        (worker.clone(), counted(0, 10, 9)),
        (api.clone(), counted(20, 30, 3)),
    ];
    store.put_samples(id, samples).await.unwrap();
    // The same look again, as after a crash.
    let again = vec![(api.clone(), counted(10, 20, 4))];
    store.put_samples(id, again).await.unwrap();

    let requests = async |revision: &RevisionId, since| {
        let samples = store.samples(id, revision, at(since)).await.unwrap();
        let requests = samples.iter().map(|sample| sample.counters.requests);
        requests.collect::<Vec<_>>()
    };
    assert_eq!(requests(&api, i64::MIN).await, [1, 4, 3]);
    assert_eq!(requests(&api, 10).await, [4, 3]);
    assert_eq!(requests(&worker, 0).await, [9]);
    assert_eq!(store.forget_samples(at(20)).await, Ok(2));
    assert_eq!(requests(&api, 0).await, [4, 3]);
    assert_eq!(requests(&worker, 0).await, [0_u64; 0]);

    let nowhere = store.put_samples(DeploymentId(99), vec![(api, counted(0, 1, 1))]).await;
    assert!(matches!(nowhere, Err(Error::Missing { .. })));
}

async fn settings_are_replaced(store: &dyn Store) {
    store.set_meta("a", "1").await.unwrap();
    store.set_meta("b", "2").await.unwrap();
    store.set_meta("a", "3").await.unwrap();
    assert_eq!(store.meta("a").await, Ok(Some("3".to_owned())));
    assert_eq!(store.meta("b").await, Ok(Some("2".to_owned())));
}

async fn values_come_back_to_the_last_bit(store: &dyn Store) {
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
        events: vec![tidegate_store::NewEvent {
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
async fn many_writers_lose_nothing(store: &dyn Store) {
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
