//! One plain request: from the client's bytes to the end of the answer.

use std::{
    io::{self, IoSlice},
    rc::Rc,
    time::Instant,
};

use http::{
    HeaderName, HeaderValue,
    header::{CONNECTION, HOST, USER_AGENT},
};
use tidegate_types::{Network, RouteRule};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{
    answer::{Framing, Output as _, Wish},
    body::{frame, take},
    buffer::Buffer,
    request::{self, Asked, write_header},
    send::{Answered, Failure, Gone, Heard, Patience, Sending, hear, unless_gone},
};
use crate::{
    access_log::Entry as LogEntry,
    answer::{AnswerKind, Own},
    connection::{Busy, Client},
    format::Format,
    head,
    ingress::is_in,
    origin::{self, Announcement, Origin},
    pick::Random,
    routing::{self, Stripped},
    search::{Refused, Search, Target, enter},
    visitor::{self, Visitor},
};

/// A part of an answer up to this size is copied behind its head, to be written at once.
const COPIED: usize = 16 * 1024;

/// How it goes on with a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The client has to say more.
    More,
    /// The next request, if there is one.
    Request,
    /// It ends.
    Close,
    /// What is there is not a plain request.
    Unusual,
}

/// What was asked, as far as it has to be known while it is answered.
struct Plan<'b> {
    host: &'b str,
    path: &'b str,
    revision: Option<&'b str>,
    visitor: Option<Visitor>,
    cookie: Option<HeaderValue>,
    head_only: bool,
    last: bool,
    accept: Option<&'b [u8]>,
    length: usize,
    /// Where its line in the access log is made.
    entry: Option<Rc<LogEntry>>,
}

impl Plan<'_> {
    /// Others answer it, and write its line.
    fn withdraw(&self) {
        if let Some(entry) = &self.entry {
            entry.withdraw();
        }
    }
}

/// What the first bytes are.
enum Planned<'b> {
    Partial,
    Unusual,
    /// No route takes it.
    NoRoute(Plan<'b>),
    Plan(Plan<'b>),
}

/// Reads a request, and writes what the endpoint gets.
fn plan<'b>(
    client: &Client,
    announced: &mut Announced,
    started: Instant,
    bytes: &'b [u8],
    out: &mut Vec<u8>,
) -> Planned<'b> {
    let mut room = request::room();
    let asked = match Asked::read(bytes, &mut room) {
        request::Read::Partial => return Planned::Partial,
        request::Read::Unusual => return Planned::Unusual,
        request::Read::Plain(asked) => asked,
    };
    let table = client.scope.table();
    if table.ingress.maintenance.is_some() {
        return Planned::Unusual;
    }
    let worker = &client.worker;
    let origin = match believed(client, table.ingress.trusted(), &asked) {
        Believed::Nothing => None,
        Believed::Origin(origin) => Some(origin),
        Believed::Unclear => return Planned::Unusual,
    };
    let entry = match &table.access_log {
        None => None,
        Some(sink) => {
            let from = origin.as_ref().map_or(client.peer.ip(), |origin| origin.client);
            let Some(request) = asked.with_headers(&LOGGED) else {
                return Planned::Unusual;
            };
            Some(LogEntry::new(sink, &request, from, started, &worker.random))
        }
    };
    let mut plan = Plan {
        host: asked.host,
        path: asked.path,
        revision: asked.revision,
        visitor: None,
        cookie: None,
        head_only: asked.method == "HEAD",
        last: asked.last,
        accept: asked.accept,
        length: asked.length,
        entry,
    };
    let host = head::without_port(asked.host);
    let Some(route) =
        table.routes.iter().find(|route| routing::matches(&route.rule, host, asked.path))
    else {
        return Planned::NoRoute(plan);
    };
    if route.mirror.is_some() {
        plan.withdraw();
        return Planned::Unusual;
    }
    let secure = origin.as_ref().map_or(client.secure, |origin| origin.secure);
    if let Some(visitors) = &route.visitors {
        let new = || worker.random.next();
        plan.visitor = visitors.who(&asked, worker.visitors, new);
        plan.cookie =
            plan.visitor.and_then(|visitor| visitors.cookie(visitor, worker.visitors, secure));
    }
    let announced = match &origin {
        None => announced.lines(client, asked.host),
        Some(origin) => announced.lines_of(origin, client, asked.host),
    };
    let id =
        write_request(out, &asked, &route.rule, announced, table.gives_cookies, &worker.random);
    if let (Some(entry), Some(id)) = (&plan.entry, id) {
        entry.is_named(&id);
    }
    Planned::Plan(plan)
}

