//! Copies of requests for a candidate to practise on.
//!
//! Nobody waits for what it answers, nothing of it is counted, and what becomes of a copy changes
//! nothing for those who come by the ordinary way.

use std::rc::Rc;

use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use tidegate_types::Share;
use tokio::task::spawn_local;

use crate::{
    backend::{Backend, Destination},
    endpoint::Endpoint,
    forward::copy_of,
    gate::{Entry, Slot},
    head,
    request_body::RequestBody,
    translate,
    visitor::CANDIDATE,
    worker::Worker,
};

/// A longer answer is not read to its end.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// Who gets copies, and of how many of the requests.
#[derive(Debug)]
pub(crate) struct Mirror {
    share: u64,
    candidate: Rc<Backend>,
}

impl Mirror {
    /// None when nothing is to be mirrored, or there is no candidate that runs.
    pub(crate) fn of(share: Share, backends: &[Rc<Backend>]) -> Option<Self> {
        if share == Share::NONE {
            return None;
        }
        let runs = |backend: &&Rc<Backend>| {
            backend.role == CANDIDATE && matches!(backend.destination, Destination::Endpoints(_))
        };
        let candidate = Rc::clone(backends.iter().find(runs)?);
        Some(Self { share: u64::from(share.hundredths()), candidate })
    }

    /// Sends a copy of a request that `answering` is asked, if it is one of the share and may be
    /// sent twice: it has no body and is not meant to change anything.
    pub(crate) fn send(
        &self,
        worker: &Rc<Worker>,
        answering: Option<&Rc<Backend>>,
        request: &Request<RequestBody>,
    ) {
        // The candidate has this one already.
        if answering.is_none_or(|backend| backend.revision == self.candidate.revision)
            || !request.body().is_empty()
            || !request.method().is_safe()
            || worker.random.next() % 10_000 >= self.share
            || worker.mirrored.get() >= worker.limits.mirrored
        {
            return;
        }
        let Some((endpoint, slot)) = self.endpoint(worker) else {
            return;
        };
        let mut copy = copy_of(request);
        copy.headers_mut().insert(head::MIRROR, HeaderValue::from_static("1"));
        let in_flight = InFlight::new(worker);
        spawn_local(async move {
            let limit = in_flight.0.limits.mirror;
            let answered = ask(&in_flight.0, &endpoint, copy);
            if tokio::time::timeout(limit, answered).await.ok().flatten().is_none() {
                tracing::debug!("a mirrored request was not answered");
            }
            drop(slot);
        });
    }
}

impl Mirror {
    /// Who gets a copy, if anybody has room for one at once.
    fn endpoint(&self, worker: &Worker) -> Option<(Rc<Endpoint>, Option<Slot>)> {
        let random = &worker.random;
        let Some(gate) = &self.candidate.gate else {
            return Some((self.candidate.endpoint(&[], random)?, None));
        };
        let look = |limit| self.candidate.endpoint_with_room(&[], random, limit);
        match gate.enter(None, look) {
            Entry::In(endpoint, slot) => Some((endpoint?, Some(slot))),
            Entry::Waits(_) | Entry::Full => None,
        }
    }
}

/// Some when the answer was read to its end.
async fn ask(
    worker: &Worker,
    endpoint: &Rc<Endpoint>,
    mut request: Request<RequestBody>,
) -> Option<()> {
    let limits = &worker.limits;
    if endpoint.speaks_http2() {
        translate::to_http2(&mut request).ok()?;
    }
    let mut connection = match endpoint.take_idle(true) {
        Some(connection) => connection,
        // That it cannot be reached is for the requests to find out that count.
        None => endpoint.connect_unnoticed(limits).await.ok()?,
    };
    connection.detach();
    let answer = connection.send(request).await.ok()?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let mut body = answer.into_body();
    let mut left = LONGEST_ANSWER;
    while let Some(frame) = body.frame().await {
        let length = frame.ok()?.data_ref().map_or(0, bytes::Bytes::len);
        left = left.checked_sub(length)?;
    }
    endpoint.give_back(connection, limits);
    Some(())
}

/// A mirrored request as long as it is under way.
struct InFlight(Rc<Worker>);

impl InFlight {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.mirrored.set(worker.mirrored.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.mirrored.set(self.0.mirrored.get() - 1);
    }
}
