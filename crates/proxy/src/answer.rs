//! What a client gets: an endpoint's answer, a file, or words of our own.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SERVER},
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::{
    backend::Backend,
    connection::Busy,
    endpoint::{Connection, Endpoint},
    files::FileBody,
    gate::Slot,
    limits::Limits,
    translate,
    worker::Worker,
};

const REASON: HeaderName = HeaderName::from_static("tidegate-reason");

/// Why the proxy itself answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// The request cannot be trusted.
    BadRequest,
    /// No route takes it.
    NoRoute,
    /// The header asks for a revision that is not there.
    NoSuchRevision,
    /// Nobody is there to answer.
    NobodyReady,
    /// Too many wait for the revision already.
    QueueFull,
    /// The revision had no room for too long.
    QueueTimeout,
    /// Too many wait for the scope already.
    GatewayFull,
    /// The scope had no room for too long.
    GatewayTimeout,
    /// Whoever was asked did not answer properly.
    BadGateway,
    /// Whoever was asked did not answer in time.
    Timeout,
}

impl Own {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => {
                (StatusCode::BAD_REQUEST, "bad-request", "the request is malformed")
            }
            Self::NoRoute => {
                (StatusCode::NOT_FOUND, "no-route", "no route takes this host and path")
            }
            Self::NoSuchRevision => (
                StatusCode::NOT_FOUND,
                "no-such-revision",
                "the revision that the header Tidegate-Revision asks for is not routed to",
            ),
            Self::NobodyReady => (
                StatusCode::SERVICE_UNAVAILABLE,
                "nobody-ready",
                "no instance is ready to answer; try again in a moment",
            ),
            Self::QueueFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "queue-full",
                "all instances are busy and too many requests wait for them; try again in a moment",
            ),
            Self::QueueTimeout => (
                StatusCode::SERVICE_UNAVAILABLE,
                "queue-timeout",
                "all instances were busy for as long as a request may wait; try again in a moment",
            ),
            Self::GatewayFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "gateway-full",
                "too many requests are in flight and wait already; try again in a moment",
            ),
            Self::GatewayTimeout => (
                StatusCode::SERVICE_UNAVAILABLE,
                "gateway-timeout",
                "too many requests were in flight for as long as one may wait; try again in a moment",
            ),
            Self::BadGateway => {
                (StatusCode::BAD_GATEWAY, "no-answer", "the application did not answer properly")
            }
            Self::Timeout => {
                (StatusCode::GATEWAY_TIMEOUT, "timeout", "the application did not answer in time")
            }
        }
    }

    /// The answer, as JSON when the client would rather have that.
    pub(crate) fn answer(self, json: bool, detail: Option<&str>) -> Response<AnswerKind> {
        let (status, reason, sentence) = self.parts();
        let sentence = detail.unwrap_or(sentence);
        // The sentences are ours and need no escaping.
        let (body, content_type) = if json {
            let text = format!(
                "{{\"from\":\"tidegate\",\"status\":{},\"reason\":\"{reason}\",\"message\":\"{sentence}\"}}\n",
                status.as_u16()
            );
            (text, "application/json")
        } else {
            let text = format!("Tidegate: {} ({reason}): {sentence}.\n", status.as_u16());
            (text, "text/plain; charset=utf-8")
        };
        let mut response = Response::new(AnswerKind::Fixed(Some(Bytes::from(body))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(SERVER, HeaderValue::from_static("tidegate"));
        headers.insert(REASON, HeaderValue::from_static(reason));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self == Self::BadRequest {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Whether a client would rather have JSON than text.
pub(crate) fn wants_json<B>(request: &Request<B>) -> bool {
    request
        .headers()
        .get(http::header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("application/json"))
}

/// A request that a revision answers: in flight until it is dropped, and then counted.
#[derive(Debug)]
pub(crate) struct Ticket {
    worker: usize,
    backend: Rc<Backend>,
    endpoint: Option<Rc<Endpoint>>,
    started: Instant,
    failed: bool,
    counted: bool,
    /// Its place at the instance, where their number is limited.
    slot: Option<Slot>,
    /// Its place in the scope, where their number is limited.
    place_in_scope: Option<Slot>,
}

impl Ticket {
    /// A request begins. `started` is when its head was read.
    pub(crate) fn new(
        worker: &Worker,
        backend: Rc<Backend>,
        endpoint: Option<Rc<Endpoint>>,
        started: Instant,
    ) -> Self {
        if let Some(endpoint) = &endpoint {
            endpoint.begin(worker.index);
        }
        Self {
            worker: worker.index,
            backend,
            endpoint,
            started,
            failed: false,
            counted: true,
            slot: None,
            place_in_scope: None,
        }
    }

    /// With its place at the instance.
    pub(crate) fn at(mut self, slot: Option<Slot>) -> Self {
        self.slot = slot;
        self
    }

    /// With its place in the scope.
    pub(crate) fn within(mut self, slot: Option<Slot>) -> Self {
        self.place_in_scope = slot;
        self
    }

    /// The revision that answers it.
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The instance did what was asked of it, unless it said otherwise at the beginning.
    pub(crate) fn did_well(&self) {
        if let Some(endpoint) = self.endpoint.as_ref().filter(|_| !self.failed) {
            endpoint.health.answered();
        }
    }

    /// The instance broke off in the middle of its answer.
    fn broke_off(&mut self, limits: &Limits) {
        self.fail();
        if let Some(endpoint) = &self.endpoint {
            self.backend.has_failed(endpoint, limits);
        }
    }

    /// The revision failed it.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// It is tried elsewhere, or was not the revision's to answer: not counted.
    pub(crate) fn discard(mut self) {
        self.counted = false;
    }

    /// Counts it now; it stays in flight.
    pub(crate) fn count(&mut self) {
        if std::mem::take(&mut self.counted) {
            let elapsed = self.started.elapsed();
            self.backend.meter.record(self.worker, self.failed, elapsed);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // First counted, then no longer in flight: who sees that nothing is in flight has all
        // counts.
        self.count();
        if let Some(endpoint) = &self.endpoint {
            endpoint.end(self.worker);
        }
    }
}

/// The body of an answer. Its connection is busy as long as there is one.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    kind: AnswerKind,
    _busy: Busy,
}

impl AnswerBody {
    pub(crate) fn new(kind: AnswerKind, busy: Busy) -> Self {
        Self { kind, _busy: busy }
    }
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The endpoint broke off.
    #[error(transparent)]
    Endpoint(hyper::Error),
    /// The file cannot be read to the end.
    #[error(transparent)]
    File(std::io::Error),
}

/// Where the body comes from.
#[derive(Debug)]
pub(crate) enum AnswerKind {
    Fixed(Option<Bytes>),
    Endpoint(EndpointBody),
    File(FileBody, Ticket),
}

/// The body of an endpoint's answer; gives the connection back when it has ended.
#[derive(Debug)]
pub(crate) struct EndpointBody {
    incoming: Incoming,
    /// None once the answer has ended.
    running: Option<Running>,
    worker: Rc<Worker>,
}

/// An answer that is under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) ticket: Ticket,
    pub(crate) connection: Connection,
    /// The answer says at its end how it went, as with gRPC; it failed when it does not.
    pub(crate) ends_with_status: bool,
}

impl EndpointBody {
    pub(crate) fn new(incoming: Incoming, running: Running, worker: Rc<Worker>) -> Self {
        let mut body = Self { incoming, running: Some(running), worker };
        body.end_if_complete();
        body
    }

    /// The end may be known before anybody asks for more, and then nobody asks.
    fn end_if_complete(&mut self) {
        if self.incoming.is_end_stream() {
            self.end();
        }
    }

    /// What has come in already, or comes in when the connection is driven. The connection reads
    /// only what somebody has asked for.
    fn poll_incoming(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let poll = Pin::new(&mut self.incoming).poll_frame(context);
        match &mut self.running {
            Some(running) if poll.is_pending() => {
                running.connection.drive(context);
                Pin::new(&mut self.incoming).poll_frame(context)
            }
            _ => poll,
        }
    }

    fn end(&mut self) {
        let Some(Running { mut ticket, connection, ends_with_status }) = self.running.take() else {
            return;
        };
        if ends_with_status {
            ticket.fail();
        }
        if let Some(endpoint) = &ticket.endpoint {
            ticket.did_well();
            endpoint.give_back(connection, &self.worker.limits);
        }
    }

    /// What an answer says at its end.
    fn note_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(running) = &mut self.running
            && running.ends_with_status
        {
            running.ends_with_status = false;
            if translate::grpc_failed(trailers) != Some(false) {
                running.ticket.fail();
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            AnswerKind::Fixed(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            AnswerKind::File(file, ticket) => match file.next() {
                Some(Err(error)) => {
                    ticket.fail();
                    Poll::Ready(Some(Err(BodyError::File(error))))
                }
                next => {
                    Poll::Ready(next.map(|bytes| bytes.map(Frame::data).map_err(BodyError::File)))
                }
            },
            AnswerKind::Endpoint(body) => {
                let poll = body.poll_incoming(context);
                match &poll {
                    Poll::Ready(None) => body.end(),
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Some(trailers) = frame.trailers_ref() {
                            body.note_trailers(trailers);
                        }
                        body.end_if_complete();
                    }
                    Poll::Ready(Some(Err(error))) => {
                        if let Some(Running { mut ticket, connection, .. }) = body.running.take() {
                            if connection.counts_as_failure(error) {
                                ticket.broke_off(&body.worker.limits);
                            } else {
                                ticket.fail();
                            }
                        }
                    }
                    Poll::Pending => {}
                }
                poll.map_err(BodyError::Endpoint)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            AnswerKind::Fixed(bytes) => bytes.is_none(),
            AnswerKind::Endpoint(body) => body.incoming.is_end_stream(),
            AnswerKind::File(file, _) => file.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            AnswerKind::Fixed(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            AnswerKind::Endpoint(body) => body.incoming.size_hint(),
            AnswerKind::File(file, _) => SizeHint::with_exact(file.left()),
        }
    }
}
