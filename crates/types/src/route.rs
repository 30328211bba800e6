//! Who gets which share of the traffic.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{ComponentName, Duration, Epoch, Network, RevisionId, Scope, Share};

/// Where and how an environment is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The address.
    pub listen: Listen,
    /// How it is encrypted; plain HTTP when absent.
    #[serde(default)]
    pub tls: Option<Box<Tls>>,
    /// How many requests may be in flight at once; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Where what is counted can be read, as text for Prometheus; nowhere when absent.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// Where each request leaves a line; nowhere when absent.
    #[serde(default)]
    pub access_log: Option<Box<AccessLog>>,
    /// What these say of where a request comes from is believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<Network>,
    /// Connections begin with a header of the PROXY protocol that says for whom they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// How long and how much, where it is not what the proxy has for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<GatewayLimits>>,
    /// No request goes to anybody, as a person said. No manifest says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
}

/// How long clients and instances may take, and how much a client may send. The proxy has defaults
/// for what is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayLimits {
    /// The largest head of a request in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_size: Option<u64>,
    /// From the first byte of a request to the end of its head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_timeout: Option<Duration>,
    /// How long a client may keep a connection open without asking anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// For a connection to an instance to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// From the last byte of a request to the head of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_timeout: Option<Duration>,
    /// How many requests a client may have under way on one HTTP/2 connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2_streams: Option<u32>,
}

/// What is said to those who come during maintenance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// A sentence for them; the proxy has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A file in which requests leave a line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// The file; an absolute path.
    pub path: PathBuf,
    /// This share of the requests. Those that failed always leave a line.
    pub sample: Share,
    /// What is written of query strings.
    #[serde(default)]
    pub query: QueryLogging,
}

/// What is written of the query string of a request, in which there may be secrets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryLogging {
    /// The names of its parameters without their values.
    #[default]
    Names,
    /// All of it.
    Keep,
    /// Nothing.
    Drop,
}

impl From<Listen> for Gateway {
    fn from(listen: Listen) -> Self {
        Self { listen, ..Self::default() }
    }
}

/// How what is said with clients is encrypted. A client is shown the first certificate that is valid
/// for the name it asks for; the first of all when none is, or when it names none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Those of the user, which come first.
    pub certificates: Vec<CertificateFiles>,
    /// Those that the proxy orders and renews by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<Acme>,
    /// Whoever asks here in plain text is told to come back by HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_from: Option<SocketAddr>,
}

/// Certificates that an authority issues to whoever proves that a host is his (ACME, RFC 8555). To
/// have this in a table is to agree to the authority's terms.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Acme {
    /// Each of these hosts has a certificate of its own; in lower case.
    pub hosts: Vec<String>,
    /// Where the authority reaches somebody.
    #[serde(default)]
    pub email: Option<String>,
    /// The address of the authority's directory.
    pub directory: String,
    /// A file in PEM form with who is trusted to vouch for the authority's own server; those that
    /// the system trusts when absent.
    #[serde(default)]
    pub root: Option<PathBuf>,
}

/// A certificate and its key, each in a file in PEM form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CertificateFiles {
    /// The certificate and those that lead to one that clients trust; an absolute path.
    pub certificate: PathBuf,
    /// Its private key; an absolute path.
    pub key: PathBuf,
}

/// How many requests may be in flight at once, and what becomes of more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Concurrency {
    /// In flight at once, at least one.
    pub limit: u32,
    /// So many more wait for their turn; the others are turned away at once.
    pub queue: u32,
    /// Who has waited for this long is turned away.
    pub wait: Duration,
}

/// Which requests a component answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteRule {
    /// Only requests for this host, without port; any host when absent.
    pub host: Option<String>,
    /// Only paths that are this or below it; starts with `/`. The longest match wins.
    pub path: String,
    /// Remove `path` before the request goes on.
    pub strip_prefix: bool,
    /// What is done with them.
    #[serde(default)]
    pub handling: Handling,
}

impl RouteRule {
    /// Every request.
    #[must_use]
    pub fn everything() -> Self {
        Self { host: None, path: "/".into(), strip_prefix: false, handling: Handling::default() }
    }
}

/// What is done with the requests of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Handling {
    /// How a visitor is known again, who stays with one revision then; none divides by request.
    pub sticky: Option<Sticky>,
    /// Of the requests without a body that others answer and that change nothing, this share is
    /// sent to the candidate as a copy, too. Its answers are thrown away and not counted.
    pub mirror: Share,
    /// How many requests each instance takes at once; any number when absent.
    pub concurrency: Option<Concurrency>,
    /// How long an instance that is new or has returned takes a smaller part than the others; the
    /// proxy's own default when absent.
    pub slow_start: Option<Duration>,
    /// What is spoken with the instances.
    pub protocol: Protocol,
}

/// What is spoken with instances.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without encryption, by prior knowledge, as gRPC has it.
    H2c,
}

/// How a visitor is known again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// By a signed cookie of the proxy's own.
    Cookie,
    /// By the value of this header, whose name is in lower case; who does not send it is divided
    /// by request.
    Header(String),
}

/// Where an environment is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// A free port on the loopback address, chosen once and kept.
    #[default]
    Automatic,
    /// This address.
    Address(SocketAddr),
}

/// The whole routing of one scope: a pure function of its state, published whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// The scope.
    pub scope: Scope,
    /// Grows with every change.
    pub epoch: Epoch,
    /// Where and how the scope is reached.
    pub gateway: Gateway,
    /// One entry for each component that takes requests.
    pub routes: Vec<RouteEntry>,
}

/// The routing of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// The component.
    pub component: ComponentName,
    /// Which requests.
    pub rule: RouteRule,
    /// Shares add up to 100 %, or there are none. A share of 0 is reached by header only.
    pub backends: Vec<WeightedRevision>,
}

/// A revision and its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedRevision {
    /// The revision.
    pub revision: RevisionId,
    /// Its share of the component's requests.
    pub share: Share,
    /// `stable` or `candidate`, for the header that asks for one of them.
    pub role: String,
}
