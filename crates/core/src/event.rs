//! What happened and why: the journal.

use serde::{Deserialize, Serialize};
use tidegate_types::{
    ComponentName, DeploymentKind, Epoch, Generation, GuardReading, ReleaseId, RevisionId, Share,
    Step,
};

use crate::{Failure, Outcome};

/// One entry of the journal. Each transition stores the events that explain it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub enum Event {
    /// Somebody asked for a deployment, and it began.
    Requested { kind: DeploymentKind, actor: String },
    /// The plan is frozen.
    Planned { release: ReleaseId, version: String, components: Vec<ComponentName> },
    /// A step began.
    StepEntered { component: ComponentName, index: usize, of: usize, step: Step },
    /// A step ended well, with what the guards said at that moment.
    StepDone {
        component: ComponentName,
        index: usize,
        of: usize,
        step: Step,
        readings: Vec<GuardReading>,
    },
    /// The routing changes.
    Routed { epoch: Epoch, component: ComponentName, shares: Vec<(RevisionId, Share)> },
    /// The data plane had a newer table than the store knows of, and gets one that is newer still.
    CaughtUp { found: Epoch, epoch: Epoch },
    /// The target followed a newer list of revisions than the store knows of, and gets one that is
    /// newer still.
    RevisionsCaughtUp { found: Generation, generation: Generation },
    /// A bake is over, and it waits for evidence.
    Held { component: ComponentName, readings: Vec<GuardReading> },
    /// A bake is over without enough evidence, and the plan says to go on.
    WithoutEvidence { component: ComponentName, readings: Vec<GuardReading> },
    /// It fails and goes back.
    Failed { failure: Failure },
    /// A component is back on its stable revision.
    WentBack { component: ComponentName, revision: RevisionId },
    /// A component of which there was nothing before is gone again.
    Withdrawn { component: ComponentName },
    /// On the way back, another number of instances of a revision is wanted.
    Resized { revision: RevisionId, replicas: u32, why: String },
    /// A component could not go back.
    CouldNotGoBack { component: ComponentName, why: String },
    /// A person holds it.
    Paused { actor: String },
    /// A person lets it go on.
    Resumed { actor: String },
    /// A person ended a bake early.
    Skipped { actor: String, component: ComponentName, index: usize },
    /// A person aborted it.
    Aborted { actor: String },
    /// A person keeps requests away from the environment.
    MaintenanceBegan { actor: String, message: Option<String> },
    /// A person lets requests in again.
    MaintenanceEnded { actor: String },
    /// It ended.
    Ended { outcome: Outcome, failure: Option<Failure> },
    /// A release finished its bake.
    Verified { release: ReleaseId, version: String },
    /// A revision is no longer wanted.
    Retired { revision: RevisionId, why: String },
}

impl Event {
    /// The stable word under which the event is stored.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Planned { .. } => "planned",
            Self::StepEntered { .. } => "step_entered",
            Self::StepDone { .. } => "step_done",
            Self::Routed { .. } => "routed",
            Self::CaughtUp { .. } => "caught_up",
            Self::RevisionsCaughtUp { .. } => "revisions_caught_up",
            Self::Held { .. } => "held",
            Self::WithoutEvidence { .. } => "without_evidence",
            Self::Failed { .. } => "failed",
            Self::WentBack { .. } => "went_back",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Resized { .. } => "resized",
            Self::CouldNotGoBack { .. } => "could_not_go_back",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Skipped { .. } => "skipped",
            Self::Aborted { .. } => "aborted",
            Self::MaintenanceBegan { .. } => "maintenance_began",
            Self::MaintenanceEnded { .. } => "maintenance_ended",
            Self::Ended { .. } => "ended",
            Self::Verified { .. } => "verified",
            Self::Retired { .. } => "retired",
        }
    }
}
