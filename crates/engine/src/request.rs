//! What people ask of the engine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidegate_core::{Input, Place};
use tidegate_types::{DeploymentId, DeploymentKind, Maintenance, Scope};

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

/// A word to an environment, most of them to the deployment under way in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Which word.
    pub verb: Verb,
    /// The deployment that is meant; any when absent.
    pub deployment: Option<DeploymentId>,
    /// The step that is meant; any when absent.
    #[serde(default)]
    pub place: Option<Place>,
    /// What those who come during maintenance are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who says it.
    pub actor: String,
}

impl Command {
    /// As the state machine hears it.
    #[must_use]
    pub fn input(&self) -> Input {
        let word = match self.verb {
            Verb::Pause => tidegate_core::Command::Pause,
            Verb::Resume => tidegate_core::Command::Resume,
            Verb::Skip => tidegate_core::Command::Skip,
            Verb::Abort => tidegate_core::Command::Abort,
            Verb::Maintenance => {
                let maintenance = Some(Maintenance { message: self.message.clone() });
                return Input::Maintain { maintenance, actor: self.actor.clone() };
            }
            Verb::Live => {
                return Input::Maintain { maintenance: None, actor: self.actor.clone() };
            }
        };
        Input::Command {
            command: word,
            deployment: self.deployment,
            place: self.place,
            actor: self.actor.clone(),
        }
    }
}

/// The words that can be said to an environment.
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
    /// Let no request in.
    Maintenance,
    /// Let requests in again.
    Live,
}

impl Verb {
    /// The stable word under which it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Skip => "skip",
            Self::Abort => "abort",
            Self::Maintenance => "maintenance",
            Self::Live => "live",
        }
    }
}
