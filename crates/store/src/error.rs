//! What a store answers when it did not do what it was asked.

use std::{fmt, path::PathBuf};

use tidegate_types::{DeploymentId, Release, Scope};

use crate::Input;

/// Why something was not stored or read. It is cloned, because the writes that were merged into one
/// commit fail together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The transition was computed from a state that is no longer the latest.
    #[error(
        "{scope} is at version {found}, not {expected}: another transition came first; load it again"
    )]
    Conflict {
        /// The scope.
        scope: Scope,
        /// What the transition was computed from.
        expected: u64,
        /// What is stored; 0 when nothing is.
        found: u64,
    },
    /// The write names something that is not there.
    #[error("{what} does not exist in {place}")]
    Missing {
        /// What is missing, as in `deployment 7`.
        what: String,
        /// Where it was looked for, as in `shop/production`.
        place: String,
    },
    /// A key that stands for something else already.
    #[error(
        "the key `{key}` was used before for something else ({used_for}): use a new key for a new request"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// What it stands for.
        used_for: String,
    },
    /// The caller asks for something that can never be stored.
    #[error("{reason}")]
    Invalid {
        /// Why not.
        reason: String,
    },
    /// There is no room left.
    #[error(
        "no space left to write to {path} ({detail}): nothing of this was stored and what runs goes on \
         as it is; free some space, then it works again without a restart", path = path.display()
    )]
    Full {
        /// The database.
        path: PathBuf,
        /// What the database said.
        detail: String,
    },
    /// The file or its folder may not be written.
    #[error(
        "{path} cannot be written ({detail}): make the file and its folder writable for the user \
         that runs Tidegate", path = path.display()
    )]
    ReadOnly {
        /// The database.
        path: PathBuf,
        /// What the database said.
        detail: String,
    },
    /// Another process has the store open.
    #[error(
        "{path} is in use by {holder}: only one control plane may use it; stop the other one first \
         with `tidegate down`", path = path.display(), holder = describe_holder(*holder)
    )]
    Locked {
        /// The database.
        path: PathBuf,
        /// The process that holds it, when it says so.
        holder: Option<u32>,
    },
    /// Some other program keeps the database locked.
    #[error(
        "{path} is locked by another program ({detail}): close whatever has it open, then try again",
        path = path.display()
    )]
    Busy {
        /// The database.
        path: PathBuf,
        /// What the database said.
        detail: String,
    },
    /// The file does not hold what it should.
    #[error(
        "{path} is damaged or not a Tidegate database ({detail}): move it away and put a copy in its \
         place; what runs is not touched", path = path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A newer Tidegate wrote the file.
    #[error(
        "{path} was written by a newer Tidegate (schema {found}, this one knows up to {known}): use \
         {needs}; nothing was changed", path = path.display()
    )]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that this program knows.
        known: u32,
        /// What can read it, as in `Tidegate 0.3.0 or newer`.
        needs: String,
    },
    /// The operating system or the database failed in another way. Whether the write took effect is
    /// unknown.
    #[error(
        "could not {operation} {path}: {detail}; check the disk and the folder's permissions",
        path = path.display()
    )]
    Io {
        /// What was tried, as in `open`.
        operation: String,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        detail: String,
    },
    /// The store was closed, or its thread ended.
    #[error("the store {path} is closed", path = path.display())]
    Closed {
        /// The database.
        path: PathBuf,
    },
}

/// The refusals that both stores give, in the same words.
impl Error {
    pub(crate) fn own_key(key: &str) -> Self {
        Self::Invalid {
            reason: format!(
                "the key `{key}` cannot be used: keys that start with `{}` are the store's own",
                Input::OWN_KEYS
            ),
        }
    }

    pub(crate) fn not_pending(key: &str, scope: &Scope) -> Self {
        Self::Missing { what: format!("pending input `{key}`"), place: scope.to_string() }
    }

    pub(crate) fn no_deployment(id: DeploymentId, place: impl fmt::Display) -> Self {
        Self::Missing { what: format!("deployment {id}"), place: place.to_string() }
    }

    pub(crate) fn key_of_deployment(
        key: &str,
        id: impl fmt::Display,
        scope: impl fmt::Display,
    ) -> Self {
        Self::KeyReused { key: key.to_owned(), used_for: format!("deployment {id} to {scope}") }
    }

    pub(crate) fn key_of_input(key: &str, kind: &str, scope: impl fmt::Display) -> Self {
        Self::KeyReused { key: key.to_owned(), used_for: format!("`{kind}` for {scope}") }
    }

    /// A release that is there already must be the same one as `release`.
    pub(crate) fn unless_same_release(
        release: &Release,
        project: &str,
        commit: &str,
    ) -> Result<(), Self> {
        if release.project.as_str() == project && release.commit == commit {
            return Ok(());
        }
        Err(Self::Invalid {
            reason: format!(
                "release {} is known already as commit {commit} of {project}, not as commit {} of {}",
                release.id, release.commit, release.project
            ),
        })
    }
}

fn describe_holder(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
