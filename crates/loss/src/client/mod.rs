//! Clients that know what they sent and what must come back.

mod http;
mod websocket;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use self::http::{Ask, Line};
use crate::{
    book::{Book, Fault, PATIENCE},
    door::Doors,
    paced::Paced,
};

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// GET after GET on one connection.
    KeepAlive,
    /// A connection for each GET.
    NewConnection,
    /// Several GETs at a time on one connection, HTTP/2 by prior knowledge.
    Http2,
    /// The same, encrypted.
    Http2Tls,
    /// POST of 100 KB that come slowly.
    Post,
    /// GET of 1 MB that are read slowly.
    SlowReader,
    /// GET of events, one after another.
    Events,
    /// Messages to a WebSocket and back.
    WebSocket,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::KeepAlive => "GET, keep-alive",
            Self::NewConnection => "GET, new connection each",
            Self::Http2 => "GET, HTTP/2",
            Self::Http2Tls => "GET, HTTP/2 by TLS",
            Self::Post => "POST, 100 KB slowly",
            Self::SlowReader => "GET, 1 MB read slowly",
            Self::Events => "GET, events",
            Self::WebSocket => "WebSocket",
        })
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::KeepAlive,
        Self::NewConnection,
        Self::Http2,
        Self::Http2Tls,
        Self::Post,
        Self::SlowReader,
        Self::Events,
        Self::WebSocket,
    ];

    /// Whether it may be sent again as long as there is no answer.
    pub(crate) fn is_safe(self) -> bool {
        !matches!(self, Self::Post | Self::WebSocket)
    }

    /// How many connections there are.
    fn connections(self) -> usize {
        match self {
            Self::KeepAlive => 8,
            Self::NewConnection | Self::Http2 | Self::SlowReader => 2,
            Self::Http2Tls => 1,
            Self::Post | Self::Events | Self::WebSocket => 4,
        }
    }

    /// How many requests are under way on each.
    fn lanes(self) -> usize {
        if matches!(self, Self::Http2 | Self::Http2Tls) { 4 } else { 1 }
    }

    /// From an answer to the next request, so that the machine is not the limit.
    fn pause(self) -> Duration {
        Duration::from_millis(match self {
            Self::KeepAlive => 5,
            _ => 10,
        })
    }
}

/// The clients; they end when this is dropped, or properly by [`Load::end`].
#[derive(Debug)]
pub(crate) struct Load {
    tasks: JoinSet<()>,
    ending: Arc<AtomicBool>,
}

impl Load {
    /// Begins to ask.
    pub(crate) fn start(doors: &Doors, book: &Arc<Book>) -> Self {
        let mut load = Self { tasks: JoinSet::new(), ending: Arc::default() };
        for kind in Kind::ALL {
            for _ in 0..kind.connections() {
                let line = Arc::new(Line::new(kind, doors.clone()));
                for _ in 0..kind.lanes() {
                    let (line, book) = (Arc::clone(&line), Arc::clone(book));
                    let ending = Arc::clone(&load.ending);
                    load.tasks.spawn(async move {
                        while !ending.load(Relaxed) {
                            ask(kind, &line, &book).await;
                            tokio::time::sleep(kind.pause()).await;
                        }
                    });
                }
            }
        }
        load
    }

    /// Waits for the answers that are still to come.
    pub(crate) async fn end(mut self) {
        self.ending.store(true, Relaxed);
        // One that panicked has begun what it did not end, which the report tells.
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn ask(kind: Kind, line: &Line, book: &Book) {
    let number = book.begin(kind);
    let sent = Instant::now();
    let outcome = async {
        if kind == Kind::WebSocket {
            websocket::converse(line.doors.plain, number).await
        } else {
            line.exchange(&Ask::of(kind, number)).await
        }
    };
    let outcome = match tokio::time::timeout(PATIENCE, outcome).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Fault::unanswered(format!("no answer in {} s", PATIENCE.as_secs()))),
    };
    book.end(kind, sent, outcome);
}

/// An answer from its headers.
fn told(headers: &::http::HeaderMap) -> Option<(usize, u32)> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let version = text(crate::content::VERSION)?;
    let version = crate::content::VERSIONS.iter().position(|known| *known == version)?;
    Some((version, text(crate::content::INSTANCE)?.parse().ok()?))
}

/// The body of a request that has none.
fn nothing() -> Paced {
    Paced::empty()
}
