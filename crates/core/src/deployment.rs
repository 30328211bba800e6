//! A deployment under way.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidegate_types::{
    ComponentName, DeploymentId, DeploymentKind, Gateway, InstanceId, Plan, Rollout, Step,
    Timestamp,
};

/// One release going into an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its number.
    pub id: DeploymentId,
    /// Why there is one.
    pub kind: DeploymentKind,
    /// Who asked for it.
    pub actor: String,
    /// When.
    pub requested_at: Timestamp,
    /// What it will do; none while it is being prepared. Frozen from then on.
    pub plan: Option<Plan>,
    /// How far it is.
    pub stage: Stage,
    /// Set while a person holds it.
    pub pause: Option<Pause>,
    /// One for each rollout of the plan.
    pub progress: Vec<Progress>,
    /// The environment's gateway before, which it gets again when it goes back.
    pub gateway_before: Gateway,
    /// Whether traffic was moved or an instance of what served was stopped.
    pub touched: bool,
}

/// How far a deployment is. It moves one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The release is built or looked up, and the plan is made.
    Preparing,
    /// A step of a rollout.
    Rolling(Position),
    /// On the way back.
    GoingBack {
        /// Why.
        failure: Failure,
        /// Since when.
        since: Timestamp,
        /// The rollout that goes back now; those after it are back. None when all are and the
        /// route table remains to be confirmed.
        rollout: Option<usize>,
        /// Since when that one is waited for.
        rollout_since: Timestamp,
        /// Whether some component could not go back.
        degraded: bool,
    },
}

/// Where in the plan a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Index into the plan's rollouts.
    pub rollout: usize,
    /// Index into the rollout's steps.
    pub step: usize,
    /// When this step came up. Moved forward by the time spent paused, so that a pause neither
    /// shortens a bake nor uses up a deadline.
    pub since: Timestamp,
    /// Whether the step's wish is in the state. A shift waits for capacity before it is.
    pub entered: bool,
    /// Whether the journal says already that this bake is held for evidence.
    pub held: bool,
}

impl Position {
    /// Which step it is.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place { rollout: self.rollout, step: self.step }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Index into the plan's rollouts.
    pub rollout: usize,
    /// Index into the rollout's steps.
    pub step: usize,
}

/// What has to be remembered of one rollout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When the candidate's first share was confirmed. Guards on traffic judge from then on.
    pub first_traffic_at: Option<Timestamp>,
    /// Exits of the candidate's instances from before this deployment, when it was warm.
    pub exits_before: u32,
    /// Whether instances of the stable revision were stopped.
    pub shrunk: bool,
}

/// A hold by a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who.
    pub actor: String,
    /// Since when.
    pub since: Timestamp,
}

/// Why a deployment failed, as evidence and as sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub code: FailureCode,
    /// The component concerned.
    pub component: Option<ComponentName>,
    /// What happened, as a sentence without a full stop.
    pub what: String,
    /// The numbers behind it.
    pub evidence: Option<String>,
    /// The instance concerned.
    pub instance: Option<InstanceId>,
    /// The last lines of its output, or of the build's.
    pub log: Vec<String>,
    /// What to do about it, when that is known.
    pub mend: Option<String>,
}

/// The kinds of failure, as stable words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// The manifest, the configuration or the release could not be used.
    Prepare,
    /// The build failed.
    Build,
    /// An instance could not be started, exited, or did not become ready.
    Start,
    /// A guard was breached.
    Guard,
    /// A bake ended without enough evidence, and the plan says to go back then.
    Evidence,
    /// The route table could not be put in force.
    Route,
    /// An instance could not be stopped.
    Stop,
    /// A person aborted it.
    Aborted,
}

impl fmt::Display for FailureCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Prepare => "prepare",
            Self::Build => "build",
            Self::Start => "start",
            Self::Guard => "guard",
            Self::Evidence => "evidence",
            Self::Route => "route",
            Self::Stop => "stop",
            Self::Aborted => "aborted",
        })
    }
}

impl Failure {
    /// A failure with nothing but a sentence.
    #[must_use]
    pub fn new(code: FailureCode, what: impl Into<String>) -> Self {
        Self {
            code,
            component: None,
            what: what.into(),
            evidence: None,
            instance: None,
            log: Vec::new(),
            mend: None,
        }
    }

    /// The same, of a component.
    #[must_use]
    pub fn of(mut self, component: &ComponentName) -> Self {
        self.component = Some(component.clone());
        self
    }
}

impl Deployment {
    /// The rollout and step that are under way.
    #[must_use]
    pub fn current(&self) -> Option<(&Rollout, Step)> {
        let Stage::Rolling(position) = &self.stage else {
            return None;
        };
        let rollout = self.plan.as_ref()?.rollouts.get(position.rollout)?;
        Some((rollout, *rollout.steps.get(position.step)?))
    }

    /// The rollouts that have begun, in the order of the plan.
    #[must_use]
    pub fn begun(&self) -> &[Rollout] {
        let Some(plan) = &self.plan else { return &[] };
        match &self.stage {
            Stage::Preparing => &[],
            Stage::Rolling(position) => {
                &plan.rollouts[..plan.rollouts.len().min(position.rollout.saturating_add(1))]
            }
            Stage::GoingBack { .. } => &plan.rollouts,
        }
    }
}
