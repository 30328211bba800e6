//! From a git repository and a commit to an immutable release.
//!
//! [`git`] tells what a commit is, [`checkout`] makes a clean checkout of it, [`build`] runs the
//! builds of its components there, and [`artifacts`] keeps what they leave under its digest.
//! [`detect`] writes a first manifest for a repository that has none.

pub mod artifacts;
pub mod build;
pub mod checkout;
pub mod detect;
pub mod git;
mod run;
mod site;
mod suggest;
mod tree;
mod variables;

pub use artifacts::{ArtifactError, ArtifactStore, Damaged};
pub use build::{
    BuildError, BuildRequest, Builder, FailedBuild, MissingOutput, Progress, release_id,
};
pub use detect::{Detected, Finding, detect};
pub use git::{Commit, GitError};
pub use tree::{Limits, TreeError};
