//! A worker's own view of a table, and its connections to the endpoints.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use rustix::net::{RecvFlags, recv};
use tidegate_types::{InstanceId, Protocol, RouteRule};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::spawn_local,
};

use crate::{
    access_log::Sink,
    backend::Backend,
    clock,
    endpoint_http2::{Pool, Stream},
    gate::Gate,
    health::{Cause, Health},
    ingress::Ingress,
    limits::Limits,
    meter::{Gauge, UnansweredMeter},
    mirror::Mirror,
    plain::{Wires, wire},
    redirect::Redirect,
    request_body::RequestBody,
    upgraded::farewell,
    visitor::Visitors,
};

/// A table as one worker follows it.
#[derive(Debug, Default)]
pub(crate) struct LocalTable {
    pub(crate) routes: Vec<LocalRoute>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// What is asked of connections.
    pub(crate) ingress: Arc<Ingress>,
    /// Where those are sent who come in plain text by a door of their own.
    pub(crate) redirect: Option<Arc<Redirect>>,
    /// What limits the requests to all routes.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Where requests leave lines.
    pub(crate) access_log: Option<Rc<Sink>>,
    pub(crate) unanswered: Option<Arc<UnansweredMeter>>,
    /// Those of the worker, except for what the scope has of its own.
    pub(crate) limits: Rc<Limits>,
    /// Visitors are known by a cookie on one of the routes: it is kept from all endpoints.
    pub(crate) gives_cookies: bool,
}

impl LocalTable {
    /// All instances that it names; one that is in several routes, several times.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Rc<Endpoint>> {
        let backends = self.routes.iter().flat_map(|route| &route.backends);
        backends.flat_map(|backend| backend.endpoints())
    }
}

/// A route as one worker follows it.
#[derive(Debug)]
pub(crate) struct LocalRoute {
    pub(crate) rule: RouteRule,
    pub(crate) backends: Vec<Rc<Backend>>,
    /// How visitors are divided, when they are.
    pub(crate) visitors: Option<Visitors>,
    /// Who gets copies, and of how many of the requests.
    pub(crate) mirror: Option<Mirror>,
}

/// An instance that takes requests, with this worker's unused connections to it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) instance: InstanceId,
    address: SocketAddr,
    /// Over all workers.
    counted: Arc<Gauge>,
    /// Of this worker.
    in_flight: Cell<u32>,
    pub(crate) health: Arc<Health>,
    /// How long what is in flight may take when it has left.
    drain: Cell<Option<Duration>>,
    /// Since when no table names it.
    left: Cell<Option<Instant>>,
    /// The one used last is used next, so that those not needed grow old and are closed.
    idle: RefCell<Vec<(Alone, Instant)>>,
    /// The same for plain requests.
    pub(crate) wires: Wires,
    /// Those that carry many requests at a time, where it speaks so.
    shared: Option<Pool>,
}

impl Endpoint {
    pub(crate) fn new(
        instance: InstanceId,
        address: SocketAddr,
        protocol: Protocol,
        counted: Arc<Gauge>,
        health: Arc<Health>,
    ) -> Self {
        Self {
            instance,
            address,
            counted,
            in_flight: Cell::new(0),
            health,
            drain: Cell::new(None),
            left: Cell::new(None),
            idle: RefCell::default(),
            wires: Wires::default(),
            shared: (protocol == Protocol::H2c).then(Pool::default),
        }
    }

    /// A request begins.
    pub(crate) fn begin(&self, worker: usize) {
        self.counted.add(worker);
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// A request that began has ended.
    pub(crate) fn end(&self, worker: usize) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.counted.subtract(worker);
    }

    /// What is in flight may take so long when it has left.
    pub(crate) fn set_drain(&self, drain: Option<Duration>) {
        self.drain.set(drain);
    }

    /// No table names it any more.
    pub(crate) fn leave(&self, now: Instant) {
        self.left.set(self.left.get().or(Some(now)));
    }

    /// A table names it.
    pub(crate) fn stay(&self) {
        self.left.set(None);
    }

