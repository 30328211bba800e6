//! From a git repository and a commit to an immutable release.

pub mod artifacts;
pub mod checkout;
pub mod git;
mod run;
mod suggest;
mod tree;

pub use artifacts::{ArtifactError, ArtifactStore, Damaged};
pub use git::{Commit, GitError};
pub use tree::{Limits, TreeError};
