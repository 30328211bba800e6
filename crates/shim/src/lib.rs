//! Runs one command so that it outlives whoever started it.
//!
//! A *job* is a command with a folder of its own. [`start`] leaves a [`JobSpec`] there and spawns a
//! *shim*: a small process in a session of its own that claims the folder, runs the command, keeps
//! its output and writes down how it ended. Whoever comes later reads the folder with [`look`]: a
//! job runs, has an exit record, or its outcome is unknown and is called so.
//!
//! | file | what |
//! |---|---|
//! | `spec.json` | what to run |
//! | `claim` | the shim that runs it: at most one shim ever gets it |
//! | `job.json` | the command's process |
//! | `log`, `log.1`, … | its output, a timestamp before each line, rotated |
//! | `stop`, `kill` | somebody asked for the end |
//! | `exit.json` | how it ended |
//!
//! Linux only: `/proc` tells processes apart, and the shim adopts orphans of the command.

mod control;
mod log;
mod process;
mod record;
mod spec;
mod supervise;

use std::path::PathBuf;

pub use control::{kill, look, start, stop, watch};
pub use log::{Line, tail};
pub use process::ProcessIdentity;
pub use spec::{ExitRecord, JobSpec, JobState, Outcome};
pub use supervise::main;

/// What went wrong with a job's folder or process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the job could not be read or written.
    #[error("could not {operation} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file of the job holds something else than it should.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The shim did not come up.
    #[error("the shim for {directory} did not start: {reason}", directory = directory.display())]
    Shim {
        /// The job's folder.
        directory: PathBuf,
        /// Why.
        reason: String,
    },
    /// The operating system refused.
    #[error("could not {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}