    /// When it has left and what takes long is to end: within which time, so that it has ended when
    /// the instance is stopped.
    pub(crate) fn farewell(&self, now: Instant, longest: Duration) -> Option<Duration> {
        let (left, drain) = self.left.get().zip(self.drain.get())?;
        let farewell = farewell(drain, longest);
        (now.saturating_duration_since(left) >= drain.saturating_sub(farewell)).then_some(farewell)
    }

    /// Whether it speaks HTTP/2.
    pub(crate) fn speaks_http2(&self) -> bool {
        self.shared.is_some()
    }

    /// An unused connection, or room on one that carries several requests. With `surely_open` the
    /// operating system is asked whether it is still open, for a request that could not be
    /// repeated.
    pub(crate) fn take_idle(&self, surely_open: bool) -> Option<Connection> {
        if let Some(pool) = &self.shared {
            return pool.take(surely_open).map(Connection::Shared);
        }
        loop {
            let (mut connection, _) = self.idle.borrow_mut().pop()?;
            if connection.is_ready() && (!surely_open || connection.is_open()) {
                return Some(Connection::Alone(connection));
            }
        }
    }

    /// Opens a connection, and remembers whether that was possible.
    pub(crate) async fn connect(&self, limits: &Limits) -> std::io::Result<Connection> {
        self.notice(self.connect_unnoticed(limits).await, limits)
    }

    /// The same for a plain request.
    pub(crate) async fn open_wire(&self, limits: &Limits) -> std::io::Result<TcpStream> {
        self.notice(wire::open(self.address, limits).await, limits)
    }

    fn notice<T>(&self, connected: std::io::Result<T>, limits: &Limits) -> std::io::Result<T> {
        match &connected {
            Ok(_) => self.health.reached(clock::millis),
            Err(error) if is_ours(error) => {
                tracing::warn!(%error, "cannot connect to endpoints");
            }
            Err(_) => self.health.eject(Cause::Unreachable, limits.ejection(), clock::millis()),
        }
        connected
    }

    /// Requests of this worker that are in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Opens a connection without a consequence for who is asked next.
    pub(crate) async fn connect_unnoticed(&self, limits: &Limits) -> std::io::Result<Connection> {
        if let Some(pool) = &self.shared {
            return pool.connect(self.address, limits).await.map(Connection::Shared);
        }
        let open = Alone::open(self.address, limits);
        match tokio::time::timeout(limits.connect, open).await {
            Ok(connected) => connected.map(Connection::Alone),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }

    /// Takes a connection back after its answer has ended.
    pub(crate) fn give_back(self: &Rc<Self>, connection: Connection, limits: &Limits) {
        let Connection::Alone(mut connection) = connection else {
            return;
        };
        if connection.is_ready() {
            return self.keep(connection, limits);
        }
        if connection.sender.is_closed() {
            return;
        }
        // The answer ended before the request did.
        connection.detach();
        let (endpoint, limits) = (Rc::clone(self), *limits);
        spawn_local(async move {
            let ready = connection.sender.ready();
            if let Ok(Ok(())) = tokio::time::timeout(limits.upstream_idle, ready).await {
                endpoint.keep(connection, &limits);
            }
        });
    }

    fn keep(&self, connection: Alone, limits: &Limits) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < limits.upstream_idle_connections {
            idle.push((connection, Instant::now()));
        }
    }

    /// Closes what has not been used for longer than `longest`.
    pub(crate) fn close_idle(&self, now: Instant, longest: Duration) {
        self.idle.borrow_mut().retain_mut(|(connection, since)| {
            now.duration_since(*since) < longest && connection.is_ready()
        });
        self.wires.close_idle(now, longest);
        if let Some(pool) = &self.shared {
            pool.close_idle(now, longest);
        }
    }
}

/// A connection to an endpoint, as one request has it.
#[derive(Debug)]
pub(crate) enum Connection {
    Alone(Alone),
    Shared(Stream),
}

