//! What people ask of the engine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidegate_core::Place;
use tidegate_types::{DeploymentId, DeploymentKind, Scope};

/// A deployment that is asked for. Stored as it is, so that its preparation can begin again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentRequest {
    /// Where it goes.
    pub scope: Scope,
    /// What goes there.
    pub wish: Wish,
    /// Who asks.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// What shall go to an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// A commit of a repository.
    Commit {
        /// The repository's folder.
        repository: PathBuf,
        /// A branch, tag or commit.
        reference: String,
        /// Take the work tree as it is, uncommitted changes included, in place of `reference`.
        dirty: bool,
    },
    /// A release that served here before.
    Earlier {
        /// Its id or version; the release before the present one when absent.
        release: Option<String>,
        /// Take it even though it never finished a bake here.
        unverified: bool,
    },
}

impl Wish {
    /// Why there will be a deployment.
    #[must_use]
    pub const fn kind(&self) -> DeploymentKind {
        match self {
            Self::Commit { .. } => DeploymentKind::Deploy,
            Self::Earlier { .. } => DeploymentKind::Rollback,
        }
    }
}

/// A word to the deployment under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Which word.
    pub verb: Verb,
    /// The deployment that is meant; any when absent.
    pub deployment: Option<DeploymentId>,
    /// The step that is meant; any when absent.
    #[serde(default)]
    pub place: Option<Place>,
    /// Who says it.
    pub actor: String,
}

/// The words that can be said to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Take no further step.
    Pause,
    /// Go on.
    Resume,
    /// End this bake now.
    Skip,
    /// Go back.
    Abort,
}

impl Verb {
    /// As the state machine says it.
    #[must_use]
    pub const fn command(self) -> tidegate_core::Command {
        match self {
            Self::Pause => tidegate_core::Command::Pause,
            Self::Resume => tidegate_core::Command::Resume,
            Self::Skip => tidegate_core::Command::Skip,
            Self::Abort => tidegate_core::Command::Abort,
        }
    }

    /// The stable word under which it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Skip => "skip",
            Self::Abort => "abort",
        }
    }
}
