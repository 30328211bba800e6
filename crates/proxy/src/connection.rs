//! A connection of a client.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use hyper::{Request, body::Incoming, server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

use crate::{
    door::Purpose,
    forward,
    framing::{Fault, Framing},
    limits::Limits,
    origin::Announcements,
    plain, tls,
    worker::{Listed, ScopeState, Worker},
};

/// Milliseconds since the process began to count them, at least 1.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX) + 1
}

/// What a connection is doing. Shared with its socket, which must be `Send`; all of it happens on
/// one thread.
#[derive(Debug)]
pub(crate) struct Activity {
    /// From the first byte of a request to the end of its head.
    head_limit: Duration,
    /// Without anything being asked.
    idle_limit: Duration,
    /// Requests that are being answered; more than one only with HTTP/2.
    busy: AtomicU32,
    /// Since when there is none.
    idle_since: AtomicU64,
    /// Since when a head is under way; 0 when none is.
    head_since: AtomicU64,
    fault: AtomicU8,
    /// The connection can tell the client that it will end, and does so when it is told.
    http2: AtomicBool,
    asked_to_end: AtomicBool,
    end: Notify,
    /// Who is to look whether the proxy ends.
    waker: Mutex<Option<Waker>>,
}

impl Activity {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            head_limit: limits.request_head,
            idle_limit: limits.client_idle,
            busy: AtomicU32::new(0),
            idle_since: AtomicU64::new(now()),
            head_since: AtomicU64::new(0),
            fault: AtomicU8::new(0),
            http2: AtomicBool::new(false),
            asked_to_end: AtomicBool::new(false),
            end: Notify::new(),
            waker: Mutex::new(None),
        }
    }

    /// Whether the client has been silent for too long.
    pub(crate) fn is_overdue(&self) -> bool {
        if self.busy.load(Relaxed) > 0 {
            return false;
        }
        if self.asked_to_end.load(Relaxed) {
            let since = self.idle_since.load(Relaxed);
            return Duration::from_millis(now().saturating_sub(since)) > self.head_limit;
        }
        let (since, limit) = match self.head_since.load(Relaxed) {
            0 => (self.idle_since.load(Relaxed), self.idle_limit),
            head => (head, self.head_limit),
        };
        Duration::from_millis(now().saturating_sub(since)) > limit
    }

    /// The client has begun to say something: the time of a head runs from now on.
    pub(crate) fn begin_head(&self) {
        self.head_since.store(now(), Relaxed);
    }

    /// What was begun is there: the client may be silent for a while.
    pub(crate) fn rest(&self) {
        self.head_since.store(0, Relaxed);
        self.idle_since.store(now(), Relaxed);
    }

    /// Says who is to be woken to look whether the proxy ends.
    pub(crate) fn is_woken_by(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// Has the connection look whether the proxy ends.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    /// From here on the connection speaks HTTP/2.
    pub(crate) fn set_http2(&self) {
        self.http2.store(true, Relaxed);
    }

    /// Has the connection tell the client to begin nothing new on it. Says false when it cannot,
    /// or has done so before.
    pub(crate) fn ask_to_end(&self) -> bool {
        if !self.http2.load(Relaxed) || self.asked_to_end.swap(true, Relaxed) {
            return false;
        }
        self.idle_since.store(now(), Relaxed);
        self.end.notify_one();
        true
    }

    /// Returns when the connection was asked to end.
    pub(crate) async fn is_asked_to_end(&self) {
        self.end.notified().await;
    }

    /// What is wrong with what the client sent.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self.fault.load(Relaxed) {
            0 => None,
            1 => Some(Fault::TwoLengths),
            _ => Some(Fault::BareLineFeed),
        }
    }

    fn set_fault(&self, fault: Fault) {
        let code = match fault {
            Fault::TwoLengths => 1,
            Fault::BareLineFeed => 2,
        };
        self.fault.store(code, Relaxed);
    }
}

/// A request is being answered as long as this is held.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Busy {
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        // All of it happens on one thread: no operation that a bus has to be locked for.
        activity.busy.store(activity.busy.load(Relaxed) + 1, Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Relaxed);
        self.0.busy.store(self.0.busy.load(Relaxed) - 1, Relaxed);
    }
}

