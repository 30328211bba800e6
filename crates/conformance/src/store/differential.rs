//! Whatever is done to it, a store answers what the one in memory answers, and holds the same.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_store::{
    DeploymentFilter, DeploymentUpdate, Error, MemoryStore, Project, Store, Transition,
};
use tidegate_types::{DeploymentId, DeploymentKind, ProjectName, ReleaseId, RevisionId};

use super::{
    Place,
    sample::{at, counted, deployment, event, input, release, scope, transition},
};

const SCOPES: [&str; 3] = ["shop/production", "shop/staging", "blog/production"];

/// One call; small numbers, so that calls meet.
#[derive(Debug, Clone)]
pub struct Call(Kind);

#[derive(Debug, Clone)]
enum Kind {
    PutProject {
        name: usize,
        repository: u8,
    },
    Request {
        key: Option<u8>,
        scope: usize,
        back: bool,
    },
    Accept {
        key: u8,
        scope: usize,
        abort: bool,
    },
    Commit(Step),
    PutRelease {
        id: u8,
        commit: u8,
        project: usize,
        dirty: bool,
        built_at: i64,
    },
    PutSamples {
        deployment: u64,
        samples: Vec<(u8, i64, i64)>,
    },
    ForgetSamples {
        before: i64,
    },
    SetMeta {
        key: u8,
        value: u8,
    },
    /// It is closed and opened again.
    Reopen,
}

#[derive(Debug, Clone)]
struct Step {
    scope: usize,
    /// Added to the right version.
    wrong_by: i64,
    state: Value,
    wake_at: Option<i64>,
    /// Which of the pending inputs are applied.
    apply: Vec<bool>,
    apply_unknown: bool,
    events: Vec<Option<u64>>,
    updates: Vec<(u64, bool, bool, bool)>,
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Mostly one that is there.
fn any_deployment() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 1_u64..5, 1 => Just(0), 1 => Just(u64::MAX)]
}

fn any_step() -> impl Strategy<Value = Step> {
    (
        0..SCOPES.len(),
        prop_oneof![9 => Just(0), 1 => -1_i64..2],
        any_json(),
        prop::option::of(any::<i64>()),
        prop::collection::vec(any::<bool>(), 4),
        prop::bool::weighted(0.1),
        prop::collection::vec(
            prop_oneof![2 => Just(None), 1 => any_deployment().prop_map(Some)],
            0..4,
        ),
        prop::collection::vec(
            (any_deployment(), any::<bool>(), any::<bool>(), any::<bool>()),
            0..2,
        ),
    )
        .prop_map(
            |(scope, wrong_by, state, wake_at, apply, apply_unknown, events, updates)| Step {
                scope,
                wrong_by,
                state,
                wake_at,
                apply,
                apply_unknown,
                events,
                updates,
            },
        )
}

/// Any call.
pub fn any_call() -> impl Strategy<Value = Call> {
    let scope = || 0..SCOPES.len();
    prop_oneof![
        1 => (scope(), any::<u8>())
            .prop_map(|(name, repository)| Kind::PutProject { name, repository }),
        3 => (prop::option::of(0_u8..3), scope(), any::<bool>())
            .prop_map(|(key, scope, back)| Kind::Request { key, scope, back }),
        3 => (0_u8..6, scope(), prop::bool::weighted(0.2))
            .prop_map(|(key, scope, abort)| Kind::Accept { key, scope, abort }),
        6 => any_step().prop_map(Kind::Commit),
        2 => (0_u8..4, 0_u8..2, scope(), any::<bool>(), 0_i64..3).prop_map(
            |(id, commit, project, dirty, built_at)| Kind::PutRelease {
                id, commit, project, dirty, built_at,
            }
        ),
        2 => (any_deployment(), prop::collection::vec((0_u8..2, 0_i64..9, 0_i64..9), 0..4))
            .prop_map(|(deployment, samples)| Kind::PutSamples { deployment, samples }),
        1 => (0_i64..9).prop_map(|before| Kind::ForgetSamples { before }),
        1 => (0_u8..2, any::<u8>()).prop_map(|(key, value)| Kind::SetMeta { key, value }),
        1 => Just(Kind::Reopen),
    ]
    .prop_map(Call)
}

fn project_of(index: usize) -> ProjectName {
    scope(SCOPES[index]).project
}

/// What a step is depends on what is pending, which `reference` knows.
async fn to_transition(step: &Step, reference: &MemoryStore) -> Transition {
    let place = SCOPES[step.scope];
    let stored = reference.load(&scope(place)).await.unwrap();
    let version = stored.map_or(0, |stored| stored.version);
    let pending = reference.pending(&scope(place)).await.unwrap();
    let chosen = pending.into_iter().zip(&step.apply);
    let mut applied: Vec<String> =
        chosen.filter(|(_, apply)| **apply).map(|(input, _)| input.key).collect();
    if step.apply_unknown {
        applied.push("input 0".to_owned());
    }
    Transition {
        wake_at: step.wake_at.map(at),
        applied,
        events: step
            .events
            .iter()
            .map(|deployment| event(deployment.map(DeploymentId), "stepped"))
            .collect(),
        deployments: step
            .updates
            .iter()
            .map(|&(id, release, plan, ended)| DeploymentUpdate {
                id: DeploymentId(id),
                release: release.then(|| ReleaseId::new("r-1")),
                status: format!("at {version}"),
                plan: plan.then(|| json!(version)),
                summary: step.state.clone(),
                ended_at: ended.then(|| at(17)),
            })
            .collect(),
        ..transition(place, version.saturating_add_signed(step.wrong_by), step.state.clone())
    }
}

