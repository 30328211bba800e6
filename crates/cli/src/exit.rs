//! How the command ends, for scripts.

use std::process::ExitCode;

use serde::Serialize;

/// The set of exit codes; a script can rely on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "u8")]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed, and nothing changed.
    Failed = 1,
    /// The command line or the manifest is wrong.
    Usage = 2,
    /// Failed and rolled back: the old version serves.
    RolledBack = 3,
    /// What serves is not what should: act now.
    Degraded = 4,
    /// It waits for a person, or is not at its end yet.
    Waiting = 5,
    /// Refused by policy.
    Refused = 6,
    /// The control plane cannot be reached.
    Unreachable = 7,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit as Self
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(u8::from(exit))
    }
}
