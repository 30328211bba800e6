//! The words between the control plane and the data plane.
//!
//! Each message is one line of JSON on the proxy's control socket; each [`Request`] is answered by
//! one [`Response`]. The proxy knows routes, endpoints and counters, and nothing about deployments.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    Buckets, Counted, Counters, Duration, Epoch, Gateway, HealthCheck, InstanceId, Mark, Probe,
    Protocol, RevisionId, RouteRule, Run, Scope, Share, Unanswered,
};

/// The whole routing of one scope with its endpoints.
///
/// Ordered by `epoch` (who gets which share) and then by `membership` (who is there); an older one
/// is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyTable {
    /// The scope.
    pub scope: Scope,
    /// From the route table.
    pub epoch: Epoch,
    /// Grows whenever an endpoint comes or goes.
    pub membership: u64,
    /// Where to listen, and how.
    pub gateway: Gateway,
    /// The routes; the longest matching path wins, a named host before any host.
    pub routes: Vec<ProxyRoute>,
}

/// One route and who answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyRoute {
    /// Which requests.
    pub rule: RouteRule,
    /// Shares add up to 100 %, or there are none.
    pub backends: Vec<ProxyBackend>,
}

/// A revision that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyBackend {
    /// The name under which its requests are counted.
    pub revision: RevisionId,
    /// Its share of the route's requests.
    pub share: Share,
    /// A name under which the header `Tidegate-Revision` asks for it, besides the revision's own.
    /// The one called `stable` answers without a share when nobody who has one can be asked.
    pub role: String,
    /// Where the requests go.
    pub upstream: Upstream,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upstream {
    /// To one of these; a backend without endpoints gives its share to the others.
    Endpoints(Vec<Endpoint>),
    /// To files below this folder.
    Files {
        /// The folder.
        root: PathBuf,
        /// Answer unknown paths without an extension with `/index.html`.
        single_page: bool,
        /// Other releases, the newest first. A file with a fingerprint in its name that is not below
        /// `root` is looked for there: pages of those releases are still open somewhere.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<OtherFiles>,
    },
}

/// The files of another release of the same component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherFiles {
    /// The revision they belong to.
    pub revision: RevisionId,
    /// The folder.
    pub root: PathBuf,
}

/// One instance that takes requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The instance.
    pub instance: InstanceId,
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is asked whether it is fit for requests; none when it is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// What it speaks: that of its own revision, as another release may speak otherwise.
    #[serde(default)]
    pub protocol: Protocol,
    /// When no table names it any more, it is stopped after this time; what would take longer is told
    /// to end before. Without, nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Duration>,
}

/// How the proxy asks an instance, for as long as a table names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is asked.
    pub question: Question,
    /// Time between two questions.
    pub interval: Duration,
    /// A question without an answer by then has failed.
    pub timeout: Duration,
    /// So many failures in a row make an instance unfit.
    pub failures: u32,
    /// So many good answers in a row make it fit again.
    pub successes: u32,
}

/// What an instance can be asked from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Does GET on this path answer 200 to 399?
    Http {
        /// The path, starting with `/`.
        path: String,
    },
    /// Does the port accept a connection?
    Tcp,
}

impl Check {
    /// The part of a component's health check that can be asked from outside. None when it is told
    /// by a command or by age, which only who started the instance can know.
    #[must_use]
    pub fn of(health: &HealthCheck) -> Option<Self> {
        let question = match health.ready.as_ref().unwrap_or(&health.live) {
            Probe::Http { path } => Question::Http { path: path.clone() },
            Probe::Tcp => Question::Tcp,
            Probe::Command { .. } | Probe::Running { .. } => return None,
        };
        Some(Self {
            question,
            interval: health.interval,
            timeout: health.timeout,
            failures: health.retries,
            successes: 1,
        })
    }
}

/// What the control plane asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Put this table in place of the scope's former one. Answered when every new request follows
    /// it.
    Publish(ProxyTable),
    /// Forget a scope and close its listener.
    Remove(Scope),
    /// The tables in force.
    Tables,
    /// Counters of all revisions of a scope, and requests in flight.
    Traffic(Scope),
    /// How the instances of a scope are, and who waits for them.
    Health(Scope),
    /// The buckets of a scope that were closed after the one that was read last.
    Buckets {
        /// The scope.
        scope: Scope,
        /// None to be given all that are kept.
        after: Option<Mark>,
    },
    /// End: stop listening, let requests in flight end, exit.
    Shutdown,
    /// Which build it is.
    Build,
    /// A successor asks for all that is needed to serve. Answered by [`Response::HandedOver`];
    /// nothing changes until it says [`Request::Inherit`].
    HandOver,
    /// The successor, on the same connection: it serves, and wants to know what is counted. The
    /// first time, its predecessor gives up its place before it answers. From then on tables that
    /// are published on this connection are followed, and nobody else is heard.
    Inherit,
}

