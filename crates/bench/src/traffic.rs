//! Clients that ask all the time and note who answered.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval_at, timeout},
};

use crate::{Failure, clock};

/// 500 requests a second.
const CLIENTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);
/// A request without its whole answer by then is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// When it was sent.
    pub(crate) begun: Duration,
    /// Which version answered; none when nobody did.
    pub(crate) version: Option<String>,
}

/// Clients, until it is dropped.
pub(crate) struct Traffic {
    visits: Arc<Mutex<Vec<Visit>>>,
    _clients: JoinSet<()>,
}

impl Traffic {
    /// Sends them to `address`.
    pub(crate) fn begin(address: SocketAddr) -> Self {
        let visits = Arc::default();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            // Evenly, not all at the same moment.
            let delay = PAUSE * number / CLIENTS;
            clients.spawn(visit(address, delay, Arc::clone(&visits)));
        }
        Self { visits, _clients: clients }
    }

    /// All visits that have ended, and forgets them.
    pub(crate) fn take(&self) -> Vec<Visit> {
        std::mem::take(&mut *lock(&self.visits))
    }

    /// How many of those that have ended were answered by `version`.
    pub(crate) fn answered_by(&self, version: &str) -> usize {
        let visits = lock(&self.visits);
        visits.iter().filter(|visit| visit.version.as_deref() == Some(version)).count()
    }
}

fn lock(visits: &Mutex<Vec<Visit>>) -> MutexGuard<'_, Vec<Visit>> {
    visits.lock().unwrap_or_else(PoisonError::into_inner)
}

type Connection = SendRequest<Empty<Bytes>>;

async fn visit(address: SocketAddr, delay: Duration, visits: Arc<Mutex<Vec<Visit>>>) {
    let mut ticks = interval_at(tokio::time::Instant::now() + delay, PAUSE);
    // Each keeps its own beat: clients that were late together must not go on together, or there
    // would be gaps in which nobody asks.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut connection = None;
    loop {
        ticks.tick().await;
        let begun = clock::now();
        let answered = timeout(PATIENCE, ask(address, &mut connection)).await;
        let version = answered.ok().and_then(Result::ok);
        if version.is_none() {
            connection = None;
        }
        lock(&visits).push(Visit { begun, version });
    }
}

async fn ask(address: SocketAddr, connection: &mut Option<Connection>) -> Result<String, Failure> {
    let sender = match connection {
        Some(sender) if !sender.is_closed() => sender,
        _ => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            connection.insert(sender)
        }
    };
    sender.ready().await?;
    let request = Request::get("/").header("host", "bench").body(Empty::new())?;
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    body.collect().await?;
    let version = head.headers.get("x-version").ok_or("nobody said who answered")?;
    if head.status.is_success() { Ok(version.to_str()?.to_owned()) } else { Err("failed".into()) }
}
