//! Requests that the HTTP library has read and that have no body go to endpoints as plain ones do.

use std::{
    io,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::net::TcpStream;

use super::{
    answer::{Framing, Wish},
    body::take,
    buffer::Buffer,
    request::write_header,
    send::{Answered, Failure, Library, Patience, Sending},
};
use crate::{
    endpoint::Endpoint,
    search::{Refused, Search, Target},
    ticket::Ticket,
    worker::Worker,
};

/// Sends it to whoever answers. What is to be asked in another way is given back.
pub(crate) async fn send<B>(
    search: &mut Search<'_>,
    first: (Rc<Endpoint>, Ticket),
    request: &Request<B>,
) -> Result<Response<AnswerBody>, Result<Target, Refused>> {
    let worker = Rc::clone(&search.client.worker);
    let mut head = worker.buffers.head();
    write(request, &mut head);
    let mut answer = Response::new(());
    let head_only = request.method() == http::Method::HEAD;
    let mut sending = Sending {
        search,
        head: &head,
        wish: Wish { head_only, cookie: None, last: false },
        patience: &mut Patience::default(),
        gone: &mut Library,
        out: &mut answer,
    };
    let sent = sending.send(first).await;
    worker.buffers.take_head(head);
    match sent {
        Ok(answered) => Ok(answer.map(|()| AnswerBody::new(answered, worker))),
        Err(Failure::Unusual(target)) => Err(Ok(target)),
        Err(Failure::Refused(refused)) => Err(Err(refused)),
        // Nobody hears it.
        Err(Failure::Gone) => Err(Err(crate::answer::Own::BadRequest.into())),
    }
}

fn write<B>(request: &Request<B>, out: &mut Vec<u8>) {
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in request.headers() {
        write_header(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The body of an answer on its way to the library.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    worker: Rc<Worker>,
    framing: Framing,
    /// What was read and not given away.
    rest: Option<Buffer>,
    /// None once the answer has ended.
    running: Option<Running>,
    /// What is said after the body, once it has ended.
    trailers: Option<HeaderMap>,
}

#[derive(Debug)]
struct Running {
    ticket: Ticket,
    endpoint: Rc<Endpoint>,
    wire: TcpStream,
    reusable: bool,
}

impl AnswerBody {
    fn new(answered: Answered, worker: Rc<Worker>) -> Self {
        let Answered { answer, endpoint, ticket, wire, rest, .. } = answered;
        let running = Running { ticket, endpoint, wire, reusable: answer.reusable };
        let mut body =
            Self { worker, framing: answer.body, rest, running: Some(running), trailers: None };
        if body.framing == Framing::Length(0) {
            body.end();
        }
        body
    }

    /// With its place in the scope.
    pub(crate) fn within(mut self, slot: Option<crate::gate::Slot>) -> Self {
        if let Some(running) = self.running.take() {
            let ticket = running.ticket.within(slot);
            self.running = Some(Running { ticket, ..running });
        }
        self
    }

    /// The endpoint has done its part.
    fn end(&mut self) {
        let is_unused = self.rest.as_ref().is_none_or(Buffer::is_empty);
        if let Some(buffer) = self.rest.take() {
            self.worker.buffers.take(buffer);
        }
        if let Some(Running { mut ticket, endpoint, wire, reusable }) = self.running.take() {
            ticket.complete();
            ticket.did_well();
            if reusable && is_unused {
                endpoint.wires.keep(wire, &self.worker.limits);
            }
        }
    }

    fn break_off(&mut self) -> io::Error {
        if let Some(mut running) = self.running.take() {
            running.ticket.broke_off(&self.worker.limits);
        }
        io::Error::other("the endpoint broke off")
    }

    /// The next part; none at the end.
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut ended = false;
        loop {
            let Some(running) = &mut self.running else {
                let trailers = self.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            };
            let received = self.rest.as_mut().map_or(&mut [][..], Buffer::filled_mut);
            let Ok(part) = take(&mut self.framing, received, ended) else {
                return Poll::Ready(Some(Err(self.break_off())));
            };
            let data = &received[part.data];
            let bytes = (!data.is_empty()).then(|| Bytes::copy_from_slice(data));
            running.ticket.sends(data.len());
            if let Some(buffer) = &mut self.rest {
                buffer.consume(part.taken);
            }
            if part.over {
                self.trailers = trailers(&self.framing);
                self.end();
                let last = bytes.map(Frame::data);
                let last = last.or_else(|| self.trailers.take().map(Frame::trailers));
                return Poll::Ready(last.map(Ok));
            }
            if let Some(bytes) = bytes {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let buffers = &self.worker.buffers;
            let room = self.rest.get_or_insert_with(|| buffers.large());
            match room.poll_fill(&mut running.wire, context) {
                Poll::Ready(Ok(0)) if self.framing == Framing::Close => ended = true,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Some(Err(self.break_off()))),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    if room.is_empty()
                        && let Some(unused) = self.rest.take()
                    {
                        buffers.take(unused);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.running.is_none() && self.trailers.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Chunks(_) | Framing::Close => SizeHint::default(),
        }
    }
}

/// What was said after a body, if anything was that can be understood.
fn trailers(framing: &Framing) -> Option<HeaderMap> {
    let Framing::Chunks(chunks) = framing else {
        return None;
    };
    if chunks.trailers().is_empty() {
        return None;
    }
    let lines = [chunks.trailers(), b"\r\n"].concat();
    let mut room = [httparse::EMPTY_HEADER; 32];
    let Ok(httparse::Status::Complete((_, headers))) = httparse::parse_headers(&lines, &mut room)
    else {
        return None;
    };
    let named = headers.iter().filter_map(|header| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(header.value).ok()?))
    });
    Some(named.collect())
}
