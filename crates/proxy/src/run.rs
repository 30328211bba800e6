//! The life of a proxy.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    control::{self, Control},
    descriptors, disk,
    limits::Limits,
    lock::{Lock, LockError},
    registry::Registry,
    visitor::Key,
    worker,
};

/// How a proxy is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of `tables.json`; made when absent. One proxy to a home.
    pub home: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// How many threads answer requests, at least one.
    pub workers: usize,
}

/// Why a proxy did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another proxy has this home.
    #[error(
        "a proxy{} already runs in {}; end it first",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        home.display()
    )]
    AlreadyRunning {
        /// The home.
        home: PathBuf,
        /// The holder's process id, if it could be read.
        pid: Option<u32>,
    },
    /// The home cannot be used.
    #[error("cannot use the folder {}: {source}", home.display())]
    Home {
        /// The home.
        home: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The control socket cannot be opened.
    #[error("cannot listen on the control socket {}: {source}", socket.display())]
    Socket {
        /// The control socket.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system gives no thread, timer or signal handler.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    /// A worker panicked outside a connection.
    #[error("a worker ended by itself")]
    Worker,
}

/// Runs a proxy until it is told to end by `Shutdown`, SIGTERM or SIGINT.
pub fn run(options: Options) -> Result<(), Error> {
    descriptors::raise_limit();
    run_with(options, Limits::default())
}

/// Runs a proxy with other limits than the default ones.
pub fn run_with(options: Options, limits: Limits) -> Result<(), Error> {
    let Options { home, socket, workers } = options;
    let lock = take_home(&home)?;
    let stored = disk::load(&home).map_err(|source| Error::Home { home: home.clone(), source })?;
    let visitors = Key::of_home(&home);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let threads = worker::start(workers.max(1), limits, visitors).map_err(Error::Start)?;
    let handles = threads.handles();
    let outcome = runtime.block_on(async {
        let listener = control::listen(&socket)
            .map_err(|source| Error::Socket { socket: socket.clone(), source })?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Start)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Start)?;
        let mut registry = Registry::new(home, handles, &limits);
        registry.restore(stored).await;
        let (meters, watch) = (registry.meters(), registry.watch());
        let control = Arc::new(Control {
            registry: tokio::sync::Mutex::new(registry),
            meters,
            watch,
            end: tokio::sync::Notify::new(),
            ending: AtomicBool::new(false),
        });
        tracing::info!(socket = %socket.display(), "the proxy runs");
        // Goes on while requests in flight end, so that what still drains can be asked.
        tokio::spawn(control::serve(Arc::clone(&control), listener));
        tokio::spawn(control::watch_certificates(Arc::clone(&control)));
        tokio::select! {
            () = control::maintain(Arc::clone(&control)) => {}
            () = control.end.notified() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = threads.any_ended() => if !control.ending.load(Relaxed) {
                return Err(Error::Worker);
            },
        }
        control.registry.lock().await.drain().await;
        threads.all_ended().await;
        Ok(())
    });
    runtime.shutdown_background();
    let joined = threads.join();
    remove_socket(&socket);
    drop(lock);
    outcome?;
    joined.map_err(|()| Error::Worker)
}

fn take_home(home: &Path) -> Result<Lock, Error> {
    let unusable = |source| Error::Home { home: home.to_owned(), source };
    std::fs::create_dir_all(home).map_err(unusable)?;
    Lock::take(&home.join("proxy.lock")).map_err(|error| match error {
        LockError::Held(pid) => Error::AlreadyRunning { home: home.to_owned(), pid },
        LockError::Io(source) => unusable(source),
    })
}

fn remove_socket(socket: &Path) {
    if let Err(error) = std::fs::remove_file(socket)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot remove the control socket");
    }
}
