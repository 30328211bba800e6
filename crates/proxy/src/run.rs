//! The life of a proxy.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    acme,
    control::{self, Control},
    descriptors, disk,
    hand_over::{self, Charge, Link, Parting},
    limits::Limits,
    lock::{Lock, LockError},
    metrics,
    registry::Registry,
    visitor::Key,
    worker::{self, Threads},
};

/// How long the end of a proxy waits for the last lines of access logs to be written.
const LOG_GRACE: Duration = Duration::from_secs(2);

/// How a proxy is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of `tables.json`; made when absent. One proxy to a home.
    pub home: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// How many threads answer requests, at least one.
    pub workers: usize,
    /// Take the place of the proxy that runs in this home; it loses no request. Where none runs
    /// none is started.
    pub take_over: bool,
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
    /// There is no proxy whose place could be taken. It may have been told to end on purpose.
    #[error("no proxy runs in {}, so there is none whose place could be taken", home.display())]
    NobodyRuns {
        /// The home.
        home: PathBuf,
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
    /// The proxy that runs has not given up its place, and goes on.
    #[error("cannot take the place of the proxy that runs: {0}")]
    TakeOver(std::io::Error),
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
    let Options { home, socket, workers, take_over } = options;
    let lock = match take_home(&home) {
        Err(Error::AlreadyRunning { .. }) if take_over => None,
        Ok(_) if take_over => return Err(Error::NobodyRuns { home }),
        taken => {
            let mut lock = taken?;
            lock.note_holder();
            Some(lock)
        }
    };
    let visitors = Key::of_home(&home);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let threads = worker::start(workers.max(1), &limits, visitors).map_err(Error::Start)?;
    let registry = Registry::new(home.clone(), threads.handles(), &limits);
    let (outcome, control) = runtime.block_on(async {
        let started = async {
            // First of all: a signal in the middle of taking over is heard after it.
            let signals = Signals::new().map_err(Error::Start)?;
            Ok((start(lock, &home, &socket, registry, &limits).await?, signals))
        };
        match started.await {
            Ok((control, signals)) => (live(&control, &threads, signals).await, Some(control)),
            Err(error) => (Err(error), None),
        }
    });
    runtime.shutdown_background();
    let joined = threads.join();
    if let Some(control) = control {
        let logs = control.lock_meters().take_logs();
        let charge = control.registry.blocking_lock().leave();
        // With it go the tables, which keep the logs open.
        drop(control);
        logs.finish(LOG_GRACE);
        // The socket is the successor's, if there is one.
        if let Some(charge) = charge {
            remove_socket(&socket);
            drop(charge);
        }
    }
    outcome?;
    joined.map_err(|()| Error::Worker)
}

/// Serves what was served before, from disk or from the proxy that has the lock.
async fn start(
    lock: Option<Lock>,
    home: &Path,
    socket: &Path,
    mut registry: Registry,
    limits: &Limits,
) -> Result<Arc<Control>, Error> {
    let (charge, predecessor) = match lock {
        Some(lock) => {
            let unusable = |source| Error::Home { home: home.to_owned(), source };
            let stored = disk::load(home).map_err(unusable)?;
            let listener = control::listen(socket)
                .map_err(|source| Error::Socket { socket: socket.to_owned(), source })?;
            registry.restore(stored).await;
            (Charge { lock, socket: Arc::new(listener) }, Link::default())
        }
        None => hand_over::take_over(socket, &mut registry).await.map_err(Error::TakeOver)?,
    };
    tracing::info!(socket = %socket.display(), "the proxy runs");
    let listener = Arc::clone(&charge.socket);
    registry.put_in_charge(charge, predecessor);
    let control = Arc::new(Control::new(registry));
    // Goes on while requests in flight end, so that what still drains can be asked.
    tokio::spawn(control::serve(Arc::clone(&control), listener));
    tokio::spawn(control::watch_certificates(Arc::clone(&control)));
    tokio::spawn(control::close_buckets(Arc::clone(&control), limits.bucket));
    tokio::spawn(metrics::serve(Arc::clone(&control)));
    tokio::spawn(acme::look_after(Arc::clone(&control), home.to_owned(), limits.order_pause()));
    Ok(control)
}

/// Returns when the proxy was told to end, or was succeeded, and nothing is in flight any more.
async fn live(
    control: &Arc<Control>,
    threads: &Threads,
    mut signals: Signals,
) -> Result<(), Error> {
    tokio::select! {
        () = control::maintain(Arc::clone(control)) => {}
        () = control.end.notified() => {}
        () = signals.told_to_end() => {}
        () = fails(control, threads) => return Err(Error::Worker),
    }
    if control.is_succeeded() {
        Parting::outlast(control, threads, signals.told_to_end()).await;
    } else {
        control.registry.lock().await.drain().await;
        hand_over::nothing_left(control, threads).await;
    }
    Ok(())
}

/// Returns when a worker has ended that was not told to. One that was is not the last word: the
/// others and the control socket are still being told.
async fn fails(control: &Control, threads: &Threads) {
    threads.any_ended().await;
    if control.ending.load(Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// What the operating system says.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Heard, and nothing else: a terminal that goes away ends nothing.
    _hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when it says that the proxy is to end.
    async fn told_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
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
