//! A request that a revision answers: in flight until it is dropped, and counted when it has ended.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use http::StatusCode;
use tidegate_types::Outcome;

use crate::{
    access_log::Entry, backend::Backend, endpoint::Endpoint, gate::Slot, limits::Limits,
    meter::Ended, request_body::Source, worker::Worker,
};

/// A request that a revision answers.
#[derive(Debug)]
pub(crate) struct Ticket {
    worker: Rc<Worker>,
    backend: Rc<Backend>,
    endpoint: Option<Rc<Endpoint>>,
    started: Instant,
    /// What it is counted as if it ends now.
    outcome: Outcome,
    /// What it is counted as when its answer ends whole.
    whole: Outcome,
    first_byte: Option<Duration>,
    body: Option<Rc<Source>>,
    sent: u64,
    counted: bool,
    /// Its place at the instance, where their number is limited.
    slot: Option<Slot>,
    /// Its place in the scope, where their number is limited.
    place_in_scope: Option<Slot>,
    /// Where its line is made, if it leaves one.
    entry: Option<Rc<Entry>>,
}

impl Ticket {
    /// A request begins. `started` is when its head was read.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        backend: Rc<Backend>,
        endpoint: Option<Rc<Endpoint>>,
        started: Instant,
        entry: Option<&Rc<Entry>>,
    ) -> Self {
        backend.meter.begin(worker.index);
        if let Some(endpoint) = &endpoint {
            endpoint.begin(worker.index);
        }
        Self {
            worker: Rc::clone(worker),
            backend,
            endpoint,
            started,
            // Whoever drops a request in the middle is who no longer waits for it.
            outcome: Outcome::ClientReset,
            whole: Outcome::Success,
            first_byte: None,
            body: None,
            sent: 0,
            counted: true,
            slot: None,
            place_in_scope: None,
            entry: entry.cloned(),
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
        if let Some(endpoint) = self.endpoint.as_ref().filter(|_| !self.outcome.is_error()) {
            endpoint.health.answered();
        }
    }

    /// The instance broke off in the middle of its answer.
    pub(crate) fn broke_off(&mut self, limits: &Limits) {
        self.fail(Outcome::EndpointReset);
        if let Some(endpoint) = &self.endpoint {
            self.backend.has_failed(endpoint, limits);
        }
    }

    /// Where it goes; none where files answer.
    pub(crate) fn endpoint(&self) -> Option<&Rc<Endpoint>> {
        self.endpoint.as_ref()
    }

    /// The request has a body.
    pub(crate) fn reads(&mut self, body: Option<&Rc<Source>>) {
        self.body = body.cloned();
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.first_byte = Some(self.started.elapsed());
        self.whole = Outcome::of_status(status.as_u16());
        if status.is_server_error() {
            // It stays a failure of the revision, however much of it the client reads.
            self.outcome = self.whole;
        }
    }

    /// The answer says by another word than its status that the instance could not do it, as those
    /// of gRPC do.
    pub(crate) fn said_failed(&mut self) {
        self.whole = Outcome::ServerError;
        self.outcome = self.whole;
    }

    /// A part of the answer's body goes to the client.
    pub(crate) fn sends(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The answer is whole.
    pub(crate) fn complete(&mut self) {
        self.outcome = self.whole;
    }

    /// There is no whole answer, for this reason.
    pub(crate) fn fail(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// It is tried elsewhere: not counted.
    pub(crate) fn discard(mut self) {
        self.counted = false;
    }

    /// Counts it now; it stays in flight.
    pub(crate) fn count(&mut self) {
        if !std::mem::take(&mut self.counted) {
            return;
        }
        if self.outcome == Outcome::ClientReset && self.worker.is_cut_off() {
            self.outcome = Outcome::ProxyEnded;
        }
        let ended = Ended {
            outcome: self.outcome,
            elapsed: self.started.elapsed(),
            first_byte: self.first_byte,
            received: self.body.as_ref().map_or(0, |body| body.bytes()),
            sent: self.sent,
        };
        if let Some(entry) = &self.entry {
            entry.ended(&ended, &self.backend, self.endpoint.as_ref());
        }
        self.backend.meter.record(self.worker.index, &ended);
    }

    /// Counts what went both ways since it was counted.
    pub(crate) fn carried(&self, received: u64, sent: u64) {
        if let Some(entry) = &self.entry {
            entry.carried(received, sent);
        }
        self.backend.meter.carried(self.worker.index, received, sent);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // First counted, then no longer in flight: who sees that nothing is in flight has all
        // counts.
        self.count();
        self.backend.meter.end(self.worker.index);
        if let Some(endpoint) = &self.endpoint {
            endpoint.end(self.worker.index);
        }
    }
}
