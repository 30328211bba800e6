//! What happens in one trial, as data that can be saved, shrunk and read.
//!
//! Nothing hangs off a random number's position: a fault is keyed by the call that it hits, an act
//! by its time, so that taking one away does not move the others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_types::WithoutEvidence;

use tidegate_sim::world::Behaviour;

/// One life of one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Of what is drawn: who of the visitors goes where, and which request fails.
    pub seed: u64,
    /// Requests per second to each component that takes some.
    pub rate: f64,
    /// What there is.
    pub components: Vec<Part>,
    /// As in `rollback.when`, with their `min_requests`.
    pub guards: Vec<(String, u64)>,
    /// As in `rollback.without_evidence`.
    pub without_evidence: WithoutEvidence,
    /// What can be deployed, by place in this list.
    pub releases: Vec<Made>,
    /// What people and the world do, in the order of time.
    pub acts: Vec<Timed>,
    /// What goes wrong between the engine and its target, store and preparer.
    pub faults: Vec<Fault>,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Instances at full size; a site has none.
    pub replicas: u32,
    /// As in the manifest.
    pub strategy: String,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Processes that take requests.
    Service,
    /// Processes that take none.
    Worker,
    /// Files.
    Site,
}

/// A release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Made {
    /// How its components behave. A component that is not named is as it was in the release before.
    pub changes: BTreeMap<String, Behaviour>,
    /// Components that it no longer has.
    pub without: Vec<String>,
    /// Instances at full size, in place of each component's own.
    pub replicas: Option<u32>,
    /// Milliseconds until it is built.
    pub takes: u64,
    /// It cannot be built.
    pub fails: bool,
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// In milliseconds from the start.
    pub at: u64,
    /// What.
    pub act: Act,
}

/// What people and the world do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Act {
    /// Somebody deploys a release.
    Deploy(usize),
    /// Somebody rolls back to the release before.
    RollBack,
    /// Somebody says so to the deployment under way.
    Pause,
    /// …
    Resume,
    /// … to the step that they see.
    Skip,
    /// …
    Abort,
    /// The control plane is killed, and is back so many milliseconds later.
    Crash(u64),
    /// For so many milliseconds a second control plane believes that it is in charge.
    Zombie(u64),
    /// The engine's clock jumps forward by so many milliseconds.
    Jump(u64),
    /// The proxy is down for so many milliseconds.
    ProxyDown(u64),
    /// An instance of what serves is killed.
    KillInstance,
    /// All traffic stops for so many milliseconds.
    Silence(u64),
}

/// The calls that a fault can hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are named after the calls of the store and the target")]
pub enum Call {
    Apply,
    Route,
    Observe,
    Traffic,
    Logs,
    Load,
    Pending,
    Commit,
    Request,
    Accept,
    Samples,
    Prepare,
}

/// The nth call of a kind goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which kind.
    pub call: Call,
    /// Which of them, from 1.
    pub nth: u32,
    /// How.
    pub how: How,
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// It fails and did nothing.
    Before,
    /// It did what it should and says that it failed.
    After,
    /// It did nothing and never answers.
    Hangs,
    /// It did what it should and never answers.
    Lost,
    /// It did half of it and says that it failed. As `Before` where there are no halves.
    Partial,
    /// It says that it failed, and does it so many milliseconds later all the same.
    Late(u64),
    /// It answers so many milliseconds late.
    Slow(u64),
    /// It answers what it answered before. As `Before` where that makes no sense.
    Stale,
    /// It is refused for good. As `Before` where nothing can be.
    Refused,
    /// The control plane is killed right before it, and is back so many milliseconds later.
    CrashBefore(u64),
    /// The control plane is killed right after it, before it knows the answer.
    CrashAfter(u64),
}

impl Scenario {
    /// The scenario as a file.
    pub fn to_text(&self) -> Result<String, ron::Error> {
        let pretty = ron::ser::PrettyConfig::new().depth_limit(3);
        ron::ser::to_string_pretty(self, pretty).map(|text| text + "\n")
    }

    /// A scenario from a file.
    pub fn from_text(text: &str) -> Result<Self, ron::error::SpannedError> {
        ron::from_str(text)
    }
}
