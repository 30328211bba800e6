//! What is noted of a request while it is under way.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use tidegate_types::Outcome;

use super::{line::Line, sink::Sink};
use crate::{backend::Backend, endpoint::Endpoint, head, meter::Ended, pick::Random};

/// What is noted of a request. Whoever has something to do with it holds it; when nobody does any
/// more, its line is written.
#[derive(Debug)]
pub(crate) struct Entry {
    sink: Rc<Sink>,
    started: Instant,
    sampled: bool,
    client: IpAddr,
    version: Version,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    trace: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    id: RefCell<Option<HeaderValue>>,
    status: Cell<Option<StatusCode>>,
    reason: Cell<Option<&'static str>>,
    retries: Cell<u32>,
    connect: Cell<Option<Duration>>,
    /// Another one tells of this request.
    withdrawn: Cell<bool>,
    end: RefCell<End>,
}

/// How it ended at the revision that was asked last.
#[derive(Debug, Default)]
struct End {
    outcome: Option<Outcome>,
    revision: Option<Rc<Backend>>,
    endpoint: Option<Rc<Endpoint>>,
    first_byte: Option<Duration>,
    received: u64,
    sent: u64,
}

impl Entry {
    /// A request begins. Its parts are shared with it and not copied.
    pub(crate) fn new<B>(
        sink: &Rc<Sink>,
        request: &Request<B>,
        client: IpAddr,
        started: Instant,
        random: &Random,
    ) -> Rc<Self> {
        let header = |name: &header::HeaderName| request.headers().get(name).cloned();
        Rc::new(Self {
            sink: Rc::clone(sink),
            started,
            sampled: sink.sample >= 10_000 || random.next() % 10_000 < u64::from(sink.sample),
            client,
            version: request.version(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: header(&header::HOST),
            trace: header(&head::TRACE),
            agent: header(&header::USER_AGENT),
            id: RefCell::new(header(&head::REQUEST_ID)),
            status: Cell::default(),
            reason: Cell::default(),
            retries: Cell::default(),
            connect: Cell::default(),
            withdrawn: Cell::default(),
            end: RefCell::default(),
        })
    }

    /// The request got a number on its way to the endpoint.
    pub(crate) fn sent_as(&self, headers: &HeaderMap) {
        *self.id.borrow_mut() = headers.get(head::REQUEST_ID).cloned();
    }

    /// What the client is answered.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.set(Some(status));
    }

    /// The same as bytes.
    pub(crate) fn is_named(&self, id: &[u8]) {
        *self.id.borrow_mut() = HeaderValue::from_bytes(id).ok();
    }

    /// Another entry tells of this request.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.set(true);
    }

    /// The proxy answers itself, with so many bytes.
    pub(crate) fn answered_by_us(&self, reason: &'static str, bytes: u64) {
        self.reason.set(Some(reason));
        self.end.borrow_mut().sent = bytes;
    }

    /// It is sent again.
    pub(crate) fn retried(&self) {
        self.retries.set(self.retries.get() + 1);
    }

    /// A connection was made for it, or could not be.
    pub(crate) fn connected(&self, took: Duration) {
        self.connect.set(Some(self.connect.get().unwrap_or_default() + took));
    }

    /// It was counted.
    pub(crate) fn ended(
        &self,
        ended: &Ended,
        revision: &Rc<Backend>,
        endpoint: Option<&Rc<Endpoint>>,
    ) {
        *self.end.borrow_mut() = End {
            outcome: Some(ended.outcome),
            revision: Some(Rc::clone(revision)),
            endpoint: endpoint.cloned(),
            first_byte: ended.first_byte,
            received: ended.received,
            sent: ended.sent,
        };
    }

    /// So much went both ways after it was counted.
    pub(crate) fn carried(&self, received: u64, sent: u64) {
        let mut end = self.end.borrow_mut();
        end.received += received;
        end.sent += sent;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let end = self.end.borrow();
        let failed = self.status.get().is_none_or(|status| status.is_server_error())
            || end.outcome.is_some_and(|outcome| outcome.blame().is_some());
        if self.withdrawn.get() || !self.sampled && !failed {
            return;
        }
        let total = self.started.elapsed();
        let now = SystemTime::now();
        let id = self.id.borrow();
        let line = Line {
            time: now.checked_sub(total).unwrap_or(now),
            scope: &self.sink.scope,
            id: id.as_ref().map(HeaderValue::as_bytes),
            trace: self.trace.as_ref().map(HeaderValue::as_bytes),
            client: self.client,
            protocol: match self.version {
                Version::HTTP_2 => "HTTP/2",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            method: self.method.as_str(),
            host: match (&self.host, self.uri.authority()) {
                (Some(host), _) => Some(host.as_bytes()),
                (None, authority) => authority.map(|authority| authority.host().as_bytes()),
            },
            path: self.uri.path(),
            query: self.uri.query(),
            agent: self.agent.as_ref().map(HeaderValue::as_bytes),
            status: self.status.get().map(|status| status.as_u16()),
            outcome: end.outcome,
            reason: self.reason.get(),
            revision: end.revision.as_ref().map(|revision| revision.revision.as_str()),
            instance: end.endpoint.as_ref().map(|endpoint| endpoint.instance.as_str()),
            retries: self.retries.get(),
            received: end.received,
            sent: end.sent,
            connect: self.connect.get(),
            first_byte: end.first_byte,
            total,
        };
        self.sink.write(&line);
    }
}
