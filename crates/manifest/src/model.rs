//! The manifest after every check: defaults filled in, names resolved.

use std::collections::BTreeMap;

use tidegate_types::{
    ComponentName, Duration, EnvironmentName, Gateway, Guard, HealthCheck, LogLimits, ProjectName,
    RouteRule, Share, StopPolicy, WithoutEvidence,
};

/// A whole `tidegate.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The project's name.
    pub project: ProjectName,
    /// Its components, in the order of the file.
    pub components: Vec<Component>,
    /// Its environments, in the order of the file; `local` alone when the file names none.
    pub environments: Vec<Environment>,
}

/// A deployable part.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// Its folder in the repository, `.` for the whole.
    pub path: String,
    /// How its artifact is made; without it the artifact is the folder as committed.
    pub build: Option<Build>,
    /// What runs.
    pub workload: Workload,
    /// Instances at full size; 0 for a static site.
    pub replicas: u32,
    /// Components that are rolled out before this one.
    pub depends_on: Vec<ComponentName>,
    /// Which requests come here.
    pub route: Option<RouteRule>,
    /// Declared variables.
    pub environment: BTreeMap<String, EnvironmentVariable>,
    /// In place of the environment's.
    pub strategy: Option<Strategy>,
}

/// What a component runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Workload {
    /// A command.
    Process {
        /// Run by `/bin/sh -c` in the artifact's folder.
        command: String,
        /// A port that the process insists on.
        fixed_port: Option<u16>,
        /// Whether it listens on a port at all.
        listens: bool,
        /// How its health is told.
        health: HealthCheck,
        /// How it is stopped.
        stop: StopPolicy,
        /// How much of its output is kept.
        log: LogLimits,
    },
    /// Files, served by the proxy.
    Static {
        /// Answer unknown paths without an extension with `/index.html`.
        single_page: bool,
        /// How long assets of releases that have left are still answered.
        keep_assets: Duration,
    },
}

/// How an artifact is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Run by `/bin/sh -c` in `directory`.
    pub run: String,
    /// Where `run` runs, relative to the repository.
    pub directory: String,
    /// The file or folder, relative to `directory`, that is the artifact.
    pub output: String,
    /// A build that runs longer has failed.
    pub timeout: Duration,
}

/// A variable that a component declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentVariable {
    /// Which values it takes.
    pub kind: VariableType,
    /// Whether it must have a value.
    pub required: bool,
    /// Its value where the environment gives none.
    pub default: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// Which values a variable takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableType {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A URL with scheme and host.
    Url,
    /// A port, 1 to 65535.
    Port,
    /// A duration, as in `30s`.
    Duration,
    /// One of these.
    Enum(Vec<String>),
}

/// Where releases run.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Its name.
    pub name: EnvironmentName,
    /// Where it is reached.
    pub gateway: Gateway,
    /// How components are rolled out.
    pub strategy: Strategy,
    /// What goes back by itself.
    pub rollback: Rollback,
    /// Values for the components' variables.
    pub values: BTreeMap<String, String>,
    /// Full size of a component here, in place of its own.
    pub replicas: BTreeMap<ComponentName, u32>,
}

/// What goes back by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollback {
    /// Any of these, breached, goes back.
    pub when: Vec<Guard>,
    /// When a bake ends without enough evidence.
    pub without_evidence: WithoutEvidence,
}

/// How a component goes from one revision to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Stop the old, then start the new.
    Recreate {
        /// Watch after the switch.
        bake: Duration,
    },
    /// A few instances at a time.
    Rolling {
        /// Instances above full size.
        max_surge: u32,
        /// Instances below full size. Not both this and `max_surge` are 0.
        max_unavailable: u32,
        /// Watch after the last batch.
        bake: Duration,
    },
    /// Start all of the new beside the old, then switch.
    BlueGreen {
        /// A share for the new before the switch, and how long it is watched.
        canary: Option<StrategyStep>,
        /// Watch after the switch.
        bake: Duration,
        /// How long the old stays warm afterwards.
        keep: Duration,
    },
    /// Shift the traffic by degrees.
    Canary {
        /// Growing shares, the last one 100 %.
        steps: Vec<StrategyStep>,
        /// How long the old stays warm afterwards.
        keep: Duration,
    },
}

/// A share and how long it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrategyStep {
    /// The candidate's share.
    pub share: Share,
    /// How long it is watched.
    pub bake: Duration,
}
