//! What a target sees when it looks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Epoch, Generation, InstanceId, ReleaseId, RevisionId, RevisionSpec, Timestamp};

/// A revision that should run, and at which size. What is not wanted is stopped and forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedRevision {
    /// The revision.
    pub id: RevisionId,
    /// What runs.
    pub spec: RevisionSpec,
    /// How many instances; 0 keeps the revision known while its last instances drain.
    pub replicas: u32,
}

/// What one look at a scope found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Every revision that the target knows of in the scope.
    pub revisions: BTreeMap<RevisionId, RevisionFacts>,
    /// The route table in force.
    pub routes: RouteFacts,
    /// Of the list of wanted revisions that is followed; none while nobody told one.
    pub generation: Option<Generation>,
}

/// What is known about the routing of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteFacts {
    /// The epoch that the data plane has confirmed; none when nothing is confirmed.
    pub epoch: Option<Epoch>,
    /// Where the scope is reached, as `127.0.0.1:8080`.
    pub address: Option<String>,
    /// Why the table last asked for is not in force; none once it is.
    pub refused: Option<RouteRefusal>,
}

/// A route table that was refused for good: asking again does not help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRefusal {
    /// Of the table that was refused.
    pub epoch: Epoch,
    /// Why, as a sentence without a full stop.
    pub reason: String,
}

/// What is known about a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionFacts {
    /// Instances fit for traffic; for a static site 1 when its files are there.
    pub ready: u32,
    /// Instances that run, draining ones included.
    pub running: u32,
    /// Instances that take no new requests and wait to be stopped.
    pub draining: u32,
    /// Exits that nobody asked for since the revision was first wanted; never falls.
    pub exits: u32,
    /// The largest number of failed checks in a row among instances that had been ready.
    pub failed_checks: u32,
    /// The latest failure.
    pub failure: Option<InstanceFailure>,
    /// The instances, for people.
    pub instances: Vec<InstanceFacts>,
}

/// What is known about an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceFacts {
    /// The instance.
    pub id: InstanceId,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Its address or process id, for people.
    pub place: String,
    /// When it was started.
    pub since: Timestamp,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Runs, and was never ready.
    Starting,
    /// Fit for traffic.
    Ready,
    /// Was ready, and fails its checks.
    Unready,
    /// Takes no new requests.
    Draining,
    /// Has been told to stop.
    Stopping,
}

/// How an instance failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceFailure {
    /// Which instance.
    pub instance: InstanceId,
    /// When.
    pub at: Timestamp,
    /// What happened: `exited with code 1 after 2.3s`, `not ready within 60s: GET /health answered 503`.
    pub what: String,
    /// Trying again cannot help: the command was not found, a file is missing, or the instance had
    /// all the time to become ready that it may have.
    pub fatal: bool,
    /// The last lines of its output.
    pub log: Vec<String>,
}

/// Lines of an instance's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Which instance.
    pub instance: InstanceId,
    /// Its release.
    pub release: ReleaseId,
    /// When the line was read.
    pub at: Timestamp,
    /// The line, without its end.
    pub text: String,
}

/// A line of output as a failure keeps it: at most 500 characters, as an app may write a hundred
/// megabytes without an end of line. The whole of it is in the log.
#[must_use]
pub fn shortened(line: &str) -> String {
    const LONGEST: usize = 500;
    match line.char_indices().nth(LONGEST) {
        None => line.to_owned(),
        Some((end, _)) => format!("{} … ({} bytes in all)", &line[..end], line.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "é".repeat(600);
        let cut = shortened(&long);
        assert_eq!(cut, format!("{} … (1200 bytes in all)", "é".repeat(500)));
    }
}
