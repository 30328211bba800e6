//! Connections to an endpoint that carry many requests at a time: HTTP/2 without encryption, as
//! gRPC has it.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Mutex, task::spawn_local};

use crate::{endpoint::Socket, http2::OnThisThread, limits::Limits, request_body::RequestBody};

/// What an endpoint may send of one answer before anybody reads it.
const STREAM_WINDOW: u32 = 128 * 1024;

/// So many requests at a time on one connection, if the endpoint takes them.
const STREAMS: u32 = 128;

/// The same for all answers of a connection: enough for all of them at once, so that clients who
/// do not read hold up nobody else.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;

/// What is kept of one request for an endpoint that reads slowly.
const SEND_BUFFER: usize = 64 * 1024;

/// A worker's connections to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    connections: RefCell<Vec<Rc<Shared>>>,
    /// Held by whoever connects; the others wait and share what comes of it.
    connecting: Mutex<()>,
    /// How often connecting failed, and how it did the last time.
    failures: Cell<u64>,
    failure: Cell<Option<std::io::ErrorKind>>,
}

/// A connection.
#[derive(Debug)]
struct Shared {
    sender: SendRequest<RequestBody>,
    socket: Socket,
    state: Rc<State>,
}

#[derive(Debug)]
struct State {
    /// Requests on it.
    streams: Cell<usize>,
    /// So many of them the endpoint takes.
    most: Cell<usize>,
    /// It takes no more requests: the endpoint said so, or it broke.
    leaving: Cell<bool>,
    /// It broke, and that was counted.
    has_failed: Cell<bool>,
    used: Cell<Instant>,
}

impl Pool {
    /// A place on a connection that has room. With `surely_open`, one that nobody uses is only
    /// taken when the endpoint has said nothing on it: it may have said that it ends.
    pub(crate) fn take(&self, surely_open: bool) -> Option<Stream> {
        let connections = self.connections.borrow();
        let open = connections.iter().find(|shared| {
            let state = &shared.state;
            let streams = state.streams.get();
            !state.leaving.get()
                && !shared.sender.is_closed()
                && streams < state.most.get()
                && (!surely_open || streams > 0 || shared.socket.is_silent())
        })?;
        Some(Stream::new(open))
    }

    /// A place on a new connection, or on the one that somebody else made in the meantime.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        limits: &Limits,
    ) -> std::io::Result<Stream> {
        let before = self.failures.get();
        let _connecting = self.connecting.lock().await;
        if let Some(stream) = self.take(true) {
            return Ok(stream);
        }
        // Nobody tries again what has just failed for somebody else.
        if self.failures.get() != before
            && let Some(failure) = self.failure.get()
        {
            return Err(failure.into());
        }
        let opened = match tokio::time::timeout(limits.connect, open(address, limits)).await {
            Ok(opened) => opened,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        match opened {
            Ok(shared) => {
                let stream = Stream::new(&shared);
                self.connections.borrow_mut().push(shared);
                Ok(stream)
            }
            Err(error) => {
                self.failures.set(self.failures.get() + 1);
                self.failure.set(Some(error.kind()));
                Err(error)
            }
        }
    }

    /// Forgets what is closed, and closes what has not been used for longer than `longest`.
    pub(crate) fn close_idle(&self, now: Instant, longest: Duration) {
        self.connections.borrow_mut().retain(|shared| {
            let state = &shared.state;
            let idle = state.streams.get() == 0
                && (state.leaving.get() || now.duration_since(state.used.get()) >= longest);
            !idle && !shared.sender.is_closed()
        });
    }
}

/// Opens a connection and waits until the endpoint has said how many requests it takes, which also
/// shows that it speaks HTTP/2.
async fn open(address: SocketAddr, limits: &Limits) -> std::io::Result<Rc<Shared>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = Socket::new(stream);
    let (sender, mut connection) = Builder::new(OnThisThread)
        .initial_max_send_streams(0)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.answer_head_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .handshake(TokioIo::new(socket.clone()))
        .await
        .map_err(std::io::Error::other)?;
    // Nothing wakes anybody up when the endpoint's first words have come in.
    while connection.current_max_send_streams() == 0 {
        let a_moment = tokio::time::sleep(Duration::from_millis(1));
        tokio::select! {
            biased;
            ended = &mut connection => {
                return Err(match ended {
                    Ok(()) => std::io::ErrorKind::ConnectionAborted.into(),
                    Err(error) => std::io::Error::other(error),
                });
            }
            () = a_moment => {}
        }
    }
    let most = |streams: usize| streams.min(STREAMS as usize);
    let state = Rc::new(State {
        streams: Cell::new(0),
        most: Cell::new(most(connection.current_max_send_streams())),
        leaving: Cell::new(false),
        has_failed: Cell::new(false),
        used: Cell::new(Instant::now()),
    });
    let of_task = Rc::clone(&state);
    spawn_local(async move {
        let ended = std::future::poll_fn(|context| {
            let polled = std::pin::Pin::new(&mut connection).poll(context);
            of_task.most.set(most(connection.current_max_send_streams()));
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%address, %error, "a connection to an endpoint broke");
        }
        of_task.leaving.set(true);
    });
    Ok(Rc::new(Shared { sender, socket, state }))
}

/// A place for one request on a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) sender: SendRequest<RequestBody>,
    state: Rc<State>,
}

impl Stream {
    fn new(shared: &Shared) -> Self {
        let state = Rc::clone(&shared.state);
        state.streams.set(state.streams.get() + 1);
        Self { sender: shared.sender.clone(), state }
    }

    /// The connection takes no more requests.
    pub(crate) fn leave(&self) {
        self.state.leaving.set(true);
    }

    /// Whether what befell this request is a failure of its own, and not that of the connection,
    /// which was counted for another.
    pub(crate) fn counts_as_failure(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        let of_request = cause(error).is_some_and(h2::Error::is_reset);
        of_request || {
            self.leave();
            !self.state.has_failed.replace(true)
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.state.streams.set(self.state.streams.get() - 1);
        self.state.used.set(Instant::now());
    }
}

/// Why an endpoint did not answer, as far as it matters for what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It said that it did not look at this request, which may be sent again.
    Request,
    /// The same, and that it takes no more on this connection.
    Connection,
}

/// Whether an endpoint said of a request that it was not processed. None when it may have been.
pub(crate) fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<Refusal> {
    let error = cause(error).filter(|error| error.is_remote())?;
    // A connection that ends says which requests it still answers; the others get this.
    if error.is_go_away() {
        return Some(Refusal::Connection);
    }
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    refused.then_some(Refusal::Request)
}

/// What HTTP/2 says of an error.
fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a h2::Error> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref())
}
