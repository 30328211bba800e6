//! The side that takes the place.

use std::{
    io,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener as StdUnixListener},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tidegate_types::data_plane::{HandedOver, Inheritance, Request, Response};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{Charge, PATIENCE, Received, sockets};
use crate::{door::Door, lock::Lock, meters::Meters, registry::Registry};

/// Between two questions for what the predecessor counts; longer when the answers take long.
const PERIOD: Duration = Duration::from_millis(50);
/// The questions take so small a part of the time.
const SHARE: u32 = 20;

/// Takes the place of the proxy at this control socket. Returns when it has given way; after an
/// error it goes on, or has died, and nothing of its is held any more.
pub(crate) async fn take_over(
    socket: &Path,
    registry: &mut Registry,
) -> io::Result<(Charge, Link)> {
    let (mut predecessor, mut charge, scopes) =
        timeout(PATIENCE, Predecessor::ask(socket)).await??;
    let taken = match registry.take_over(scopes).await {
        // Not given up after a while: it may give way at any moment, and would not know.
        Ok(()) => predecessor.inherit().await,
        Err(reason) => Err(io::Error::other(reason)),
    };
    let inheritance = match taken {
        Ok(inheritance) => inheritance,
        Err(error) => {
            registry.drain().await;
            // Not sooner: who gets the lock binds the addresses.
            drop(charge);
            return Err(error);
        }
    };
    charge.lock.note_holder();
    let meters = registry.meters();
    lock(&meters).inherit(inheritance, Instant::now());
    let (orders, inbox) = mpsc::channel(1);
    tokio::spawn(accompany(predecessor, inbox, meters));
    // The predecessor may not have been able to.
    registry.store_in_force().await;
    Ok((charge, Link(Some(orders))))
}

/// The proxy whose place is taken.
#[derive(Debug)]
struct Predecessor(BufReader<UnixStream>);

impl Predecessor {
    /// Asks for all that is needed to serve.
    async fn ask(socket: &Path) -> io::Result<(Self, Charge, Vec<Received>)> {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(&line(&Request::HandOver)?).await?;
        let (answer, files) = sockets::receive(&stream).await?;
        match serde_json::from_slice(&answer)? {
            Response::HandedOver(scopes) => {
                let (charge, scopes) = unpack(scopes, files)?;
                Ok((Self(BufReader::new(stream)), charge, scopes))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Says that its place is taken; what it has counted by then.
    async fn inherit(&mut self) -> io::Result<Inheritance> {
        match self.exchange(&Request::Inherit).await? {
            Response::Inherited(inheritance) => Ok(inheritance),
            other => Err(unexpected(&other)),
        }
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Response> {
        self.0.write_all(&line(request)?).await?;
        let mut answer = Vec::new();
        self.0.read_until(b'\n', &mut answer).await?;
        if answer.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}

fn line(request: &Request) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    Ok(line)
}

fn unexpected(response: &Response) -> io::Error {
    match response {
        Response::Refused(refusal) => io::Error::other(format!("it refuses: {refusal}")),
        other => io::Error::other(format!("it answered something else: {other:?}")),
    }
}

/// The charge, and each scope with its socket.
fn unpack(scopes: Vec<HandedOver>, files: Vec<OwnedFd>) -> io::Result<(Charge, Vec<Received>)> {
    let sockets = |scope: &HandedOver| {
        let redirects = scope.redirect.is_some_and(|redirect| redirect.listens);
        usize::from(scope.listens) + usize::from(redirects)
    };
    let wanted = 2 + scopes.iter().map(sockets).sum::<usize>();
    if files.len() != wanted {
        let received = files.len();
        return Err(io::Error::other(format!("{received} files came instead of {wanted}")));
    }
    let mut files = files.into_iter();
    let mut next = || files.next().ok_or(io::ErrorKind::UnexpectedEof);
    let lock = Lock::from(next()?);
    let socket = Arc::new(UnixListener::from_std(StdUnixListener::from(next()?))?);
    let mut received = Vec::with_capacity(scopes.len());
    let mut door = |address, listens| {
        let listener = if listens { Some(TcpListener::from(next()?)) } else { None };
        Ok::<_, io::Error>(Door { address, listener })
    };
    for HandedOver { table, address, listens, redirect } in scopes {
        received.push(Received {
            table,
            door: door(address, listens)?,
            redirect: redirect
                .map(|redirect| door(redirect.address, redirect.listens))
                .transpose()?,
        });
    }
    Ok((Charge { lock, socket }, received))
}

/// Something that the predecessor is to do.
#[derive(Debug)]
struct Order {
    request: Request,
    done: oneshot::Sender<()>,
}

/// How a predecessor is spoken to, as long as there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link(Option<mpsc::Sender<Order>>);

impl Link {
    /// Returns when the predecessor has done it, or has ended.
    pub(crate) async fn tell(&self, request: impl FnOnce() -> Request) {
        let Some(link) = self.0.as_ref().filter(|link| !link.is_closed()) else {
            return;
        };
        let (done, answer) = oneshot::channel();
        if link.send(Order { request: request(), done }).await.is_ok() {
            // No answer: it has ended.
            let _ = answer.await;
        }
    }

    /// Returns when the predecessor has ended.
    pub(crate) async fn ended(&self) {
        if let Some(link) = &self.0 {
            link.closed().await;
        }
    }
}

/// Lives with the predecessor until it has ended.
async fn accompany(
    mut predecessor: Predecessor,
    mut orders: mpsc::Receiver<Order>,
    meters: Arc<Mutex<Meters>>,
) {
    let mut pause = PERIOD;
    loop {
        let order = tokio::select! {
            biased;
            Some(order) = orders.recv() => Some(order),
            () = sleep(pause) => None,
        };
        let (request, done) = order.map(|order| (order.request, order.done)).unzip();
        let began = Instant::now();
        let told = timeout(PATIENCE, tell(&mut predecessor, request, &meters)).await;
        if let Err(error) = told.unwrap_or_else(|late| Err(late.into())) {
            tracing::info!(%error, "the proxy before this one has ended");
            break;
        }
        pause = PERIOD.max(began.elapsed() * SHARE);
        if let Some(done) = done {
            // Who gave the order may have given up.
            let _ = done.send(());
        }
    }
    lock(&meters).forget_inherited_in_flight();
}

/// When this returns, what is in flight there is known as it was after the request was followed:
/// who is told that a table is in force sees whoever still goes where it does not lead.
async fn tell(
    predecessor: &mut Predecessor,
    request: Option<Request>,
    meters: &Mutex<Meters>,
) -> io::Result<()> {
    if let Some(request) = request
        && let Response::Refused(refusal) = predecessor.exchange(&request).await?
    {
        tracing::warn!(%refusal, "the proxy before this one cannot follow and has to end");
        predecessor.exchange(&Request::Shutdown).await?;
    }
    let inheritance = predecessor.inherit().await?;
    lock(meters).inherit(inheritance, Instant::now());
    Ok(())
}

fn lock(meters: &Mutex<Meters>) -> MutexGuard<'_, Meters> {
    meters.lock().unwrap_or_else(PoisonError::into_inner)
}
