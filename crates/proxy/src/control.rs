//! The control socket: lines of JSON, each answered by one.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tidegate_types::data_plane::{Request, Response};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Mutex, Notify},
};

use crate::{health::watch::Watch, meters::Meters, registry::Registry, table::invalid};

/// Longer lines than any table with thousands of routes needs are refused.
const LONGEST_LINE: u64 = 64 << 20;

/// What the connections share.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) registry: Mutex<Registry>,
    pub(crate) meters: Arc<StdMutex<Meters>>,
    pub(crate) watch: Arc<StdMutex<Watch>>,
    /// Somebody asked the proxy to end, and it has stopped listening.
    pub(crate) end: Notify,
    /// The workers have been told to end.
    pub(crate) ending: AtomicBool,
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

/// Serves the control socket; never ends by itself.
pub(crate) async fn serve(control: Arc<Control>, listener: UnixListener) {
    loop {
        match listener.accept().await {
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
        {
            let mut registry = control.registry.lock().await;
            registry.bind_missing().await;
            registry.store_missing().await;
        }
        control.meters.lock().unwrap_or_else(PoisonError::into_inner).sweep(Instant::now());
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

async fn converse(control: Arc<Control>, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            Ok(_) if line.last() == Some(&b'\n') => {}
            // A line that was cut off is no request.
            Ok(_) | Err(_) => return,
        }
        let response = reply(&control, &line).await;
        let Ok(mut text) = serde_json::to_vec(&response) else {
            return;
        };
        text.push(b'\n');
        if writer.write_all(&text).await.is_err() {
            return;
        }
        line.shrink_to(16 * 1024);
    }
}

/// The answer to a line.
pub(crate) async fn reply(control: &Control, line: &[u8]) -> Response {
    match serde_json::from_slice(line) {
        Ok(request) => answer(control, request).await,
        Err(error) => Response::Refused(invalid(format!("not a request: {error}"))),
    }
}

async fn answer(control: &Control, request: Request) -> Response {
    match request {
        Request::Publish(table) => control.registry.lock().await.publish(table).await,
        Request::Remove(scope) => control.registry.lock().await.remove(&scope).await,
        Request::Tables => Response::Tables(control.registry.lock().await.tables()),
        Request::Traffic(scope) => Response::Traffic(
            control.meters.lock().unwrap_or_else(PoisonError::into_inner).read(&scope),
        ),
        Request::Health(scope) => Response::Health(
            control.watch.lock().unwrap_or_else(PoisonError::into_inner).read(&scope),
        ),
        Request::Shutdown => {
            control.ending.store(true, Relaxed);
            control.registry.lock().await.drain().await;
            control.end.notify_one();
            Response::Done
        }
    }
}
