//! The control socket: lines of JSON, each answered by one.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tidegate_types::data_plane::{Request, Response};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, MutexGuard, Notify, watch},
};

use crate::{
    executable,
    hand_over::{self, Parting},
    health::watch::Watch,
    meters::Meters,
    registry::Registry,
    store,
    table::invalid,
};

/// Longer lines than any table with thousands of routes needs are refused.
const LONGEST_LINE: u64 = 64 << 20;

/// What the connections share.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) registry: Mutex<Registry>,
    meters: Arc<StdMutex<Meters>>,
    watch: Arc<StdMutex<Watch>>,
    build: String,
    /// Somebody asked the proxy to end, or takes its place: it has stopped listening.
    pub(crate) end: Notify,
    /// The workers have been told to end.
    pub(crate) ending: AtomicBool,
    /// A successor is in charge, and nobody else is heard. Set while the registry is locked.
    pub(crate) succeeded: watch::Sender<bool>,
    pub(crate) parting: Parting,
}

impl Control {
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            meters: registry.meters(),
            watch: registry.watch(),
            registry: Mutex::new(registry),
            build: executable::running(),
            end: Notify::new(),
            ending: AtomicBool::new(false),
            succeeded: watch::Sender::new(false),
            parting: Parting::default(),
        }
    }

    /// Whether another proxy has taken this one's place.
    pub(crate) fn is_succeeded(&self) -> bool {
        *self.succeeded.borrow()
    }

    pub(crate) fn lock_meters(&self) -> StdMutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry, unless another proxy is in charge of it by now.
    async fn in_charge(&self) -> Option<MutexGuard<'_, Registry>> {
        let registry = self.registry.lock().await;
        (!self.is_succeeded()).then_some(registry)
    }
}

/// Opens the control socket. The lock of the home is held, so what is left there is the dead
/// predecessor's, unless somebody answers on it.
pub(crate) fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::AddrInUse,
            "another process answers on it",
        ));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the control socket until a successor does.
pub(crate) async fn serve(control: Arc<Control>, listener: Arc<UnixListener>) {
    let mut succeeded = control.succeeded.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = succeeded.wait_for(|succeeded| *succeeded) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(converse(Arc::clone(&control), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Binds what could not be bound, stores what could not be stored, and forgets what nobody counts any more.
pub(crate) async fn maintain(control: Arc<Control>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        let unsynced;
        {
            let mut registry = control.registry.lock().await;
            registry.bind_missing().await;
            registry.store_missing().await;
            unsynced = registry.take_unsynced();
        }
        if let Some(home) = unsynced {
            store::sync(home).await;
        }
        control.lock_meters().sweep(Instant::now());
    }
}

/// Looks every second whether the files of certificates have changed. By itself, as files may be on
/// a disk that does not answer.
pub(crate) async fn watch_certificates(control: Arc<Control>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let terminations = control.registry.lock().await.terminations();
        if terminations.is_empty() {
            continue;
        }
        let look = move || terminations.iter().for_each(|termination| termination.reload());
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            tracing::error!(%error, "the certificates cannot be looked at");
        }
    }
}

/// Closes a bucket at the end of each step of time, by a clock that nobody sets, until a successor
/// does.
pub(crate) async fn close_buckets(control: Arc<Control>, step: Duration) {
    let mut tick = tokio::time::interval(step.max(Duration::from_millis(1)));
    // Steps that were missed are one long one: what was counted in which of them is not known.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    tick.tick().await;
    loop {
        tick.tick().await;
        let mut meters = control.lock_meters();
        if control.is_succeeded() {
            return;
        }
        meters.close_bucket(Instant::now());
    }
}

/// Answers the lines of one connection until it closes, or a successor serves. Whoever is hung up on
/// finds the successor when it connects again.
async fn converse(control: Arc<Control>, stream: UnixStream) {
    let mut succeeded = control.succeeded.subscribe();
    let mut conversation = Conversation::new(stream);
    loop {
        let line = tokio::select! {
            biased;
            _ = succeeded.wait_for(|succeeded| *succeeded) => return,
            line = conversation.line() => line,
        };
        let Some(line) = line else { return };
        let response = match serde_json::from_slice(line) {
            Ok(Request::HandOver) => return hand_over::give_way(&control, conversation).await,
            request => reply(&control, request).await,
        };
        let Some(response) = response else { return };
        if conversation.say(&response).await.is_err() {
            return;
        }
    }
}

/// The answer to a line; none when it is another proxy's to answer.
pub(crate) async fn reply(
    control: &Control,
    request: serde_json::Result<Request>,
) -> Option<Response> {
    match request {
        Ok(request) => answer(control, request).await,
        Err(error) => Some(Response::Refused(invalid(format!("not a request: {error}")))),
    }
}

async fn answer(control: &Control, request: Request) -> Option<Response> {
    Some(match request {
        Request::Publish(table) => control.in_charge().await?.publish(table).await,
        Request::Remove(scope) => control.in_charge().await?.remove(&scope).await,
        Request::Tables => Response::Tables(control.in_charge().await?.tables()),
        Request::Traffic(_) | Request::Health(_) | Request::Buckets { .. }
            if control.is_succeeded() =>
        {
            return None;
        }
        Request::Traffic(scope) => Response::Traffic(control.lock_meters().read(&scope)),
        Request::Buckets { scope, after } => {
            Response::Buckets(control.lock_meters().buckets(&scope, after))
        }
        Request::Health(scope) => Response::Health(
            control.watch.lock().unwrap_or_else(PoisonError::into_inner).read(&scope),
        ),
        Request::Shutdown => {
            let mut registry = control.in_charge().await?;
            control.ending.store(true, Relaxed);
            registry.drain().await;
            control.end.notify_one();
            Response::Done
        }
        Request::Build => Response::Build(control.build.clone()),
        Request::HandOver | Request::Inherit => {
            Response::Refused(invalid("that is said by a successor only".to_owned()))
        }
    })
}

/// One connection.
pub(crate) struct Conversation {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    line: Vec<u8>,
}

impl Conversation {
    fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        // A table with a thousand routes is half a megabyte.
        let reader = BufReader::with_capacity(64 * 1024, reader);
        Self { reader, writer, line: Vec::new() }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        self.writer.as_ref()
    }

    /// The next line. None at the end, and for a line that was cut off, which is no request.
    pub(crate) async fn line(&mut self) -> Option<&[u8]> {
        self.line.clear();
        self.line.shrink_to(16 * 1024);
        let read = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', &mut self.line).await;
        (read.is_ok() && self.line.last() == Some(&b'\n')).then_some(&self.line)
    }

    pub(crate) async fn say(&mut self, response: &Response) -> std::io::Result<()> {
        self.writer.write_all(&text(response)?).await
    }
}

/// An answer as it is sent.
pub(crate) fn text(response: &Response) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(response)?;
    text.push(b'\n');
    Ok(text)
}
