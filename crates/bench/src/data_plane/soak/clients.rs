//! Who asks: each for itself, all the time, one after the other.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::HOST;
use crate::{Failure, data_plane::ground::PATIENCE};

/// So many requests on a connection that is kept.
const KEPT: usize = 100;
/// After something failed.
const PAUSE: Duration = Duration::from_millis(50);
/// So many failures are more than a proxy that is at work has.
const TOO_MANY: u64 = 10_000;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One request on a connection, which is reset then.
    Reset,
    /// One request on a connection, which the proxy is asked to close.
    Close,
    /// Many requests on a connection.
    Kept,
    /// A handshake and one request.
    Tls,
    /// A WebSocket that says something, hears it and goes.
    WebSocket,
}

impl Kind {
    pub(super) const ALL: [Self; 5] =
        [Self::Reset, Self::Close, Self::Kept, Self::Tls, Self::WebSocket];

    /// So many clients do it at once.
    fn clients(self) -> usize {
        match self {
            Self::Reset | Self::Close => 6,
            Self::Kept | Self::WebSocket => 3,
            Self::Tls => 2,
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// By the place of the kind among all.
    done: [AtomicU64; Kind::ALL.len()],
    pub(super) failed: AtomicU64,
}

impl Counts {
    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.done[kind as usize].load(Relaxed)
    }

    pub(super) fn told(&self) -> String {
        let [reset, close, kept, tls, websockets] = Kind::ALL.map(|kind| self.of(kind));
        let opened = reset + close + kept + tls + websockets;
        let asked = reset + close + kept * KEPT as u64 + tls;
        format!("{opened} connections, {asked} requests, {tls} handshakes, {websockets} WebSockets")
    }
}

/// All of them; they end when this is dropped.
pub(super) struct Clients(JoinSet<Failure>);

impl Clients {
    pub(super) fn start(
        plain: SocketAddr,
        secure: SocketAddr,
        trust: &Arc<ClientConfig>,
        counts: &Arc<Counts>,
    ) -> Self {
        let mut clients = JoinSet::new();
        let mut source = 1;
        for kind in Kind::ALL {
            for _ in 0..kind.clients() {
                source += 1;
                let client = Client {
                    // Each with addresses of its own: ports are few, and some rest after use.
                    source: Ipv4Addr::new(127, 0, 0, source),
                    address: if kind == Kind::Tls { secure } else { plain },
                    trust: Arc::clone(trust),
                };
                clients.spawn(client.go_on(kind, Arc::clone(counts)));
            }
        }
        Self(clients)
    }

    /// Waits until one of them gives up.
    pub(super) async fn failed(&mut self) -> Failure {
        match self.0.join_next().await {
            Some(Ok(failure)) => failure,
            Some(Err(error)) => error.into(),
            None => "nobody asks".into(),
        }
    }
}

struct Client {
    source: Ipv4Addr,
    address: SocketAddr,
    trust: Arc<ClientConfig>,
}

impl Client {
    async fn go_on(self, kind: Kind, counts: Arc<Counts>) -> Failure {
        loop {
            let done = timeout(PATIENCE, self.once(kind)).await;
            match done.map_err(io::Error::from).flatten() {
                Ok(()) => {
                    counts.done[kind as usize].fetch_add(1, Relaxed);
                }
                Err(error) if counts.failed.fetch_add(1, Relaxed) > TOO_MANY => {
                    return format!("{kind:?}: {error}").into();
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn once(&self, kind: Kind) -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.source, 0).into())?;
        let mut stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        match kind {
            Kind::Reset => {
                ask(&mut stream, "").await?;
                stream.set_zero_linger()
            }
            Kind::Close => {
                ask(&mut stream, "Connection: close\r\n").await?;
                match stream.read(&mut [0]).await? {
                    0 => Ok(()),
                    _ => Err(io::Error::other("more than the answer")),
                }
            }
            Kind::Kept => {
                for _ in 0..KEPT {
                    ask(&mut stream, "").await?;
                }
                Ok(())
            }
            Kind::Tls => {
                let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::clone(&self.trust));
                let mut stream = connector.connect(name, stream).await?;
                ask(&mut stream, "").await
            }
            Kind::WebSocket => converse(stream).await,
        }
    }
}

/// One request and its whole answer, which has 1 KB.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), more: &str) -> io::Result<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let end = head(stream, b"HTTP/1.1 200 ").await?;
    if end > 1_024 {
        return Err(io::Error::other("more than the answer"));
    }
    stream.read_exact(&mut vec![0; 1_024 - end]).await.map(|_| ())
}

/// Reads the head of an answer that begins like this; how much of what follows was read with it.
async fn head(stream: &mut (impl AsyncRead + Unpin), wanted: &[u8]) -> io::Result<usize> {
    let mut read = Vec::with_capacity(2_048);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let follows = read.len() - end - 4;
            return if read.starts_with(wanted) {
                Ok(follows)
            } else {
                Err(io::Error::other("another status"))
            };
        }
    }
}

/// A WebSocket: ten frames, each heard before the next.
async fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await?;
    if head(&mut stream, b"HTTP/1.1 101 ").await? != 0 {
        return Err(io::Error::other("it speaks first"));
    }
    for _ in 0..10 {
        // A mask of nothing, and eight bytes.
        stream.write_all(b"\x82\x88\0\0\0\0tidegate").await?;
        let mut heard = [0; 10];
        stream.read_exact(&mut heard).await?;
        if heard != *b"\x82\x08tidegate" {
            return Err(io::Error::other("another frame"));
        }
    }
    Ok(())
}
