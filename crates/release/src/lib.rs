//! From a git repository and a commit to an immutable release.
//!
//! [`git`] tells what a commit is, [`checkout`] makes a clean checkout of it, [`build`] runs the
//! builds of its components there, and [`artifacts`] keeps what they leave under its digest.
//! [`mod@detect`] writes a first manifest for a repository that has none.

pub mod artifacts;
pub mod build;
pub mod checkout;
pub mod detect;
mod ending;
mod failure;
pub mod git;
mod run;
mod site;
mod suggest;
mod tree;
mod variables;

pub use artifacts::{ArtifactError, ArtifactStore, Damaged};
pub use build::{BuildRequest, Builder, Progress, digests, release_id};
pub use detect::{Detected, Finding, detect};
pub use ending::end_builds;
pub use failure::{BuildError, FailedBuild, MissingOutput};
pub use git::{Commit, GitError};
pub use tree::{Limits, TreeError};
