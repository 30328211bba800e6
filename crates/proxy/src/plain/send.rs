//! A plain request at its endpoints, until one of them answers.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tidegate_types::Outcome;
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::{
    answer::{self, Answer, Output, Wish},
    buffer::{Buffer, Buffers},
};
use crate::{
    answer::Own,
    endpoint::Endpoint,
    search::{RESENDS, Refused, Search, Target},
    ticket::Ticket,
};

/// Whoever asked, and may go away before there is an answer.
pub(crate) trait Asker {
    /// Ready when it has gone.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// Goes away by dropping whatever waits for it.
#[derive(Debug)]
pub(crate) struct Library;

impl Asker for Library {
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Watches whether a client goes away, and takes what it says in the meantime.
#[derive(Debug)]
pub(super) struct Gone<'a, S> {
    pub(super) stream: &'a mut S,
    /// For what is said.
    pub(super) room: &'a mut [u8],
    /// So much was said.
    pub(super) said: usize,
}

impl<S: AsyncRead + Unpin> Asker for Gone<'_, S> {
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Who has said so much has not gone, and is not listened to for now.
        while self.said < self.room.len() {
            let mut room = ReadBuf::new(&mut self.room[self.said..]);
            match Pin::new(&mut *self.stream).poll_read(context, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                    self.said += room.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }
}

/// Waits for something, unless the client goes away.
pub(super) async fn unless_gone<A: Asker, F: Future>(gone: &mut A, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => gone.poll_gone(context).map(|()| None),
    })
    .await
}

/// How long an answer is waited for. A timer is set once and looked at when it rings: nearly always
/// another request is under way by then, and it is set again.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // One that rings later than it should would be too late.
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// What is heard of an endpoint.
#[derive(Debug)]
pub(crate) enum Heard {
    /// More bytes; none at the end.
    Bytes(usize),
    Broken,
    Late,
    /// The client does not wait any longer.
    Gone,
}

/// Waits until the endpoint says something, at most until the deadline, or the client goes away.
pub(super) async fn hear<A: Asker>(
    wire: &mut TcpStream,
    buffer: &mut Option<Buffer>,
    buffers: &Buffers,
    gone: &mut A,
    mut limit: Option<(&mut Patience, Instant)>,
) -> Heard {
    poll_fn(|context| {
        let room = buffer.get_or_insert_with(|| buffers.large());
        match room.poll_fill(wire, context) {
            Poll::Ready(Ok(count)) => return Poll::Ready(Heard::Bytes(count)),
            Poll::Ready(Err(_)) => return Poll::Ready(Heard::Broken),
            Poll::Pending => {}
        }
        if room.is_empty()
            && let Some(unused) = buffer.take()
        {
            buffers.take(unused);
        }
        if gone.poll_gone(context).is_ready() {
            return Poll::Ready(Heard::Gone);
        }
        match &mut limit {
            Some((patience, deadline)) => patience.poll(context, *deadline).map(|()| Heard::Late),
            None => Poll::Pending,
        }
    })
    .await
}

/// An answer of which the head is there.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) endpoint: Rc<Endpoint>,
    pub(crate) ticket: Ticket,
    pub(crate) wire: TcpStream,
    /// It is the last on the client's connection.
    pub(crate) last: bool,
    /// What was read after the head.
    pub(crate) rest: Option<Buffer>,
}

/// Why there is none.
pub(crate) enum Failure {
    Refused(Refused),
    /// The client does not wait any longer.
    Gone,
    /// Whoever is next does not speak HTTP/1.
    Unusual(Target),
}

