//! What runs: a component at one release with one configuration, frozen.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ComponentName, Digest, Duration, ReleaseId, RouteRule};

/// All that is needed to run a revision. Frozen in the plan; never read from YAML again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionSpec {
    /// The component.
    pub component: ComponentName,
    /// The release it comes from.
    pub release: ReleaseId,
    /// What people call that release.
    pub version: String,
    /// The artifact that is run or served.
    pub artifact: Digest,
    /// How many instances at full size; 0 for a static site, which needs none.
    pub replicas: u32,
    /// What runs.
    pub workload: Workload,
    /// Which requests come here; none for a worker.
    pub route: Option<RouteRule>,
}

impl RevisionSpec {
    /// Whether two specs would run the same thing: everything but release, version and replicas.
    #[must_use]
    pub fn runs_the_same_as(&self, other: &Self) -> bool {
        self.component == other.component
            && self.artifact == other.artifact
            && self.workload == other.workload
            && self.route == other.route
    }
}

/// How a component is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// A command, run as processes.
    Process(ProcessSpec),
    /// Files, served by the proxy.
    Static(StaticSpec),
}

/// A command and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Run by `/bin/sh -c` in the artifact's folder.
    pub command: String,
    /// A port that the process insists on; otherwise each instance gets a free one in `$PORT`.
    pub fixed_port: Option<u16>,
    /// Whether the process listens on a port at all.
    pub listens: bool,
    /// The declared variables with their values.
    pub environment: BTreeMap<String, String>,
    /// How its health is told.
    pub health: HealthCheck,
    /// How it is stopped.
    pub stop: StopPolicy,
    /// How much of its output is kept.
    pub log: LogLimits,
}

/// How a static site is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticSpec {
    /// Answer unknown paths without an extension with `/index.html`.
    pub single_page: bool,
    /// How long files with a fingerprint in their name are still answered that only other releases
    /// have, after these have left.
    #[serde(default = "StaticSpec::default_keep_assets")]
    pub keep_assets: Duration,
}

impl StaticSpec {
    /// How long assets of former releases are answered unless it is said otherwise: who has left a
    /// page open over night can go on with it.
    #[must_use]
    pub const fn default_keep_assets() -> Duration {
        Duration::from_hours(24)
    }
}

/// How the health of an instance is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Alive: after `retries` failures in a row the instance is replaced.
    pub live: Probe,
    /// Fit for traffic; the same as `live` when absent.
    pub ready: Option<Probe>,
    /// Time between two probes.
    pub interval: Duration,
    /// A probe without an answer by then has failed.
    pub timeout: Duration,
    /// So many failures in a row make an instance unhealthy.
    pub retries: u32,
    /// Failures this soon after the start do not count.
    pub start_period: Duration,
    /// An instance that is not ready by then, counted from its start, has failed.
    pub deadline: Duration,
}

/// One way to ask an instance how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// GET on this path answers 200 to 399.
    Http {
        /// The path, starting with `/`.
        path: String,
    },
    /// The port accepts a connection.
    Tcp,
    /// The command, run with the instance's environment and folder, exits with 0.
    Command {
        /// Run by `/bin/sh -c`.
        run: String,
    },
    /// The process has run for this long.
    Running {
        /// How long.
        minimum: Duration,
    },
}

/// How an instance is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPolicy {
    /// Requests in flight get this long to end, after the last new one was sent.
    pub drain: Duration,
    /// Sent to the whole process group.
    pub signal: Signal,
    /// Time between `signal` and SIGKILL.
    pub timeout: Duration,
}

/// How much output of an instance is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// A log file is rotated at this size.
    pub file_bytes: u64,
    /// So many files are kept, the current one included.
    pub files: u32,
}

/// A signal that asks a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Signal {
    Sigterm,
    Sigint,
    Sigquit,
    Sighup,
    Sigusr1,
    Sigusr2,
}

impl Signal {
    /// All signals that may be chosen.
    pub const ALL: [Self; 6] =
        [Self::Sigterm, Self::Sigint, Self::Sigquit, Self::Sighup, Self::Sigusr1, Self::Sigusr2];

    /// Its name, as in `SIGTERM`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sigterm => "SIGTERM",
            Self::Sigint => "SIGINT",
            Self::Sigquit => "SIGQUIT",
            Self::Sighup => "SIGHUP",
            Self::Sigusr1 => "SIGUSR1",
            Self::Sigusr2 => "SIGUSR2",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Text that names no signal that may be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a stop signal: use SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 or SIGUSR2")]
pub struct UnknownSignal(pub String);

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        Self::ALL
            .into_iter()
            .find(|signal| signal.name() == text)
            .ok_or_else(|| UnknownSignal(text.to_owned()))
    }
}
