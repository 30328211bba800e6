//! Why a build gave no release, in words that a user can act on.

use std::path::PathBuf;

use tidegate_shim::Outcome;
use tidegate_types::ComponentName;

use crate::{artifacts::ArtifactError, checkout::CheckoutError};

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The commit could not be checked out.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// A component's build failed.
    #[error(transparent)]
    Failed(Box<FailedBuild>),
    /// It is unknown how a component's build ended, again and again.
    #[error(
        "it is unknown how the build of `{component}` ended: its process vanished without a record, {attempts} times{}\nThe whole log is {log}",
        indented(last_lines), log = log.display()
    )]
    Lost {
        /// Which.
        component: ComponentName,
        /// How often it was tried.
        attempts: u32,
        /// The end of its output.
        last_lines: Vec<String>,
        /// All of its output.
        log: PathBuf,
    },
    /// A build went well and did not leave what the manifest says.
    #[error(transparent)]
    OutputMissing(Box<MissingOutput>),
    /// A component's folder is not in the commit.
    #[error("component `{component}` should be in `{path}`, which is not a folder in {version}: only what is committed is built{}", unless_dirty(*dirty))]
    FolderMissing {
        /// Which.
        component: ComponentName,
        /// The folder.
        path: String,
        /// Of the commit.
        version: String,
        /// Whether the commit is a snapshot of the work tree.
        dirty: bool,
    },
    /// A path of the manifest leads out of the repository.
    #[error("component `{component}`: `{path}` leads out of the repository")]
    OutsidePath {
        /// Which.
        component: ComponentName,
        /// The path.
        path: String,
    },
    /// What a component consists of could not be stored.
    #[error("component `{component}`: {source}")]
    Artifact {
        /// Which.
        component: ComponentName,
        /// Why.
        source: ArtifactError,
    },
    /// A build's process could not be started or looked at.
    #[error("component `{component}`: {source}")]
    Job {
        /// Which.
        component: ComponentName,
        /// Why.
        source: tidegate_shim::Error,
    },
    /// A former build of the same commit could not be ended.
    #[error("the former build in {folder} does not end: {reason}", folder = folder.display())]
    StillRunning {
        /// Where it runs.
        folder: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file or folder could not be read or written.
    #[error("could not {operation} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// A build that ended, and not well.
#[derive(Debug, thiserror::Error)]
#[error(
    "the build of `{component}` failed: `{command}` {}{}\nThe whole log is {log}",
    ending(outcome, *timeout), indented(last_lines), log = log.display()
)]
pub struct FailedBuild {
    /// Of which component.
    pub component: ComponentName,
    /// What ran.
    pub command: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it was allowed to run.
    pub timeout: tidegate_types::Duration,
    /// The end of its output.
    pub last_lines: Vec<String>,
    /// All of its output.
    pub log: PathBuf,
}

/// What should be there after a build.
#[derive(Debug, thiserror::Error)]
#[error(
    "the build of `{component}` left no `{output}`: {}; `output` names the file or folder that the build leaves, relative to `{directory}`",
    listing(folder, found)
)]
pub struct MissingOutput {
    /// Of which component.
    pub component: ComponentName,
    /// What should be there.
    pub output: String,
    /// Where the build ran.
    pub directory: String,
    /// The part of the way to the output that is there.
    pub folder: String,
    /// What that has instead.
    pub found: Vec<String>,
}

fn ending(outcome: &Outcome, timeout: tidegate_types::Duration) -> String {
    match outcome {
        Outcome::Code(code) => format!("exited with code {code}"),
        Outcome::Signal(signal) => format!("was ended by signal {signal}"),
        Outcome::NotStarted(reason) => format!("could not be started: {reason}"),
        Outcome::TimedOut => {
            format!("was still running after {timeout} (`build.timeout`) and was killed")
        }
    }
}

fn indented(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str("\n    ");
        text.push_str(line);
    }
    text
}

fn listing(folder: &str, found: &[String]) -> String {
    if found.is_empty() {
        format!("`{folder}` is empty")
    } else {
        format!("`{folder}` has {}", found.join(", "))
    }
}

const fn unless_dirty(dirty: bool) -> &'static str {
    if dirty { "" } else { " (or use --dirty)" }
}