impl Connection {
    /// Sends a request. A failure gives it back when nothing of it was sent. Whoever waits for the
    /// answer drives the connection.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<>
    {
        enum Sent<A, S> {
            Alone(A),
            Shared(S),
        }
        let sent = match self {
            Self::Alone(connection) => Sent::Alone(connection.sender.try_send_request(request)),
            Self::Shared(stream) => Sent::Shared(stream.sender.try_send_request(request)),
        };
        async move {
            match sent {
                Sent::Alone(answer) => answer.await,
                Sent::Shared(answer) => answer.await,
            }
        }
    }

    /// Reads and writes what can be. Whoever waits for something on this connection calls it each
    /// time, unless the connection has a task of its own.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if let Self::Alone(connection) = self {
            connection.drive(context);
        }
    }

    /// Gives it a task of its own, for when it is to go on while nobody waits for it: a request
    /// whose body is still coming in, or what follows an upgrade.
    pub(crate) fn detach(&mut self) {
        if let Self::Alone(connection) = self {
            connection.detach();
        }
    }

    /// It takes no more requests.
    pub(crate) fn leave(&self) {
        if let Self::Shared(stream) = self {
            stream.leave();
        }
    }

    /// Whether a request that failed by this is a failure of the endpoint of its own. A connection
    /// that breaks is one failure, however many requests were on it.
    pub(crate) fn counts_as_failure(&self, error: &hyper::Error) -> bool {
        match self {
            Self::Alone(_) => true,
            Self::Shared(stream) => stream.counts_as_failure(error),
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Self::Shared(_))
    }
}

/// Whether a connection failed for want of something of our own, which says nothing of the endpoint.
fn is_ours(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrNotAvailable
        || rustix::io::Errno::from_io_error(error).is_some_and(|number| {
            use rustix::io::Errno;
            [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&number)
        })
}

/// What reads and writes on a connection.
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// A connection that carries one request at a time.
///
/// It has no task of its own as long as whoever waits for the answer can drive it: to wake another
/// task for each request, and to be woken by it, is what most of a proxy's own time is spent on.
pub(crate) struct Alone {
    sender: SendRequest<RequestBody>,
    /// None once it has ended, or has a task of its own.
    driver: Option<Driver>,
    socket: Socket,
}

impl std::fmt::Debug for Alone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Alone").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Alone {
    async fn open(address: SocketAddr, limits: &Limits) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let socket = Socket::new(stream);
        let (sender, connection) = Builder::new()
            .max_header_size(limits.answer_head_bytes)
            .handshake(TokioIo::new(socket.clone()))
            .await
            .map_err(std::io::Error::other)?;
        let driver: Driver = Box::pin(connection.with_upgrades());
        Ok(Self { sender, driver: Some(driver), socket })
    }

    /// Reads and writes what can be. Whoever waits for something on this connection calls it each
    /// time, unless the connection has a task of its own.
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(ended) = driver.as_mut().poll(context)
        {
            self.driver = None;
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to an endpoint broke");
            }
        }
    }

    /// Gives it a task of its own, for when it is to go on while nobody waits for it: a request
    /// whose body is still coming in, or what follows an upgrade.
    fn detach(&mut self) {
        if let Some(driver) = self.driver.take() {
            spawn_local(async move {
                if let Err(error) = driver.await {
                    tracing::debug!(%error, "a connection to an endpoint broke");
                }
            });
        }
    }

    /// Whether the next request can be sent. What came in since it was used last is looked at
    /// without a call of the operating system, so that an end that it told is known.
    fn is_ready(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.sender.is_ready()
    }

    /// Whether the endpoint has neither closed the connection nor sent anything unasked.
    fn is_open(&self) -> bool {
        self.socket.is_silent()
    }
}

/// A socket that both the HTTP connection and whoever asks whether it is open can reach. They run on the
/// same thread; the lock is never waited for, it is there since upgraded connections must be
/// `Send`.
#[derive(Debug, Clone)]
pub(crate) struct Socket(Arc<Mutex<TcpStream>>);

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    /// Whether it is open and nothing is there to be read.
    pub(crate) fn is_silent(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        matches!(recv(&*self.lock(), &mut byte[..], flags), Err(rustix::io::Errno::WOULDBLOCK))
    }

    fn lock(&self) -> MutexGuard<'_, TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(context)
    }
}