/// Writes a request as the endpoint gets it. Returns the name that it got, if it had none.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    asked: &Asked<'_, '_>,
    rule: &RouteRule,
    announced: &[u8],
    gives_cookies: bool,
    random: &Random,
) -> Option<[u8; 32]> {
    out.extend_from_slice(asked.method.as_bytes());
    out.push(b' ');
    match routing::upstream_path(rule, asked.target) {
        Stripped::Whole(target) => out.extend_from_slice(target.as_bytes()),
        Stripped::WithSlash(rest) => {
            out.push(b'/');
            out.extend_from_slice(rest.as_bytes());
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    asked.write_headers(out, |value, out| {
        if !gives_cookies {
            out.extend_from_slice(value);
            return true;
        }
        visitor::write_other_cookies(value, out)
    });
    out.extend_from_slice(announced);
    let id = (!asked.named).then(|| {
        let number = u128::from(random.next()) << 64 | u128::from(random.next());
        head::in_hexadecimal(number)
    });
    if let Some(id) = &id {
        write_header(out, "x-request-id", id);
    }
    out.extend_from_slice(b"\r\n");
    id
}

/// What a line of the access log tells of a request's head.
const LOGGED: [HeaderName; 4] = [HOST, head::TRACE, USER_AGENT, head::REQUEST_ID];

/// What is believed of what a request says of where it comes from.
enum Believed {
    Nothing,
    Origin(Origin),
    /// It cannot be read here.
    Unclear,
}

fn believed(client: &Client, trusted: &[Network], asked: &Asked<'_, '_>) -> Believed {
    let peer = client.peer.ip();
    if trusted.is_empty() || !is_in(peer, trusted) {
        return Believed::Nothing;
    }
    match asked.with_headers(&origin::HEADERS) {
        Some(request) => {
            Believed::Origin(Origin::of(request.headers(), peer, client.secure, trusted))
        }
        None => Believed::Unclear,
    }
}

/// What endpoints are told of where requests come from, as long as they are for the same host.
#[derive(Debug, Default)]
pub(super) struct Announced {
    host: String,
    lines: Vec<u8>,
}

impl Announced {
    fn lines(&mut self, client: &Client, host: &str) -> &[u8] {
        if self.host != host || self.lines.is_empty() {
            host.clone_into(&mut self.host);
            self.lines.clear();
            if let Ok(host) = HeaderValue::from_str(host) {
                let origin = Origin::direct(client.peer.ip(), client.secure);
                Announcement::new(&origin, &host, client.secure).write_lines(&mut self.lines);
            }
        }
        &self.lines
    }

    /// The same of a request that came through proxies that are believed.
    fn lines_of(&mut self, origin: &Origin, client: &Client, host: &str) -> &[u8] {
        self.lines.clear();
        if let Ok(host) = HeaderValue::from_str(host) {
            let announcement = client.announcements.of(origin, &host, client.secure);
            announcement.write_lines(&mut self.lines);
        }
        &self.lines
    }
}

/// A client's connection, while what it asks is plain.
pub(super) struct Connection<S> {
    pub(super) client: Rc<Client>,
    pub(super) stream: S,
    /// What the client said; none while it is silent.
    pub(super) inbox: Option<Buffer>,
    pub(super) announced: Announced,
    pub(super) patience: Patience,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Answers what has been read, if it is a plain request.
    pub(super) async fn exchange(&mut self) -> Next {
        let worker = Rc::clone(&self.client.worker);
        let (mut head, mut out) = (worker.buffers.head(), worker.buffers.head());
        let next = self.exchange_with(&mut head, &mut out).await;
        worker.buffers.take_head(head);
        worker.buffers.take_head(out);
        next
    }

    async fn exchange_with(&mut self, head: &mut Vec<u8>, out: &mut Vec<u8>) -> Next {
        let started = Instant::now();
        let Self { client, stream, inbox, announced, patience } = self;
        let Some(inbox) = inbox else {
            return Next::More;
        };
        let is_full = inbox.is_full();
        let (bytes, room) = inbox.split();
        let mut gone = Gone { stream, room, said: 0 };
        let (plan, is_routed) = match plan(client, announced, started, bytes, head) {
            Planned::Partial if is_full => return Next::Unusual,
            Planned::Partial => return Next::More,
            Planned::Unusual => return Next::Unusual,
            Planned::NoRoute(plan) => (plan, false),
            Planned::Plan(plan) => (plan, true),
        };
        let _busy = Busy::new(&client.activity);
        let found = if is_routed {
            ask(client, &plan, started, head, patience, &mut gone, out).await
        } else {
            Err(Failed::Refused(Own::NoRoute.into()))
        };
        let outcome = match found {
            Ok(answered) => {
                let is_last = answered.last;
                if let Some(entry) = &plan.entry {
                    entry.answered(answered.answer.status);
                }
                Some(pass_on(client, answered, &mut gone, out).await.map(|()| is_last))
            }
            Err(Failed::Unusual) => {
                plan.withdraw();
                None
            }
            Err(Failed::Gone) => return Next::Close,
            Err(Failed::Refused(refused)) => {
                refused.note(client);
                let is_last = plan.last || client.worker.is_last_answer(&client.scope);
                write_own(out, &refused, &plan, is_last);
                Some(write(gone.stream, out, &[], &[]).await.map(|()| is_last))
            }
        };
        // Also when others answer it: they get all that was said.
        let (said, length) = (gone.said, plan.length);
        inbox.grow(said);
        let Some(outcome) = outcome else {
            return Next::Unusual;
        };
        inbox.consume(length);
        match outcome {
            Ok(false) => Next::Request,
            Ok(true) => {
                // What is not heard by then is lost with the connection.
                let _ = self.stream.shutdown().await;
                Next::Close
            }
            Err(error) => {
                tracing::debug!(peer = %self.client.peer, %error, "a client's connection broke");
                Next::Close
            }
        }
    }
}

/// Why there is no answer of an endpoint.
enum Failed {
    Refused(Refused),
    Gone,
    Unusual,
}

/// Finds somebody who answers.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    client: &Rc<Client>,
    plan: &Plan<'_>,
    started: Instant,
    head: &[u8],
    patience: &mut Patience,
    gone: &mut Gone<'_, S>,
    out: &mut Vec<u8>,
) -> Result<Answered, Failed> {
    let place = unless_gone(gone, enter(client)).await.ok_or(Failed::Gone)?;
    let place = place.map_err(|own| Failed::Refused(own.into()))?;
    let mut search =
        Search::new(client, plan.entry.as_ref(), started, plan.host, plan.path, plan.revision);
    search.visitor = plan.visitor;
    let found = unless_gone(gone, search.next()).await.ok_or(Failed::Gone)?;
    let target = match found.map_err(Failed::Refused)? {
        Target::Endpoint(endpoint, ticket) if !endpoint.speaks_http2() => (endpoint, ticket),
        other => {
            other.discard();
            return Err(Failed::Unusual);
        }
    };
    let (head_only, cookie, last) = (plan.head_only, plan.cookie.as_ref(), plan.last);
    let wish = Wish { head_only, cookie, last };
    let mut sending = Sending { search: &mut search, head, wish, patience, gone, out };
    match sending.send(target).await {
        Ok(mut answered) => {
            answered.ticket = answered.ticket.within(place);
            Ok(answered)
        }
        Err(Failure::Refused(refused)) => Err(Failed::Refused(refused)),
        Err(Failure::Gone) => Err(Failed::Gone),
        Err(Failure::Unusual(target)) => {
            target.discard();
            Err(Failed::Unusual)
        }
    }
}

/// Passes an answer on, whose head is in `out`.
async fn pass_on<S: AsyncRead + AsyncWrite + Unpin>(
    client: &Client,
    answered: Answered,
    gone: &mut Gone<'_, S>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let limits = &client.worker.limits;
    let buffers = &client.worker.buffers;
    let Answered { answer, endpoint, mut ticket, mut wire, rest: mut buffer, .. } = answered;
    let mut body = answer.body;
    let mut ended = false;
    loop {
        let received = buffer.as_mut().map_or(&mut [][..], Buffer::filled_mut);
        let Ok(part) = take(&mut body, received, ended) else {
            ticket.broke_off(limits);
            return Err(io::Error::other("the answer is not framed as it says"));
        };
        let data = &received[part.data];
        ticket.sends(data.len());
        let after = frame(&body, data.len(), part.over, out);
        if part.over {
            ticket.complete();
            ticket.did_well();
            if answer.reusable && received.len() == part.taken {
                endpoint.wires.keep(wire, limits);
            }
            // The endpoint has done its part, however slowly the client reads.
            drop(ticket);
            let written = write(gone.stream, out, data, after).await;
            if let Some(buffer) = buffer {
                buffers.take(buffer);
            }
            return written;
        }
        write(gone.stream, out, data, after).await?;
        out.clear();
        if let Some(received) = &mut buffer {
            received.consume(part.taken);
        }
        match hear(&mut wire, &mut buffer, buffers, gone, None).await {
            Heard::Bytes(0) if body == Framing::Close => ended = true,
            Heard::Bytes(0) | Heard::Broken => {
                ticket.broke_off(limits);
                return Err(io::Error::other("the endpoint broke off"));
            }
            Heard::Bytes(_) => {}
            Heard::Gone | Heard::Late => return Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

/// Writes `out`, and what follows it.
async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    out: &mut Vec<u8>,
    data: &[u8],
    after: &[u8],
) -> io::Result<()> {
    if data.len() <= COPIED || !stream.is_write_vectored() {
        out.extend_from_slice(data);
        out.extend_from_slice(after);
        stream.write_all(out).await?;
    } else {
        let mut slices = [out.as_slice(), data, after].map(IoSlice::new);
        let mut left = slices.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match stream.write_vectored(left).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => IoSlice::advance_slices(&mut left, written),
            }
        }
    }
    stream.flush().await
}

/// Writes an answer of our own.
fn write_own(out: &mut Vec<u8>, refused: &Refused, plan: &Plan<'_>, last: bool) {
    let format = Format::of_accept(plan.accept);
    let answer = match refused {
        Refused::Own(own) => own.answer(format, None),
        Refused::Malformed(detail) => Own::BadRequest.answer(format, Some(detail)),
    };
    let status = answer.status();
    out.clear();
    out.begin(status, status.canonical_reason().unwrap_or_default());
    for (name, value) in answer.headers() {
        if *name != CONNECTION {
            out.header(name.as_str(), value.as_bytes());
        }
    }
    if let AnswerKind::Fixed(Some(text)) = answer.body() {
        if let Some(entry) = &plan.entry {
            let own = if let Refused::Own(own) = refused { *own } else { Own::BadRequest };
            entry.answered_by_us(own.reason(), text.len() as u64);
            entry.answered(status);
        }
        out.length(text.len() as u64);
        out.end(false, last);
        if !plan.head_only {
            out.extend_from_slice(text);
        }
    }
}