/// What is known where a request is answered.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) scope: Rc<ScopeState>,
    pub(crate) peer: SocketAddr,
    /// By which door it came.
    pub(crate) purpose: Purpose,
    /// The client came by TLS.
    pub(crate) secure: bool,
    pub(crate) activity: Arc<Activity>,
    pub(crate) announcements: Announcements,
}

/// A connection that came in.
#[derive(Debug)]
pub(crate) struct Arrival<S = TcpStream> {
    pub(crate) stream: S,
    pub(crate) peer: SocketAddr,
    pub(crate) purpose: Purpose,
}

impl Client {
    /// Whether the connection carries several requests at a time.
    pub(crate) fn is_http2(&self) -> bool {
        self.activity.http2.load(Relaxed)
    }
}

/// Answers the requests of one connection until it closes.
pub(crate) async fn serve(
    listed: Listed,
    scope: Rc<ScopeState>,
    Arrival { mut stream, mut peer, purpose }: Arrival,
    activity: Arc<Activity>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "a client's connection cannot be set up");
        return;
    }
    let worker = Rc::clone(&listed.worker);
    let (tls, ingress) = {
        let table = scope.table();
        (
            table.tls.clone().filter(|_| purpose == Purpose::Serve),
            table.ingress.proxy_protocol.then(|| Arc::clone(&table.ingress)),
        )
    };
    if let Some(ingress) = ingress {
        let mut closing = worker.closing();
        let source = Box::pin(ingress.source(&mut stream, peer, worker.limits.handshake));
        let source = tokio::select! {
            biased;
            source = source => source,
            // It has not asked for anything.
            _ = closing.wait_for(|closing| *closing) => None,
        };
        match source {
            Some(source) => peer = source,
            None => return,
        }
    }
    let client = Client {
        worker,
        scope,
        peer,
        purpose,
        secure: tls.is_some(),
        activity,
        announcements: Announcements::default(),
    };
    match tls {
        None if purpose == Purpose::Redirect => {
            Box::pin(http1(listed, Rc::new(client), stream)).await;
        }
        Some(config) => Box::pin(tls::serve(listed, client, stream, config)).await,
        None => Box::pin(plain::serve(listed, client, stream)).await,
    }
}

/// Answers the requests of a connection that speaks HTTP/1 until it closes.
pub(crate) async fn http1<S>(listed: Listed, client: Rc<Client>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let worker = Rc::clone(&listed.worker);
    let peer = client.peer;
    let socket = Socket::new(stream, Arc::clone(&client.activity));
    let limits = client.scope.limits();
    let service = service_fn(move |request: Request<Incoming>| {
        let client = Rc::clone(&client);
        async move { Ok::<_, Infallible>(forward::answer(client, request).await) }
    });
    let connection =
        builder(&limits).serve_connection(TokioIo::new(socket), service).with_upgrades();
    let mut connection = pin!(connection);
    let mut closing = worker.closing();
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => Some(outcome),
        // Nothing of it is kept: it would hold the lock of what the worker writes to.
        _ = closing.wait_for(|closing| *closing) => None,
    };
    let outcome = if let Some(outcome) = outcome {
        outcome
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = outcome {
        tracing::debug!(%peer, %error, "a client's connection broke");
    }
    drop(listed);
}

/// How HTTP is read from clients. Upper bounds only; the time limits are kept by the worker's sweep.
pub(crate) fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder.header_read_timeout(None).max_buf_size(limits.head_bytes.max(8 * 1024));
    builder
}

/// A client's socket that watches what comes in.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    stream: S,
    framing: Framing,
    activity: Arc<Activity>,
}

impl<S> Socket<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, framing: Framing::new(), activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let poll = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = poll {
            let was_in_head = this.framing.is_in_head();
            if let Err(fault) = this.framing.feed(&buffer.filled()[before..]) {
                this.activity.set_fault(fault);
            }
            match (was_in_head, this.framing.is_in_head()) {
                (false, true) => this.activity.head_since.store(now(), Relaxed),
                (true, false) => this.activity.head_since.store(0, Relaxed),
                _ => {}
            }
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
