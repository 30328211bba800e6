//! What is built once and promoted unchanged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ComponentName, Digest, ProjectName, ReleaseId, Timestamp};

/// An immutable release: the artifacts of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its identifier, derived from the commit and the digests.
    pub id: ReleaseId,
    /// The project it belongs to.
    pub project: ProjectName,
    /// The full commit hash.
    pub commit: String,
    /// What people call it: a tag that points at the commit, or the short hash.
    pub version: String,
    /// First line of the commit's message.
    pub subject: String,
    /// Whether it was built from an uncommitted work tree.
    pub dirty: bool,
    /// When it was built.
    pub built_at: Timestamp,
    /// `tidegate.yaml` as it was in that commit.
    pub manifest: String,
    /// The artifact of each component.
    pub artifacts: BTreeMap<ComponentName, Artifact>,
}

/// The bytes of one component in one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Digest of the whole tree: paths, kinds, executable bits and contents.
    pub digest: Digest,
    /// Total size of its files in bytes.
    pub bytes: u64,
    /// How many files it has.
    pub files: u64,
}
