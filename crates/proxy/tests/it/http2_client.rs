//! A client that speaks HTTP/2 by a library.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle};

use crate::harness::PATIENCE;

/// A body that is told part by part.
pub(crate) struct Told(mpsc::UnboundedReceiver<Frame<Bytes>>);

pub(crate) type Teller = mpsc::UnboundedSender<Frame<Bytes>>;

impl Told {
    pub(crate) fn new() -> (Teller, Self) {
        let (teller, told) = mpsc::unbounded_channel();
        (teller, Self(told))
    }

    pub(crate) fn of(parts: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        let (teller, told) = Self::new();
        parts.into_iter().for_each(|part| teller.send(part).unwrap());
        told
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Whole {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        Some(self.trailers.as_ref()?.get(name)?.to_str().unwrap())
    }
}

/// A connection. It only moves while something is waited for.
pub(crate) struct Http2 {
    runtime: tokio::runtime::Runtime,
    pub(crate) sender: SendRequest<Told>,
    connection: JoinHandle<hyper::Result<()>>,
    scheme: &'static str,
}

impl Http2 {
    /// By prior knowledge.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self::over("http", async move { TcpStream::connect(address).await.unwrap() })
    }

    /// By agreement in a handshake.
    pub(crate) fn encrypted(address: SocketAddr) -> Self {
        let config = crate::certificates::trusting(rustls::ALL_VERSIONS, &["h2", "http/1.1"]);
        Self::over("https", async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = "shop".try_into().unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
            let stream = connector.connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            stream
        })
    }

    fn over<S>(scheme: &'static str, connect: impl Future<Output = S>) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sender, connection) = runtime.block_on(async {
            let io = TokioIo::new(connect.await);
            let (sender, connection) =
                Builder::new(TokioExecutor::new()).handshake(io).await.unwrap();
            (sender, tokio::spawn(connection))
        });
        Self { runtime, sender, connection, scheme }
    }

    /// A request to this path.
    pub(crate) fn request(&self, method: &str, path: &str, body: Told) -> Request<Told> {
        let uri = format!("{}://shop{path}", self.scheme);
        Request::builder().method(method).uri(uri).body(body).unwrap()
    }

    pub(crate) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, what).await.unwrap() })
    }

    /// Goes on with this whenever something is waited for.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        what: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(what)
    }

    /// Sends a request; the answer is waited for elsewhere.
    pub(crate) fn start(
        &mut self,
        request: Request<Told>,
    ) -> JoinHandle<hyper::Result<Response<Incoming>>> {
        let answer = self.sender.send_request(request);
        self.runtime.spawn(answer)
    }

    pub(crate) fn call(&mut self, request: Request<Told>) -> hyper::Result<Whole> {
        let answer = self.sender.send_request(request);
        self.wait(async { whole(answer.await?).await })
    }

    pub(crate) fn get(&mut self, path: &str) -> Whole {
        self.call(self.request("GET", path, Told::of([]))).unwrap()
    }

    /// Waits until the other side has closed the connection. Who answers a ping at that moment
    /// finds it broken, which is also an end.
    pub(crate) fn ended(self) {
        let Self { runtime, connection, sender, .. } = self;
        let ended = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, connection).await.unwrap().unwrap() });
        drop(sender);
        if let Err(error) = ended {
            let cause = std::error::Error::source(&error);
            let kind = cause.and_then(|cause| cause.downcast_ref()).map(std::io::Error::kind);
            assert_eq!(kind, Some(std::io::ErrorKind::BrokenPipe), "{error:?}");
        }
    }
}

pub(crate) async fn whole(answer: Response<Incoming>) -> hyper::Result<Whole> {
    let (parts, body) = answer.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    let body = collected.to_bytes();
    Ok(Whole { status: parts.status, headers: parts.headers, body, trailers })
}
