//! The body of a request on its way to an endpoint.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A body that is longer is not kept to be sent again.
const LONGEST_KEPT: usize = 64 * 1024;

/// What comes in from a client, and how far it is.
#[derive(Debug)]
pub(crate) struct Source {
    incoming: RefCell<Incoming>,
    /// When its last part came in.
    last: Cell<Instant>,
    /// The client broke off.
    failed: Cell<bool>,
    /// The next part was asked for and has not come yet.
    waiting: Cell<bool>,
    bytes: Cell<u64>,
    /// Grows when the body is sent again: whoever sent it before gets no more of it.
    turn: Cell<u32>,
    /// Something of it has been asked for.
    begun: Cell<bool>,
    /// What came in so far; none when it is not kept, or no longer.
    kept: RefCell<Option<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    parts: Vec<Part>,
    bytes: usize,
}

#[derive(Debug, Clone)]
enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Source {
    /// When its last part came in.
    pub(crate) fn last(&self) -> Instant {
        self.last.get()
    }

    /// Whether the client broke off.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Whether it is the client for whom everybody waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// How much of it has come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// What comes in is kept, so that it can be sent again, if nothing has come in before.
    pub(crate) fn keep(&self) {
        if !self.begun.get() && self.kept.borrow().is_none() {
            self.kept.replace(Some(Kept::default()));
        }
    }

    /// It will not be sent again, unless it is just being.
    pub(crate) fn stop_keeping(&self) {
        if self.turn.get() == 0 {
            self.kept.replace(None);
        }
    }

    /// The body from its beginning, if all of it is still there.
    pub(crate) fn again(self: &Rc<Self>) -> Option<RequestBody> {
        if self.failed.get() || self.kept.borrow().is_none() {
            return None;
        }
        self.turn.set(self.turn.get() + 1);
        Some(RequestBody { source: Some(Rc::clone(self)), turn: self.turn.get(), next: 0 })
    }

    fn note(&self, frame: &Frame<Bytes>) {
        let mut kept = self.kept.borrow_mut();
        let Some(so_far) = kept.as_mut() else {
            return;
        };
        let part = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => {
                so_far.bytes += data.len();
                Part::Data(data.clone())
            }
            (None, Some(trailers)) => Part::Trailers(trailers.clone()),
            (None, None) => return,
        };
        so_far.parts.push(part);
        if so_far.bytes > LONGEST_KEPT {
            *kept = None;
        }
    }

    fn part(&self, index: usize) -> Option<Frame<Bytes>> {
        let kept = self.kept.borrow();
        Some(match kept.as_ref()?.parts.get(index)?.clone() {
            Part::Data(data) => Frame::data(data),
            Part::Trailers(trailers) => Frame::trailers(trailers),
        })
    }
}

/// The body of a request to an endpoint.
#[derive(Debug)]
pub(crate) struct RequestBody {
    source: Option<Rc<Source>>,
    turn: u32,
    /// Which of the parts that were kept is sent next.
    next: usize,
}

impl RequestBody {
    pub(crate) fn empty() -> Self {
        Self { source: None, turn: 0, next: 0 }
    }

    pub(crate) fn new(incoming: Incoming) -> Self {
        let source = Source {
            incoming: RefCell::new(incoming),
            last: Cell::new(Instant::now()),
            failed: Cell::new(false),
            waiting: Cell::new(false),
            bytes: Cell::new(0),
            turn: Cell::new(0),
            begun: Cell::new(false),
            kept: RefCell::new(None),
        };
        Self { source: Some(Rc::new(source)), turn: 0, next: 0 }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.source.is_none()
    }

    /// Where it comes from, if there is one.
    pub(crate) fn source(&self) -> Option<Rc<Source>> {
        self.source.clone()
    }

    fn is_at_end_of_kept(&self, source: &Source) -> bool {
        source.kept.borrow().as_ref().is_none_or(|kept| kept.parts.len() <= self.next)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(source) = &this.source else {
            return Poll::Ready(None);
        };
        if source.turn.get() != this.turn {
            return Poll::Ready(None);
        }
        if let Some(frame) = source.part(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(frame)));
        }
        source.begun.set(true);
        let poll = Pin::new(&mut *source.incoming.borrow_mut()).poll_frame(context);
        source.waiting.set(poll.is_pending());
        if let Poll::Ready(frame) = &poll {
            source.last.set(Instant::now());
            match frame {
                Some(Ok(frame)) => {
                    let more = frame.data_ref().map_or(0, Bytes::len) as u64;
                    source.bytes.set(source.bytes.get() + more);
                    source.note(frame);
                    this.next += 1;
                }
                Some(Err(_)) => source.failed.set(true),
                None => {}
            }
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| {
            self.is_at_end_of_kept(source) && source.incoming.borrow().is_end_stream()
        })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            None => SizeHint::with_exact(0),
            // What was kept and is to be sent again is not what is still to come.
            Some(_) if self.turn > 0 => SizeHint::default(),
            Some(source) => source.incoming.borrow().size_hint(),
        }
    }
}