/// Makes the call and says what it answered.
async fn make(call: &Kind, store: &dyn Store, reference: &MemoryStore) -> Result<String, Error> {
    fn told<T: std::fmt::Debug>(answer: Result<T, Error>) -> Result<String, Error> {
        answer.map(|answer| format!("{answer:?}"))
    }
    match call {
        Kind::PutProject { name, repository } => told(
            store
                .put_project(&Project {
                    name: project_of(*name),
                    repository: repository.to_string(),
                    created_at: at(i64::from(*repository)),
                })
                .await,
        ),
        Kind::Request { key, scope, back } => {
            let key = key.map(|key| key.to_string());
            let mut new = deployment(SCOPES[*scope], key.as_deref());
            if *back {
                new.kind = DeploymentKind::Rollback;
                new.reason = None;
            }
            told(store.request_deployment(new).await)
        }
        Kind::Accept { key, scope, abort } => {
            let mut new = input(SCOPES[*scope], &format!("input {key}"));
            if *abort {
                new.kind = "abort".into();
            }
            told(store.accept(new).await)
        }
        Kind::Commit(step) => told(store.commit(to_transition(step, reference).await).await),
        Kind::PutRelease { id, commit, project, dirty, built_at } => {
            let mut new = release(&format!("r-{id}"), &format!("c{commit}"), *built_at);
            new.project = project_of(*project);
            new.dirty = *dirty;
            told(store.put_release(&new).await)
        }
        Kind::PutSamples { deployment, samples } => {
            let samples = samples.iter().map(|&(revision, from, to)| {
                let requests = u64::try_from(from).unwrap_or(0);
                (revision_of(revision), counted(from, to, requests))
            });
            let id = DeploymentId(*deployment);
            told(store.put_samples(id, samples.collect()).await)
        }
        Kind::ForgetSamples { before } => told(store.forget_samples(at(*before)).await),
        Kind::SetMeta { key, value } => {
            told(store.set_meta(&key.to_string(), &value.to_string()).await)
        }
        Kind::Reopen => Ok(String::new()),
    }
}

fn revision_of(number: u8) -> RevisionId {
    RevisionId::new(format!("api@{number}"))
}

/// Everything that can be asked for.
async fn contents(store: &dyn Store) -> Vec<String> {
    let mut all =
        vec![format!("{:?}", store.projects().await), format!("{:?}", store.scopes().await)];
    for place in SCOPES {
        let scope = scope(place);
        let of_project = DeploymentFilter::Project(scope.project.clone());
        let of_scope = DeploymentFilter::Scope(scope.clone());
        all.push(format!("{:?}", store.load(&scope).await));
        all.push(format!("{:?}", store.pending(&scope).await));
        all.push(format!("{:?}", store.events(&scope, 0, 99).await));
        all.push(format!("{:?}", store.events(&scope, 2, 1).await));
        all.push(format!("{:?}", store.deployments(&of_project, None, 2).await));
        all.push(format!("{:?}", store.deployments(&of_scope, None, 99).await));
        all.push(format!("{:?}", store.releases(&scope.project, 3).await));
        for commit in ["c0", "c1"] {
            let found = store.release_of_commit(&scope.project, commit).await;
            all.push(format!("{found:?}"));
        }
    }
    for id in (0..7).map(DeploymentId) {
        let before = store.deployments(&DeploymentFilter::All, Some(id), 2).await;
        all.push(format!("{before:?}"));
        all.push(format!("{:?}", store.deployment(id).await));
        all.push(format!("{:?}", store.deployment_events(id, 1, 2).await));
        for revision in (0..2).map(revision_of) {
            all.push(format!("{:?}", store.samples(id, &revision, at(3)).await));
            all.push(format!("{:?}", store.samples(id, &revision, at(-1)).await));
        }
    }
    for number in 0..4 {
        let id = ReleaseId::new(format!("r-{number}"));
        all.push(format!("{:?}", store.release(&id).await));
        all.push(format!("{:?}", store.meta(&number.to_string()).await));
    }
    all
}

/// Makes all calls to the store at `place`, which is empty, and to one in memory.
///
/// # Errors
///
/// When they differ.
pub async fn compare(calls: &[Call], place: &mut dyn Place) -> Result<(), TestCaseError> {
    let reference = MemoryStore::new();
    for Call(call) in calls {
        if matches!(call, Kind::Reopen) {
            place.reopen();
        }
        // That one first: the call is made up from what the one in memory still holds.
        let tried = make(call, place.store(), &reference).await;
        let in_memory = make(call, &reference, &reference).await;
        prop_assert_eq!(tried, in_memory, "{:?}", call);
    }
    prop_assert_eq!(contents(place.store()).await, contents(&reference).await);
    Ok(())
}
