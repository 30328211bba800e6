//! What a deployment will do, as a value that can be printed before it happens.

use serde::{Deserialize, Serialize};

use crate::{
    ComponentName, DeploymentId, Duration, Gateway, Guard, ReleaseId, RevisionId, RevisionSpec,
    Scope, Share, WithoutEvidence,
};

/// A whole deployment, frozen before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Where it goes.
    pub scope: Scope,
    /// Why there is one.
    pub kind: DeploymentKind,
    /// What goes there.
    pub release: ReleaseId,
    /// What people call it.
    pub version: String,
    /// Where the environment is reached.
    pub gateway: Gateway,
    /// One for each component that changes, in the order in which they run.
    pub rollouts: Vec<Rollout>,
    /// Components that stay as they are.
    pub unchanged: Vec<ComponentName>,
}

/// Why there is a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    /// A new release goes in.
    Deploy,
    /// An earlier release comes back by a person's word.
    Rollback,
}

/// One component going from its stable revision to a candidate, step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The component.
    pub component: ComponentName,
    /// What serves now; none at the first deployment.
    pub stable: Option<RevisionId>,
    /// How many instances `stable` has, and gets again when the rollout goes back.
    pub stable_replicas: u32,
    /// What shall serve; none when the component was removed.
    pub candidate: Option<PlannedRevision>,
    /// Never run both revisions at once, going back included.
    pub exclusive: bool,
    /// Taken one after the other.
    pub steps: Vec<Step>,
    /// Hold in every step.
    pub guards: Vec<Guard>,
    /// When a bake ends without enough evidence.
    pub without_evidence: WithoutEvidence,
    /// How long the stable revision stays warm after the deployment.
    pub keep: Duration,
}

/// A revision as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRevision {
    /// Its identifier.
    pub id: RevisionId,
    /// What runs.
    pub spec: RevisionSpec,
    /// Whether its instances still run from before, so that nothing must be started.
    pub warm: bool,
}

/// The four things a rollout does, whatever its strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Bring the candidate to so many instances and wait until all of them are ready.
    Scale {
        /// Instances of the candidate.
        instances: u32,
    },
    /// Give the candidate this share of the traffic and wait until the proxy says that it holds.
    Shift {
        /// The candidate's share.
        share: Share,
    },
    /// Watch for this long.
    Bake {
        /// How long.
        time: Duration,
    },
    /// Lower the stable revision to so many instances; each drains before it stops.
    Shrink {
        /// Instances of the stable revision.
        instances: u32,
    },
}