impl From<Own> for Failure {
    fn from(own: Own) -> Self {
        Self::Refused(own.into())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What became of a request on a connection.
enum Sent {
    Answered(Answer, Option<Buffer>),
    /// Not a byte of it was sent.
    Unsent,
    /// The connection broke before there was an answer, or what came was none.
    Broken(Outcome),
    Late,
    Gone,
}

/// A request as endpoints get it.
pub(crate) struct Sending<'s, 'c, A, O> {
    pub(crate) search: &'s mut Search<'c>,
    /// All of it.
    pub(crate) head: &'s [u8],
    pub(crate) wish: Wish<'s>,
    pub(crate) patience: &'s mut Patience,
    pub(crate) gone: &'s mut A,
    /// Where the client's head is written.
    pub(crate) out: &'s mut O,
}

impl<A: Asker, O: Output> Sending<'_, '_, A, O> {
    /// Sends it until somebody answers it or it may not be sent again.
    pub(crate) async fn send(
        &mut self,
        first: (Rc<Endpoint>, Ticket),
    ) -> Result<Answered, Failure> {
        let limits = &*self.search.client.scope.limits();
        let mut resends = RESENDS;
        let mut only_new = false;
        let (mut endpoint, mut ticket) = first;
        ticket.backend().budget.request();
        loop {
            let idle = if only_new { None } else { endpoint.wires.take() };
            let is_new = idle.is_none();
            let connected = if let Some(wire) = idle {
                Ok(wire)
            } else {
                let connecting = Box::pin(self.search.timed(endpoint.open_wire(limits)));
                unless_gone(self.gone, connecting).await.ok_or(Failure::Gone)?
            };
            let mut wire = match connected {
                Ok(wire) => wire,
                Err(error) => {
                    self.search.not_connected(&error, &mut ticket)?;
                    self.search.discard(ticket);
                    self.search.tried.push(endpoint);
                    (endpoint, ticket) = self.next().await?;
                    continue;
                }
            };
            match self.on(&mut wire, is_new, limits.answer_head).await {
                Sent::Answered(answer, rest) => {
                    ticket.backend().has_answered(&endpoint, answer.status, limits);
                    ticket.answered(answer.status);
                    let last = self.wish.last;
                    return Ok(Answered { answer, endpoint, ticket, wire, last, rest });
                }
                Sent::Gone => return Err(Failure::Gone),
                Sent::Unsent => only_new = true,
                Sent::Broken(fault) => {
                    self.search.fault = fault;
                    // A connection that was kept may have been closed before.
                    if is_new {
                        ticket.backend().has_failed(&endpoint, limits);
                    }
                    if resends == 0 || !self.search.may_repeat(&ticket) {
                        ticket.fail(fault);
                        return Err(Own::BadGateway.into());
                    }
                    resends -= 1;
                    self.search.broke_off |= is_new;
                    only_new = true;
                }
                Sent::Late => {
                    ticket.backend().has_failed(&endpoint, limits);
                    ticket.fail(Outcome::EndpointTimeout);
                    return Err(Own::Timeout.into());
                }
            }
            self.search.discard(ticket);
            if is_new {
                self.search.tried.push(endpoint);
            }
            (endpoint, ticket) = self.next().await?;
        }
    }

    async fn next(&mut self) -> Result<(Rc<Endpoint>, Ticket), Failure> {
        match unless_gone(self.gone, self.search.next()).await.ok_or(Failure::Gone)?? {
            Target::Endpoint(endpoint, ticket) if !endpoint.speaks_http2() => {
                Ok((endpoint, ticket))
            }
            other => Err(Failure::Unusual(other)),
        }
    }

    async fn on(&mut self, wire: &mut TcpStream, is_new: bool, limit: Duration) -> Sent {
        if let Err(error) = write_first(wire, self.head).await {
            return if error.1 == 0 && !is_new { Sent::Unsent } else { broken(&error.0) };
        }
        let buffers = &self.search.client.worker.buffers;
        let deadline = Instant::now() + limit;
        let mut buffer = None;
        loop {
            let heard =
                hear(wire, &mut buffer, buffers, self.gone, Some((self.patience, deadline)));
            match heard.await {
                Heard::Bytes(0) | Heard::Broken => return Sent::Broken(Outcome::EndpointReset),
                Heard::Late => return Sent::Late,
                Heard::Gone => return Sent::Gone,
                Heard::Bytes(_) => {}
            }
            let client = self.search.client;
            self.wish.last |= client.worker.is_last_answer(&client.scope);
            while let Some(received) = &mut buffer {
                match answer::read(received.filled(), self.wish, self.out) {
                    answer::Read::Partial if !received.is_full() => break,
                    answer::Read::Partial | answer::Read::Malformed => {
                        return Sent::Broken(Outcome::EndpointMalformed);
                    }
                    answer::Read::Interim(length) => received.consume(length),
                    answer::Read::Answer(answer) => {
                        received.consume(answer.length);
                        return Sent::Answered(answer, buffer);
                    }
                }
            }
        }
    }
}

fn broken(error: &io::Error) -> Sent {
    tracing::debug!(%error, "a connection to an endpoint broke");
    Sent::Broken(Outcome::EndpointReset)
}

/// Writes all of it. An error comes with how much was written before.
async fn write_first(wire: &mut TcpStream, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    while written < bytes.len() {
        match wire.write(&bytes[written..]).await {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
            Ok(count) => written += count,
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}
