//! What a job is told, and what is told about it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_types::{Duration, LogLimits, Signal, Timestamp};

/// What to run and how to end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Run by `/bin/sh -c`.
    pub command: String,
    /// Where it runs.
    pub working_directory: PathBuf,
    /// All its variables: nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// Asks it to stop; sent to its process group.
    pub stop_signal: Signal,
    /// Time between `stop_signal` and SIGKILL.
    pub stop_timeout: Duration,
    /// How much of its output is kept.
    pub log: LogLimits,
    /// Killed when it runs longer.
    pub timeout: Option<Duration>,
}

/// What is known about a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// No shim has claimed it.
    NotStarted,
    /// It runs, or its shim is about to start it or to write down how it ended.
    Running {
        /// The command's process; the shim's before there is one.
        pid: u32,
        /// When it was started.
        started_at: Timestamp,
    },
    /// It ended.
    Exited(ExitRecord),
    /// It was claimed and neither runs nor left an exit record: how it ended is unknown.
    Lost,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The command's own end.
    pub outcome: Outcome,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it had ended.
    pub ended_at: Timestamp,
}

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It could not be started, for this reason.
    NotStarted(String),
    /// It ran longer than it may and was killed.
    TimedOut,
}

impl Outcome {
    /// Whether the command exited with 0.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Code(0))
    }
}
