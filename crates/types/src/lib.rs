//! The words of Tidegate as plain data.
//!
//! Every other crate speaks in these types. Nothing here reads a clock, a file
//! or a socket; what is persisted or sent between processes is serialised with
//! `serde` exactly as written here.

mod bucket;
mod counters;
pub mod data_plane;
mod duration;
mod evidence;
mod guard;
mod histogram;
mod identifier;
mod network;
mod observation;
mod outcome;
mod plan;
mod release;
mod revision;
mod route;
mod share;
mod timestamp;

pub use bucket::{Bucket, Buckets, Counted, Mark, Run, Unanswered};
pub use counters::Counters;
pub use duration::{Duration, InvalidDuration};
pub use evidence::{GuardReading, Sample, Verdict};
pub use guard::{Condition, Guard, Quantile, WithoutEvidence};
pub use histogram::{Histogram, InvalidHistogram};
pub use identifier::{
    ComponentName, DeploymentId, Digest, EnvironmentName, InstanceId, InvalidName, InvalidScope,
    ProjectName, ReleaseId, RevisionId, Scope,
};
pub use network::{InvalidNetwork, Network};
pub use observation::{
    InstanceFacts, InstanceFailure, InstanceState, LogLine, Observation, RevisionFacts, RouteFacts,
    RouteRefusal, WantedRevision, shortened,
};
pub use outcome::{Blame, Outcome, Outcomes};
pub use plan::{DeploymentKind, Plan, PlannedRevision, Rollout, Step};
pub use release::{Artifact, Release};
pub use revision::{
    HealthCheck, LogLimits, Probe, ProcessSpec, RevisionSpec, Signal, StaticSpec, StopPolicy,
    UnknownSignal, Workload,
};
pub use route::{
    AccessLog, Acme, CertificateFiles, Concurrency, Gateway, GatewayLimits, Handling, Listen,
    Maintenance, Protocol, QueryLogging, RouteEntry, RouteRule, RouteTable, Sticky, Tls,
    WeightedRevision,
};
pub use share::{InvalidShare, MoreThanAll, Share};
pub use timestamp::{Epoch, Generation, Timestamp};
