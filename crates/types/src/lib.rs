//! The words of Tidegate as plain data.
//!
//! Every other crate speaks in these types. Nothing here reads a clock, a file
//! or a socket; what is persisted or sent between processes is serialised with
//! `serde` exactly as written here.

pub mod data_plane;
mod duration;
mod evidence;
mod guard;
mod histogram;
mod identifier;
mod observation;
mod plan;
mod release;
mod revision;
mod route;
mod share;
mod timestamp;

pub use duration::{Duration, InvalidDuration};
pub use evidence::{Counters, GuardReading, Sample, Verdict};
pub use guard::{Condition, Guard, Quantile, WithoutEvidence};
pub use histogram::Histogram;
pub use identifier::{
    ComponentName, DeploymentId, Digest, EnvironmentName, InstanceId, InvalidName, InvalidScope,
    ProjectName, ReleaseId, RevisionId, Scope,
};
pub use observation::{
    InstanceFacts, InstanceFailure, InstanceState, LogLine, Observation, RevisionFacts, RouteFacts,
    RouteRefusal, WantedRevision, shortened,
};
pub use plan::{DeploymentKind, Plan, PlannedRevision, Rollout, Step};
pub use release::{Artifact, Release};
pub use revision::{
    HealthCheck, LogLimits, Probe, ProcessSpec, RevisionSpec, Signal, StaticSpec, StopPolicy,
    UnknownSignal, Workload,
};
pub use route::{
    CertificateFiles, Concurrency, Gateway, Handling, Listen, Protocol, RouteEntry, RouteRule,
    RouteTable, Sticky, Tls, WeightedRevision,
};
pub use share::{InvalidShare, MoreThanAll, Share};
pub use timestamp::{Epoch, Generation, Timestamp};
