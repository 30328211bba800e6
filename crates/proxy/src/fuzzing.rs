//! A door for fuzzing, and no part of what this crate offers: what the data plane does with bytes,
//! without a socket. It is a module and no feature, so that it is built and linted like the rest
//! and there is only one data plane to test; what nobody calls is not in the binary.

mod control;
pub mod plain;

pub use control::{Plane, stored};

pub use crate::proxy_header::{Malformed, Reader, Source};

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, client, service::service_fn};
use hyper_util::rt::TokioIo;
use tidegate_types::RouteRule;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    answer::{AnswerKind, Own},
    connection::{self, Activity, Socket},
    format::Format,
    forward::{self, Place},
    head,
    limits::Limits,
    origin::{Announcements, Origin},
    pick::Random,
};

/// What was said on both sides of the proxy.
#[derive(Debug, Default)]
pub struct Conversation {
    /// To the client.
    pub answers: Vec<u8>,
    /// To endpoints: each request on a connection of its own.
    pub requests: Vec<Vec<u8>>,
}

/// An endpoint: is given all that it was sent, and answers once that is enough.
pub type Application = dyn FnMut(&[u8]) -> Option<Vec<u8>>;

/// More turns than any conversation of a few kilobytes needs.
const MOST_TURNS: usize = 100_000;

/// A client sends these pieces, waits for what is answered, and hangs up. Every request that is
/// taken goes to `application` under `rule`.
#[must_use]
pub fn converse(
    pieces: Vec<Vec<u8>>,
    rule: &RouteRule,
    application: Box<Application>,
) -> Conversation {
    let world = Rc::new(World {
        rule: rule.clone(),
        application: RefCell::new(application),
        requests: RefCell::default(),
        connections: RefCell::default(),
        random: Random::new(1),
        activity: Arc::new(Activity::new(&Limits::default())),
        hung_up: Cell::new(false),
        answers: RefCell::default(),
    });
    let stream = ClientStream { pieces: pieces.into(), world: Rc::clone(&world) };
    let socket = Socket::new(stream, Arc::clone(&world.activity));
    let served = Rc::clone(&world);
    let service = service_fn(move |request| {
        let world = Rc::clone(&served);
        async move { Ok::<_, Infallible>(world.answer(request).await) }
    });
    let connection =
        connection::builder(&Limits::default()).serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    for turn in 0.. {
        assert!(turn < MOST_TURNS, "the conversation never ends");
        woken.0.store(false, Relaxed);
        if connection.as_mut().poll(&mut context).is_ready() {
            break;
        }
        let polled = world.connections.take();
        for mut connection in polled {
            if connection.as_mut().poll(&mut context).is_pending() {
                world.connections.borrow_mut().push(connection);
            }
        }
        if !woken.0.load(Relaxed) && world.hung_up.replace(true) {
            break;
        }
    }
    Conversation {
        answers: world.answers.take(),
        requests: world.requests.borrow().iter().map(|sent| sent.take()).collect(),
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

struct World {
    rule: RouteRule,
    application: RefCell<Box<Application>>,
    requests: RefCell<Vec<Rc<RefCell<Vec<u8>>>>>,
    connections: RefCell<Vec<Pin<Box<dyn Future<Output = ()>>>>>,
    random: Random,
    activity: Arc<Activity>,
    /// The client sends nothing any more.
    hung_up: Cell<bool>,
    answers: RefCell<Vec<u8>>,
}

impl World {
    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let format = Format::of(&request);
        self.exchange(request).await.unwrap_or_else(|(own, detail)| {
            own.answer(format, detail.as_deref()).map(AnswerBody::own)
        })
    }

    /// What `forward` does with a request, without the search for who answers it.
    async fn exchange(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, (Own, Option<String>)> {
        let malformed = |reason: String| (Own::BadRequest, Some(reason));
        if let Some(fault) = self.activity.fault() {
            return Err(malformed(fault.to_string()));
        }
        let host =
            head::check(request.method(), request.version(), request.uri(), request.headers())
                .map_err(|reason| malformed(reason.to_string()))?;
        let uri = forward::stripped(&self.rule, &request).map_err(malformed)?;
        let websocket = head::is_websocket(request.method(), request.version(), request.headers());
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // The client is believed, so that whatever it says of itself is read.
        let origin =
            Origin::of(request.headers(), peer, false, &[IpAddr::from(Ipv4Addr::LOCALHOST).into()]);
        let announcement = Announcements::default().of(&origin, &host, false);
        let place = Place { uri, host, announcement, websocket };
        let outgoing = forward::outgoing(request, place, &self.random);
        let sent = Rc::new(RefCell::default());
        self.requests.borrow_mut().push(Rc::clone(&sent));
        let stream = EndpointStream { sent, answer: None, waiting: None, world: Rc::clone(&self) };
        let gone = |_| (Own::BadGateway, None);
        let (mut sender, connection) = client::conn::http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(gone)?;
        self.connections.borrow_mut().push(Box::pin(async move { drop(connection.await) }));
        let answer = sender.try_send_request(outgoing).await;
        let mut answer = answer.map_err(|_| (Own::BadGateway, None))?;
        forward::to_client(&mut answer, websocket).map_err(|own| (own, None))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer.map(|_| AnswerBody::Own(None)));
        }
        Ok(answer.map(AnswerBody::Endpoint))
    }
}

/// What a client gets.
enum AnswerBody {
    Own(Option<Bytes>),
    Endpoint(Incoming),
}

impl AnswerBody {
    fn own(kind: AnswerKind) -> Self {
        Self::Own(if let AnswerKind::Fixed(bytes) = kind { bytes } else { None })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Endpoint(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Endpoint(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Endpoint(body) => body.size_hint(),
        }
    }
}

/// The client's end of a connection: one piece for each time that the proxy reads.
struct ClientStream {
    pieces: VecDeque<Vec<u8>>,
    world: Rc<World>,
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while let Some(piece) = self.pieces.front_mut() {
            let taken = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece[..taken]);
            piece.drain(..taken);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            if taken > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if self.world.hung_up.get() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.world.answers.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// An endpoint's end of a connection. It hangs up after its answer.
struct EndpointStream {
    sent: Rc<RefCell<Vec<u8>>>,
    answer: Option<VecDeque<u8>>,
    waiting: Option<Waker>,
    world: Rc<World>,
}

impl AsyncRead for EndpointStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let Some(answer) = &mut self.answer else {
            self.waiting = Some(context.waker().clone());
            return Poll::Pending;
        };
        let taken = answer.len().min(buffer.remaining());
        for byte in answer.drain(..taken) {
            buffer.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EndpointStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.sent.borrow_mut().extend_from_slice(bytes);
        if self.answer.is_none() {
            let answer = (self.world.application.borrow_mut())(&self.sent.borrow());
            self.answer = answer.map(Into::into);
            if self.answer.is_some()
                && let Some(waiting) = self.waiting.take()
            {
                waiting.wake();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
