//! Values that many tests need.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_store::{NewDeployment, NewEvent, NewInput, Transition};
use tidegate_types::{
    Counters, DeploymentId, DeploymentKind, Release, ReleaseId, Sample, Scope, Timestamp,
};

/// The scope of this name.
#[must_use]
pub fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

/// So many milliseconds after the beginning of time.
#[must_use]
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A deployment that somebody asks for.
#[must_use]
pub fn deployment(to: &str, key: Option<&str>) -> NewDeployment {
    NewDeployment {
        key: key.map(str::to_owned),
        scope: scope(to),
        kind: DeploymentKind::Deploy,
        actor: "ada".to_owned(),
        reason: Some("it is time".to_owned()),
        request: json!({ "commit": "c0ffee" }),
        requested_at: at(1_000),
    }
}

/// An input of a person.
#[must_use]
pub fn input(of: &str, key: &str) -> NewInput {
    NewInput {
        key: key.to_owned(),
        scope: scope(of),
        kind: "approval".to_owned(),
        actor: "ada".to_owned(),
        payload: json!({ "comment": "fine" }),
        received_at: at(2_000),
    }
}

/// An event that tells its kind.
#[must_use]
pub fn event(deployment: Option<DeploymentId>, kind: &str) -> NewEvent {
    NewEvent {
        deployment,
        kind: kind.to_owned(),
        schema: 1,
        actor: None,
        payload: json!({ "what": kind }),
    }
}

/// A transition without events.
#[must_use]
pub fn transition(of: &str, expected_version: u64, state: Value) -> Transition {
    Transition {
        scope: scope(of),
        expected_version,
        state,
        wake_at: None,
        at: at(3_000),
        events: Vec::new(),
        applied: Vec::new(),
        deployments: Vec::new(),
    }
}

/// A release of a clean commit.
#[must_use]
pub fn release(id: &str, commit: &str, built_at: i64) -> Release {
    Release {
        id: ReleaseId::new(id),
        project: "shop".parse().unwrap(),
        commit: commit.to_owned(),
        version: "v1".to_owned(),
        subject: "Sell things".to_owned(),
        dirty: false,
        built_at: at(built_at),
        manifest: "project: shop\n".to_owned(),
        artifacts: BTreeMap::new(),
    }
}

/// So many requests between two points in time.
#[must_use]
pub fn counted(from: i64, to: i64, requests: u64) -> Sample {
    Sample { from: at(from), to: at(to), counters: Counters::answered(requests, 0) }
}
