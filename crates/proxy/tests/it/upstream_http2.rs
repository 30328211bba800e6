//! Applications that speak HTTP/2: one by a library, one frame by frame.

use std::{
    io::Read as _,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::sync::Semaphore;

use crate::{
    frames::{Frames, PREFACE, SETTINGS},
    harness::PATIENCE,
};

/// An application by a library.
pub(crate) struct Http2Application {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    ending: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    seen: Mutex<Vec<Request<()>>>,
    connections: AtomicUsize,
    /// Those who wait at `/hold` take one each.
    released: Semaphore,
}

impl Http2Application {
    /// Takes so many requests at a time on one connection.
    pub(crate) fn start(streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            released: Semaphore::new(0),
        });
        let (ending, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn({
            let state = Arc::clone(&state);
            move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    tokio::select! {
                        () = accept(&state, &listener, streams) => {}
                        _ = ended => {}
                    }
                });
            }
        });
        Self { address, state, ending: Some(ending), thread: Some(thread) }
    }

    pub(crate) fn seen(&self) -> Vec<Request<()>> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Connections that were ever opened.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }

    /// Lets so many of those go on who wait at `/hold`.
    pub(crate) fn release(&self, count: usize) {
        self.state.released.add_permits(count);
    }
}

impl Drop for Http2Application {
    fn drop(&mut self) {
        drop(self.ending.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(state: &Arc<State>, listener: &tokio::net::TcpListener, streams: u32) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        state.connections.fetch_add(1, SeqCst);
        let state = Arc::clone(state);
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(streams);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else {
                return;
            };
            while let Some(Ok((request, answer))) = connection.accept().await {
                let (parts, body) = request.into_parts();
                let mut seen = Request::new(());
                *seen.method_mut() = parts.method;
                *seen.uri_mut() = parts.uri.clone();
                *seen.headers_mut() = parts.headers;
                state.seen.lock().unwrap().push(seen);
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    // A client that goes away ends this early.
                    let _ = reply(&state, parts.uri.path(), body, answer).await;
                });
            }
        });
    }
}

fn trailers(status: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers
}

async fn reply(
    state: &State,
    path: &str,
    mut body: RecvStream,
    mut answer: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let grpc = || Response::builder().header("content-type", "application/grpc");
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        // What comes in goes out, part by part.
        ["echo"] => {
            let mut out = answer.send_response(grpc().body(()).unwrap(), false)?;
            while let Some(part) = body.data().await {
                let part = part?;
                body.flow_control().release_capacity(part.len())?;
                out.send_data(part, false)?;
            }
            let mut end = trailers("0");
            if let Some(said) = body.trailers().await? {
                end.extend(said);
            }
            out.send_trailers(end)
        }
        ["status", status, "head"] => {
            let head = grpc().header("grpc-status", *status).body(()).unwrap();
            answer.send_response(head, true).map(drop)
        }
        ["status", status, "end"] => {
            let mut out = answer.send_response(grpc().body(()).unwrap(), false)?;
            out.send_data("part".into(), false)?;
            out.send_trailers(trailers(status))
        }
        ["status", "none"] => {
            let mut out = answer.send_response(grpc().body(()).unwrap(), false)?;
            out.send_data("part".into(), true)
        }
        ["large"] => {
            let mut out = answer.send_response(Response::new(()), false)?;
            out.send_data(vec![7; 1_000_000].into(), true)
        }
        rest => {
            if rest == ["hold"] {
                state.released.acquire().await.unwrap().forget();
            }
            let mut out = answer.send_response(Response::new(()), false)?;
            out.send_data("hello".into(), true)
        }
    }
}

/// An application frame by frame: what it does with each connection, by its number from 0 on.
pub(crate) struct FrameApplication {
    pub(crate) address: SocketAddr,
    shared: Arc<FrameShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct FrameShared {
    ending: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl FrameApplication {
    pub(crate) fn start(handler: impl Fn(usize, &mut Frames) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(FrameShared::default());
        let handler = Arc::new(handler);
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for (number, socket) in listener.incoming().enumerate() {
                    if shared.ending.load(SeqCst) {
                        return;
                    }
                    let mut socket = socket.unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    socket.set_nodelay(true).unwrap();
                    shared.sockets.lock().unwrap().push(socket.try_clone().unwrap());
                    let handler = Arc::clone(&handler);
                    std::thread::spawn(move || {
                        let mut preface = [0; PREFACE.len()];
                        if socket.read_exact(&mut preface).is_ok() && preface == PREFACE {
                            let mut frames = Frames { socket };
                            frames.send(SETTINGS, 0, 0, &[]);
                            handler(number, &mut frames);
                            let _ = frames.socket.shutdown(Shutdown::Both);
                        }
                    });
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }
}

impl Drop for FrameApplication {
    fn drop(&mut self) {
        self.shared.ending.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for socket in self.shared.sockets.lock().unwrap().iter() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
