//! The data plane: an HTTP proxy that splits traffic between revisions.
//!
//! It runs as a process of its own, so that a control plane that restarts, upgrades or dies takes
//! no request with it. It knows routes, endpoints and counters ([`tidegate_types::data_plane`]),
//! and nothing about deployments.
//!
//! A control thread holds the tables and the control socket. Each worker is a thread with a
//! single-threaded runtime, its own copy of every table and its own connections to the endpoints;
//! workers share nothing on the path of a request but counters of which each writes its own part.

mod access_log;
mod acme;
mod answer;
mod backend;
mod begun;
mod budget;
pub mod client;
mod clock;
mod connection;
mod control;
mod descriptors;
mod disk;
mod door;
mod endpoint;
mod endpoint_http2;
mod executable;
mod files;
mod format;
mod forward;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod hand_over;
mod head;
mod health;
mod http2;
mod ingress;
mod ledger;
mod limits;
mod line;
mod live;
mod lock;
#[doc(hidden)]
pub mod measuring;
mod meter;
mod meters;
mod metrics;
mod mirror;
mod origin;
mod path;
mod pick;
mod plain;
pub mod probe;
mod proxy_header;
mod redirect;
mod registry;
mod request_body;
mod routing;
mod run;
mod search;
mod served;
mod store;
mod table;
mod ticket;
mod tls;
mod translate;
mod upgraded;
mod visitor;
mod websocket;
mod worker;

pub use acme::{Ordered, ordered};
pub use executable::build_of;
pub use limits::Limits;
pub use run::{Error, Options, run, run_with};
pub use tls::{ValidUntil, examine};
