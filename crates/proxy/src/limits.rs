//! How long and how much.

use std::time::Duration;

use tidegate_types::GatewayLimits;

use crate::{acme::Pause, budget::Allowance, clock, health::Spans};

/// Time and size limits of the data plane; the defaults are safe for a public listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From a new connection to the end of the header that says for whom it is, and from there to
    /// the end of the handshake by which it is encrypted.
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
    /// How long an endpoint that refused a connection or failed several requests in a row is left
    /// alone the first time; doubled each time it does so again.
    pub ejection_first: Duration,
    /// The longest time an endpoint is left alone.
    pub ejection_longest: Duration,
    /// So many requests in a row have to fail. One refused connection is enough.
    pub ejection_failures: u32,
    /// No more of a revision's endpoints than this share in percent are left alone for requests
    /// that failed. Those that refuse connections are in any case.
    pub ejection_percent: u32,
    /// How long an endpoint that is new or has returned takes a smaller part than the others, where
    /// a route says nothing else.
    pub slow_start: Duration,
    /// Of the requests of the last ten seconds, this share in percent may be sent again.
    pub retry_percent: u32,
    /// And so many in any case, by each worker to each revision.
    pub retries: u32,
    /// How long answers carry `Connection: close` at the end before idle connections are closed,
    /// so that a client that is about to send is not cut off.
    pub drain_grace: Duration,
    /// How long requests in flight may take to end at the end.
    pub drain: Duration,
    /// The same when a successor serves already: nobody waits for it, and no long-lived connection
    /// is to be cut off by an upgrade.
    pub drain_succeeded: Duration,
    /// How long before such an end, and before that of an instance that has left, a `WebSocket` is
    /// told of it; it is cut off when it has not ended by then.
    pub farewell: Duration,
    /// The largest head of a request in bytes; less than 8 KiB counts as that.
    pub head_bytes: usize,
    /// The largest head of an answer in bytes.
    pub answer_head_bytes: usize,
    /// How long a mirrored request may take, its answer included.
    pub mirror: Duration,
    /// How many mirrored requests each worker has in flight; more are not sent.
    pub mirrored: usize,
    /// How many requests a client may have under way on one HTTP/2 connection.
    pub http2_streams: u32,
    /// How long it is waited before a certificate is ordered again after a failure, the first time;
    /// four times as long each time it fails again.
    pub order_pause: Duration,
    /// At most.
    pub order_pause_longest: Duration,
    /// How long the counters of a revision are kept when nothing names it any more.
    pub counters_kept: Duration,
    /// How long a step of time is for which is counted by itself.
    pub bucket: Duration,
    /// How many of these steps are kept for readers.
    pub buckets_kept: usize,
    /// How much they may hold together: one for each step, each revision that was asked in it, and
    /// each part of its histograms. A part takes 16 bytes.
    pub buckets_size: usize,
}

impl Limits {
    /// These, except for what a scope has of its own.
    pub(crate) fn with(&self, own: &GatewayLimits) -> Self {
        let time = |own: Option<tidegate_types::Duration>, all| own.map_or(all, Into::into);
        let bytes = own.head_size.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Self {
            head_bytes: bytes.unwrap_or(self.head_bytes),
            request_head: time(own.head_timeout, self.request_head),
            client_idle: time(own.idle_timeout, self.client_idle),
            connect: time(own.connect_timeout, self.connect),
            answer_head: time(own.answer_timeout, self.answer_head),
            http2_streams: own.http2_streams.unwrap_or(self.http2_streams),
            ..*self
        }
    }

    /// For how long an endpoint is left alone.
    pub(crate) fn ejection(&self) -> Spans {
        let [first, longest] = [self.ejection_first, self.ejection_longest].map(clock::in_millis);
        Spans { first, longest }
    }

    /// How long it is waited before a certificate is ordered again.
    pub(crate) fn order_pause(&self) -> Pause {
        Pause { first: self.order_pause, longest: self.order_pause_longest }
    }

    /// How many requests may be sent again.
    pub(crate) fn retries(&self) -> Allowance {
        Allowance { percent: self.retry_percent, least: self.retries }
    }
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
            ejection_failures: 5,
            ejection_percent: 50,
            slow_start: Duration::from_secs(10),
            retry_percent: 20,
            retries: 100,
            drain_grace: Duration::from_millis(300),
            drain: Duration::from_secs(10),
            farewell: Duration::from_secs(3),
            drain_succeeded: Duration::from_hours(1),
            head_bytes: 64 * 1024,
            answer_head_bytes: 64 * 1024,
            mirror: Duration::from_secs(10),
            mirrored: 64,
            http2_streams: 128,
            order_pause: Duration::from_mins(1),
            order_pause_longest: Duration::from_hours(6),
            counters_kept: Duration::from_mins(10),
            bucket: Duration::from_secs(10),
            buckets_kept: 360,
            buckets_size: 500_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::Duration as Span;

    use super::*;

    #[test]
    fn a_scope_may_have_limits_of_its_own() {
        let all = Limits::default();
        assert_eq!(all.with(&GatewayLimits::default()), all);
        let own = GatewayLimits {
            head_size: Some(10_000),
            head_timeout: Some(Span::from_secs(1)),
            idle_timeout: Some(Span::from_secs(2)),
            connect_timeout: Some(Span::from_secs(3)),
            answer_timeout: Some(Span::from_secs(4)),
            http2_streams: Some(5),
        };
        let wanted = Limits {
            head_bytes: 10_000,
            request_head: Duration::from_secs(1),
            client_idle: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            answer_head: Duration::from_secs(4),
            http2_streams: 5,
            ..all
        };
        assert_eq!(all.with(&own), wanted);
    }
}
