//! What goes into a store and what comes out of it.

use serde_json::Value;
use tidegate_types::{DeploymentId, DeploymentKind, ProjectName, ReleaseId, Scope, Timestamp};

/// A project that deploys here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// Where its repository is.
    pub repository: String,
    /// When it was first put.
    pub created_at: Timestamp,
}

/// A deployment that somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDeployment {
    /// Chosen by the caller; the same key again gives the same deployment.
    pub key: Option<String>,
    /// Where it goes.
    pub scope: Scope,
    /// Why there is one.
    pub kind: DeploymentKind,
    /// Who asks.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// What they ask for; becomes the payload of the input.
    pub request: Value,
    /// When.
    pub requested_at: Timestamp,
}

/// The answer to a [`NewDeployment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested {
    /// The number allotted.
    pub id: DeploymentId,
    /// Whether it had been allotted to the same key before.
    pub duplicate: bool,
}

/// An input for the state machine of a scope.
#[derive(Debug, Clone, PartialEq)]
pub struct NewInput {
    /// Names the input once and for all; a second one with the same key changes nothing. Keys that
    /// start with `deployment/` are the store's own.
    pub key: String,
    /// Whose input it is.
    pub scope: Scope,
    /// What it is, in the engine's words.
    pub kind: String,
    /// Who gave it.
    pub actor: String,
    /// The rest of it.
    pub payload: Value,
    /// When.
    pub received_at: Timestamp,
}

/// The answer to a [`NewInput`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is durable and will be applied.
    New,
    /// It was accepted before.
    Duplicate,
}

/// An accepted input.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its name.
    pub key: String,
    /// Whose input it is.
    pub scope: Scope,
    /// What it is; [`Self::DEPLOYMENT_REQUESTED`] for a requested deployment.
    pub kind: String,
    /// The deployment that is requested; none for any other kind.
    pub deployment: Option<DeploymentId>,
    /// Who gave it.
    pub actor: String,
    /// The rest of it.
    pub payload: Value,
    /// When.
    pub received_at: Timestamp,
}

impl Input {
    /// The kind of the input that [`Store::request_deployment`](crate::Store::request_deployment)
    /// puts into the inbox.
    pub const DEPLOYMENT_REQUESTED: &str = "deployment_requested";

    /// How the keys start that the store gives itself.
    pub(crate) const OWN_KEYS: &str = "deployment/";

    /// The key of the input that requests this deployment.
    #[must_use]
    pub fn key_of(deployment: DeploymentId) -> String {
        format!("{}{deployment}", Self::OWN_KEYS)
    }
}

/// The state of a scope.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// How many transitions led to it.
    pub version: u64,
    /// The state, as it was committed.
    pub state: Value,
    /// When the engine wants to look at it again at the latest.
    pub wake_at: Option<Timestamp>,
    /// The number of its latest event, 0 when it has none.
    pub last_seq: u64,
}

/// One step of a scope's state machine with all that belongs to it. Kept whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The scope.
    pub scope: Scope,
    /// The version it was computed from; 0 when the scope had no state yet.
    pub expected_version: u64,
    /// The new state.
    pub state: Value,
    /// When to look again at the latest.
    pub wake_at: Option<Timestamp>,
    /// When the step was taken.
    pub at: Timestamp,
    /// What happened, in order.
    pub events: Vec<NewEvent>,
    /// Keys of the inputs that the step used up. Each must be pending in this scope.
    pub applied: Vec<String>,
    /// What is to be shown of the scope's deployments.
    pub deployments: Vec<DeploymentUpdate>,
}

/// What a transition left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The version of the new state.
    pub version: u64,
    /// The number of the scope's latest event.
    pub last_seq: u64,
}

/// An event of a transition; its time is the transition's.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The deployment it belongs to; must be one of the scope.
    pub deployment: Option<DeploymentId>,
    /// What happened.
    pub kind: String,
    /// Which shape the payload has.
    pub schema: u32,
    /// Who caused it; none when Tidegate did by itself.
    pub actor: Option<String>,
    /// The rest of it.
    pub payload: Value,
}

/// An event in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The scope.
    pub scope: Scope,
    /// Counted from 1 in its scope, without gaps.
    pub seq: u64,
    /// The deployment it belongs to.
    pub deployment: Option<DeploymentId>,
    /// What happened.
    pub kind: String,
    /// Which shape the payload has.
    pub schema: u32,
    /// When.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: Option<String>,
    /// The rest of it.
    pub payload: Value,
}

/// What a transition changes of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentUpdate {
    /// The deployment; must be one of the scope.
    pub id: DeploymentId,
    /// What goes there; none leaves it as it is.
    pub release: Option<ReleaseId>,
    /// How it stands.
    pub status: String,
    /// The frozen plan; none leaves it as it is.
    pub plan: Option<Value>,
    /// What lists show of it.
    pub summary: Value,
    /// When it ended; none leaves it as it is.
    pub ended_at: Option<Timestamp>,
}

/// A deployment as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// Its number.
    pub id: DeploymentId,
    /// Where it goes.
    pub scope: Scope,
    /// What goes there, as soon as that is known.
    pub release: Option<ReleaseId>,
    /// Why there is one.
    pub kind: DeploymentKind,
    /// How it stands; [`Self::REQUESTED`] until a transition says otherwise.
    pub status: String,
    /// Who asked for it.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// What the engine says of it; null until a transition says something.
    pub summary: Value,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Deployment {
    /// The status of a deployment that no transition has touched yet.
    pub const REQUESTED: &str = "requested";
}

/// A deployment with the parts that are too large for lists.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentDetail {
    /// The deployment.
    pub deployment: Deployment,
    /// What was asked for.
    pub request: Value,
    /// What it does, as soon as that is frozen.
    pub plan: Option<Value>,
}

/// Which deployments are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeploymentFilter {
    /// All of them.
    #[default]
    All,
    /// Those of one project.
    Project(ProjectName),
    /// Those of one scope.
    Scope(Scope),
}
