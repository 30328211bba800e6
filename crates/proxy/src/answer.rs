//! What a client gets: an endpoint's answer, a file, or words of our own.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SERVER},
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tidegate_types::Outcome;

use crate::{
    access_log::Entry,
    connection::Busy,
    endpoint::Connection,
    files::FileBody,
    format::{self, Format},
    plain,
    ticket::Ticket,
    translate,
    worker::Worker,
};

const REASON: HeaderName = HeaderName::from_static("tidegate-reason");

/// Why the proxy itself answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// The request cannot be trusted.
    BadRequest,
    /// Nobody is asked, as a person said.
    Maintenance,
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
    /// The client stopped in the middle of its request.
    Unfinished,
}

impl Own {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => {
                (StatusCode::BAD_REQUEST, "bad-request", "the request is malformed")
            }
            Self::Maintenance => (
                StatusCode::SERVICE_UNAVAILABLE,
                "maintenance",
                "down for maintenance; try again in a few minutes",
            ),
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
            Self::Unfinished => (
                StatusCode::REQUEST_TIMEOUT,
                "request-timeout",
                "the rest of the request did not come in time",
            ),
        }
    }

    /// Its name.
    pub(crate) fn reason(self) -> &'static str {
        self.parts().1
    }

    /// The answer, in the form that the client would rather have. Pages are for what passes by
    /// itself; the others are to be understood by whoever made the request.
    pub(crate) fn answer(self, format: Format, detail: Option<&str>) -> Response<AnswerKind> {
        let (status, reason, sentence) = self.parts();
        let passes = status == StatusCode::SERVICE_UNAVAILABLE;
        let format = if format == Format::Html && !passes { Format::Text } else { format };
        let sentence = detail.unwrap_or(sentence);
        let number = status.as_u16();
        let body = match format {
            Format::Json => {
                let message = serde_json::Value::from(sentence);
                format!(
                    "{{\"from\":\"tidegate\",\"status\":{number},\"reason\":\"{reason}\",\"message\":{message}}}\n"
                )
            }
            Format::Html => {
                let title = match self {
                    Self::Maintenance => "Down for maintenance",
                    _ => "Not available at the moment",
                };
                let known =
                    if detail.is_none() { "Please try again in a moment." } else { sentence };
                format::page(number, title, known)
            }
            Format::Text if self == Self::Maintenance => format!("{sentence}\n"),
            Format::Text => format!("Tidegate: {number} ({reason}): {sentence}.\n"),
        };
        let mut response = Response::new(AnswerKind::Fixed(Some(Bytes::from(body))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(SERVER, HeaderValue::from_static("tidegate"));
        headers.insert(REASON, HeaderValue::from_static(reason));
        if passes {
            let seconds = if self == Self::Maintenance { "60" } else { "1" };
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if matches!(self, Self::BadRequest | Self::Unfinished) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The body of an answer. Its connection is busy as long as there is one.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    // Dropped in this order: the line is written when the answer has ended.
    kind: AnswerKind,
    _busy: Busy,
    _entry: Option<Rc<Entry>>,
}

impl AnswerBody {
    pub(crate) fn new(kind: AnswerKind, busy: Busy, entry: Option<Rc<Entry>>) -> Self {
        Self { kind, _busy: busy, _entry: entry }
    }
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The endpoint broke off.
    #[error(transparent)]
    Endpoint(hyper::Error),
    /// The same on a connection without the library.
    #[error(transparent)]
    Plain(std::io::Error),
    /// The file cannot be read to the end.
    #[error(transparent)]
    File(std::io::Error),
}

/// Where the body comes from.
#[derive(Debug)]
pub(crate) enum AnswerKind {
    Fixed(Option<Bytes>),
    Endpoint(EndpointBody),
    Plain(plain::AnswerBody),
    File(FileBody, Ticket),
}

impl AnswerKind {
    /// How many bytes an answer of our own has.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Fixed(Some(bytes)) => bytes.len() as u64,
            _ => 0,
        }
    }
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
        ticket.complete();
        if ends_with_status {
            ticket.said_failed();
        }
        ticket.did_well();
        if let Some(endpoint) = ticket.endpoint() {
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
                running.ticket.said_failed();
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
                    ticket.fail(Outcome::ProxyFailed);
                    Poll::Ready(Some(Err(BodyError::File(error))))
                }
                Some(Ok(bytes)) => {
                    ticket.sends(bytes.len());
                    if file.left() == 0 {
                        ticket.complete();
                    }
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                None => Poll::Ready(None),
            },
            AnswerKind::Plain(body) => {
                body.poll_frame(context).map(|part| part.map(|part| part.map_err(BodyError::Plain)))
            }
            AnswerKind::Endpoint(body) => {
                let poll = body.poll_incoming(context);
                match &poll {
                    Poll::Ready(None) => body.end(),
                    Poll::Ready(Some(Ok(frame))) => {
                        if let (Some(running), Some(data)) = (&mut body.running, frame.data_ref()) {
                            running.ticket.sends(data.len());
                        }
                        if let Some(trailers) = frame.trailers_ref() {
                            body.note_trailers(trailers);
                            // Nothing follows them, and nobody asks.
                            body.end();
                        }
                        body.end_if_complete();
                    }
                    Poll::Ready(Some(Err(error))) => {
                        if let Some(Running { mut ticket, connection, .. }) = body.running.take() {
                            if connection.counts_as_failure(error) {
                                ticket.broke_off(&body.worker.limits);
                            } else {
                                ticket.fail(Outcome::EndpointReset);
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
            AnswerKind::Plain(body) => body.is_over(),
            AnswerKind::Endpoint(body) => body.incoming.is_end_stream(),
            AnswerKind::File(file, _) => file.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            AnswerKind::Fixed(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            AnswerKind::Plain(body) => body.size_hint(),
            AnswerKind::Endpoint(body) => body.incoming.size_hint(),
            AnswerKind::File(file, _) => SizeHint::with_exact(file.left()),
        }
    }
}
