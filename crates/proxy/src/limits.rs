//! How long and how much.

use std::time::Duration;

/// Time and size limits of the data plane; the defaults are safe for a public listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From a new connection to the end of the handshake by which it is encrypted.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its head.
    pub request_head: Duration,
    /// How long a client may keep a connection open without asking anything.
    pub client_idle: Duration,
    /// For a connection to an endpoint to be made.
    pub connect: Duration,
    /// From the last byte of a request to the head of its answer.
    pub answer_head: Duration,
    /// How long an unused connection to an endpoint is kept. Common application servers close
    /// theirs after 5 s: being first avoids the race in which a request meets a closing
    /// connection.
    pub upstream_idle: Duration,
    /// How many unused connections to one endpoint each worker keeps.
    pub upstream_idle_connections: usize,
    /// How long an endpoint that refused a connection is left alone the first time; doubled each
    /// time it refuses again.
    pub ejection_first: Duration,
    /// The longest time an endpoint is left alone.
    pub ejection_longest: Duration,
    /// How long answers carry `Connection: close` at the end before idle connections are closed,
    /// so that a client that is about to send is not cut off.
    pub drain_grace: Duration,
    /// How long requests in flight may take to end at the end.
    pub drain: Duration,
    /// The largest head of a request or an answer in bytes.
    pub head_bytes: usize,
    /// How long a mirrored request may take, its answer included.
    pub mirror: Duration,
    /// How many mirrored requests each worker has in flight; more are not sent.
    pub mirrored: usize,
    /// How many requests a client may have under way on one HTTP/2 connection.
    pub http2_streams: u32,
    /// How long the counters of a revision are kept when nothing names it any more.
    pub counters_kept: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(30),
            client_idle: Duration::from_secs(75),
            connect: Duration::from_secs(2),
            answer_head: Duration::from_mins(1),
            upstream_idle: Duration::from_secs(4),
            upstream_idle_connections: 256,
            ejection_first: Duration::from_secs(1),
            ejection_longest: Duration::from_secs(10),
            drain_grace: Duration::from_millis(300),
            drain: Duration::from_secs(10),
            head_bytes: 64 * 1024,
            mirror: Duration::from_secs(10),
            mirrored: 64,
            http2_streams: 128,
            counters_kept: Duration::from_mins(10),
        }
    }
}
