//! What goes over the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_core::{Failure, Place};
use tidegate_engine::DeploymentRequest;
use tidegate_types::{DeploymentId, DeploymentKind, Plan, ReleaseId, Scope, Timestamp};

/// `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Of Tidegate.
    pub version: String,
    /// Of the control plane.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// The engine's time.
    pub now: Timestamp,
}

/// `POST /api/v1/deployments` and `POST /api/v1/plans`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// What is asked for.
    pub request: DeploymentRequest,
}

/// The answer to a request for a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its number.
    pub id: DeploymentId,
}

/// The answer to a request for a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The same for people.
    pub text: String,
}

/// `POST …/pause`, `…/resume`, `…/skip`, `…/abort`, `…/maintenance` and `…/live`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The deployment that is meant; the one under way when absent.
    #[serde(default)]
    pub deployment: Option<DeploymentId>,
    /// The step that is meant; any when absent. Said twice, because the answer was lost, a word
    /// with its step acts once.
    #[serde(default)]
    pub place: Option<Place>,
    /// What those who come during maintenance are told: a sentence of at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who says it.
    pub actor: String,
}

/// `POST …/rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// Id or version of the release to go back to; the verified one before the present one when
    /// absent.
    #[serde(default)]
    pub release: Option<String>,
    /// Take it even though it never finished a bake here.
    #[serde(default)]
    pub unverified: bool,
    /// Who asks.
    pub actor: String,
    /// Why, in their words.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /api/v1/shutdown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// Instances and proxy as well.
    pub everything: bool,
}

/// A deployment as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentRow {
    /// Its number.
    pub id: DeploymentId,
    /// Where it goes.
    pub scope: Scope,
    /// Why there is one.
    pub kind: DeploymentKind,
    /// `requested`, `preparing`, `rolling`, `going_back`, `succeeded`, `failed`, `rolled_back`,
    /// `degraded` or `refused`.
    pub status: String,
    /// What goes there, as soon as that is known.
    pub release: Option<ReleaseId>,
    /// What people call that.
    pub version: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl From<tidegate_store::Deployment> for DeploymentRow {
    fn from(stored: tidegate_store::Deployment) -> Self {
        let text = |key: &str| stored.summary.get(key).and_then(Value::as_str).map(str::to_owned);
        let failure = stored.summary.get("failure").cloned();
        Self {
            version: text("version"),
            refused: text("why"),
            failure: failure.and_then(|failure| serde_json::from_value(failure).ok()),
            id: stored.id,
            scope: stored.scope,
            kind: stored.kind,
            status: stored.status,
            release: stored.release,
            actor: stored.actor,
            reason: stored.reason,
            requested_at: stored.requested_at,
            ended_at: stored.ended_at,
        }
    }
}

/// `GET /api/v1/deployments/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentDetail {
    /// The deployment.
    pub deployment: DeploymentRow,
    /// What was asked for.
    pub request: Value,
    /// What it does, as soon as that is frozen.
    pub plan: Option<Value>,
}

/// An event of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// Counted from 1 in its environment.
    pub seq: u64,
    /// The deployment it belongs to.
    pub deployment: Option<DeploymentId>,
    /// What happened, as a stable word.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// Who caused it; none when Tidegate did by itself.
    pub actor: Option<String>,
    /// The rest of it.
    pub payload: Value,
}

impl From<tidegate_store::Event> for EventRow {
    fn from(stored: tidegate_store::Event) -> Self {
        Self {
            seq: stored.seq,
            deployment: stored.deployment,
            kind: stored.kind,
            at: stored.at,
            actor: stored.actor,
            payload: stored.payload,
        }
    }
}