/// What the proxy answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The table is in force.
    Published {
        /// Of the table.
        epoch: Epoch,
        /// Of the table.
        membership: u64,
        /// Where the scope listens.
        address: SocketAddr,
    },
    /// The table was refused; what was in force before still is.
    Refused(Refusal),
    /// The tables in force, with the address each scope listens on.
    Tables(Vec<ServedTable>),
    /// The counters.
    Traffic(Traffic),
    /// The instances and the queues.
    Health(Health),
    /// The buckets.
    Buckets(Buckets),
    /// Names the executable from which the proxy runs: two runs of the same file have the same.
    Build(String),
    /// The scopes that are served. With it come the lock of the home, the control socket, and the
    /// listening sockets of the scopes that are said to have one, in this order.
    HandedOver(Vec<HandedOver>),
    /// What the predecessor counted.
    Inherited(Inheritance),
    /// Done.
    Done,
}

/// A scope that is given to a successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// Its table.
    pub table: ProxyTable,
    /// Where it listens, or should.
    pub address: SocketAddr,
    /// Whether a listening socket comes with it.
    pub listens: bool,
    /// Where clients in plain text are sent to HTTPS from, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<HandedOverRedirect>,
}

/// A place where clients come in plain text to be sent to HTTPS, given to a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOverRedirect {
    /// Where it is, or should be.
    pub address: SocketAddr,
    /// Whether a listening socket comes with it, after that of the scope.
    pub listens: bool,
}

/// A table in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedTable {
    /// The table.
    pub table: ProxyTable,
    /// Where its scope listens; none when the address could not be bound after a restart.
    pub address: Option<SocketAddr>,
    /// Where clients in plain text are sent to HTTPS from; none when they are not, or the address
    /// could not be bound after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<SocketAddr>,
}

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A newer one is in force.
    #[error("a newer route table is in force: epoch {epoch}, membership {membership}")]
    Stale {
        /// In force.
        epoch: Epoch,
        /// In force.
        membership: u64,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        reason: String,
    },
    /// The table contradicts itself, or a removal could not be stored.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
}

/// What was counted in one scope since the run began, by all who took part in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// The run that counted. What another one counted before is no part of it.
    #[serde(default)]
    pub run: Run,
    /// By revision, also of revisions that are no longer routed to while they still drain.
    pub revisions: BTreeMap<RevisionId, Counters>,
    /// Requests in flight by instance, upgraded connections included; no entry means none.
    pub in_flight: BTreeMap<InstanceId, u64>,
    /// Requests that no revision answered.
    #[serde(default)]
    pub unanswered: Unanswered,
}

/// What a predecessor counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inheritance {
    /// In all scopes, with what is still in flight there.
    pub traffic: BTreeMap<Scope, Traffic>,
    /// The first time only: from then on its successor closes the buckets, of what both count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<HandedLedger>,
}

/// The buckets of a run that goes on in another process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedLedger {
    /// The run.
    pub run: Run,
    /// How long it has lasted.
    pub age: Duration,
    /// The steps that are kept, in order. The last ends now: all that is in the traffic that comes
    /// with it is in one of them.
    pub closed: Vec<ClosedStep>,
}

/// A step of time that is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedStep {
    /// One more than that of the step before.
    pub number: u64,
    /// When it began, from the beginning of the run.
    pub from: Duration,
    /// When it ended.
    pub to: Duration,
    /// What was counted in it; no entry means nothing.
    pub scopes: BTreeMap<Scope, CountedInScope>,
}

/// What one scope counted in one step of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedInScope {
    /// By revision, without those that nobody asked.
    pub revisions: BTreeMap<RevisionId, Counted>,
    /// Requests that no revision answered.
    pub unanswered: Unanswered,
}

/// How the proxy sees the instances of a scope, and who waits for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Those that the table in force names.
    pub instances: BTreeMap<InstanceId, Fitness>,
    /// By revision, where its instances take a limited number of requests.
    pub queues: BTreeMap<RevisionId, Queue>,
    /// Of the whole scope, where it takes a limited number of requests.
    pub gateway: Option<Queue>,
}

/// How an instance is. Requests go to the fittest; an unfit one is asked when there is no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// It takes its part.
    Fit,
    /// It is new or has returned, and takes a growing part.
    Warming,
    /// It was not asked yet.
    Unknown,
    /// It does not answer its check as it should.
    Unfit,
    /// It failed requests, and is left alone for a while.
    Ejected,
    /// Nobody listens there, and it is left alone for a while.
    Unreachable,
}

/// A queue of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that waited and were let in, since the proxy knows the queue.
    pub waited: u64,
    /// How long they waited, added up, in microseconds.
    pub waited_micros: u64,
    /// Requests that were turned away because the queue was full.
    pub full: u64,
    /// Requests that were turned away because they had waited for too long.
    pub late: u64,
}
