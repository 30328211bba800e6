//! Counts the requests that a proxy loses while everything around it changes.
//!
//! Clients that know what they sent and what must come back drive a proxy, a process of its own,
//! while the shares of two versions change a thousand times, instances come, are drained and
//! stopped, one is killed, nobody is there to publish, and another process takes the proxy's place.
//!
//! **Lost** is a request that was not answered by a right version with the right body. A version is
//! right when it had a share at some moment between when the request was sent and when the head of
//! its answer was there; which bytes are right follows from the version and the request's number.
//! **Excused** is only what was in flight on an instance while that was killed, and not safe to
//! repeat: a POST, a WebSocket, or an answer that had begun. A kept connection that is closed before
//! anything was sent on it is no loss, nor is a request of HTTP/2 of which the proxy says that it did
//! not look at it. Everything else is one, and no client tries again.

mod book;
mod client;
mod content;
mod door;
mod fleet;
pub mod instance;
mod paced;
mod process;
mod report;
mod scenario;
mod subject;

pub use book::Tally;
pub use client::Kind;
pub use report::Report;
pub use scenario::{Done, Settings, run};
pub use subject::Contender;

/// Why the requests could not be counted.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
