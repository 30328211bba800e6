//! Values that many tests need.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_store::{NewDeployment, NewEvent, NewInput, Transition};
use tidegate_types::{
    Counters, DeploymentId, DeploymentKind, Release, ReleaseId, Sample, Scope, Timestamp,
};

pub(crate) fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn deployment(to: &str, key: Option<&str>) -> NewDeployment {
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

pub(crate) fn input(of: &str, key: &str) -> NewInput {
    NewInput {
        key: key.to_owned(),
        scope: scope(of),
        kind: "approval".to_owned(),
        actor: "ada".to_owned(),
        payload: json!({ "comment": "fine" }),
        received_at: at(2_000),
    }
}

pub(crate) fn event(deployment: Option<DeploymentId>, kind: &str) -> NewEvent {
    NewEvent {
        deployment,
        kind: kind.to_owned(),
        schema: 1,
        actor: None,
        payload: json!({ "what": kind }),
    }
}

/// A transition without events.
pub(crate) fn transition(of: &str, expected_version: u64, state: Value) -> Transition {
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

pub(crate) fn release(id: &str, commit: &str, built_at: i64) -> Release {
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

pub(crate) fn counted(from: i64, to: i64, requests: u64) -> Sample {
    Sample { from: at(from), to: at(to), counters: Counters { requests, ..Counters::default() } }
}
