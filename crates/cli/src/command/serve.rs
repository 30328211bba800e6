//! `tidegate serve`: the control plane, put together.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tidegate_engine::{Anchor, Clock, Engine, Preparer, SteadyClock};
use tidegate_server::{End, State};
use tidegate_store::{DeploymentFilter, SqliteStore, Store};
use tidegate_types::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, level_filters::LevelFilter, warn};

use crate::{
    arguments::Serve,
    command::version::VERSION,
    context::Context,
    control,
    exit::Exit,
    fault::Fault,
    teardown::{self, STORE},
};

/// Setting of the store: where the engine's time is counted from.
const ANCHOR: &str = "clock_anchor";
/// Setting of the store: the engine's time when it was last written down.
const LATEST_TIME: &str = "latest_time";
/// How often the engine's time is written down, so that it never goes back by more after a reboot.
const NOTE_TIME: Duration = Duration::from_mins(1);

pub(crate) fn run(context: &Context, arguments: &Serve) -> Result<Exit, Fault> {
    log(context.verbose);
    if arguments.detached {
        // The terminal's end and its Ctrl-C must not reach the control plane.
        if let Err(error) = rustix::process::setsid() {
            warn!(%error, "the control plane stays in the session that started it");
        }
    }
    control::make_home(&context.home)?;
    let home = context.home.canonicalize().map_err(|error| {
        let what = format!("{} cannot be used: {error}", context.home.display());
        Fault::new(Exit::Failed, "home", what)
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Exit::Failed, "runtime", format!("cannot start: {error}")))?;
    let end = runtime.block_on(serve(&home));
    // Tasks that still run are left where they are, as a crash would leave them.
    runtime.shutdown_timeout(Duration::from_millis(200));
    if end? == End::Everything {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(
            |error| Fault::new(Exit::Failed, "runtime", format!("cannot start: {error}")),
        )?;
        runtime.block_on(teardown::stop_everything(&home, &|text| info!("{text}")))?;
    }
    Ok(Exit::Done)
}

/// Says what happens on stderr, which is the log's file when in the background.
pub(crate) fn log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| Forgiving(io::stderr()))
        // It would be told on stderr, and panic when that cannot be written.
        .log_internal_errors(false)
        .with_ansi(false)
        .with_target(false)
        .try_init();
}

/// Writes what can be written. A log on a full disk loses lines; whoever logs must not notice.
struct Forgiving<W>(W);

impl<W: Write> Write for Forgiving<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// A failure of the store as a fault.
pub(crate) fn store_fault(error: &tidegate_store::Error) -> Fault {
    if let tidegate_store::Error::Locked { holder: Some(pid), .. } = error {
        return control::deaf(*pid);
    }
    Fault::new(Exit::Failed, "store", error.to_string())
}

async fn serve(home: &Path) -> Result<End, Fault> {
    let fault = |error: tidegate_store::Error| store_fault(&error);
    let store = match SqliteStore::open(home.join(STORE)) {
        Err(tidegate_store::Error::Locked { holder: Some(pid), .. }) => {
            return Err(control::taken(home, pid).await);
        }
        opened => opened.map_err(fault)?,
    };
    let store: Arc<dyn Store> = Arc::new(store);
    let clock: Arc<dyn Clock> = Arc::new(clock(&*store).await.map_err(fault)?);
    let target = Arc::new(teardown::target(home, &clock)?);
    let executable = executable()?;
    let preparer =
        Arc::new(Preparer::new(Arc::clone(&store), Arc::clone(&clock), home, executable));
    let engine = Engine::start(Arc::clone(&store), target, preparer, Arc::clone(&clock))
        .await
        .map_err(|error| Fault::new(Exit::Failed, "engine", error.to_string()))?;
    let state = State::new(engine.clone(), VERSION);
    end_by_signal(state.clone())?;
    tokio::spawn(note_time(Arc::clone(&store), Arc::clone(&clock)));
    info!(version = VERSION, pid = std::process::id(), home = %home.display(), "control plane");
    let served = tidegate_server::serve(home, state).await;
    engine.halt().await;
    note(&*store, &*clock).await;
    info!("the control plane ends; instances and proxy are not touched");
    served.map_err(|error| Fault::new(Exit::Failed, "socket", error.to_string()))
}

/// The program that runs shims and the proxy: this one, also after its file was replaced.
pub(crate) fn executable() -> Result<PathBuf, Fault> {
    std::env::current_exe().map_err(|error| {
        let what = format!("the path of tidegate itself is unknown: {error}");
        Fault::new(Exit::Failed, "executable", what)
    })
}

/// The engine's clock, going on from where the last one was.
pub(crate) async fn clock(store: &dyn Store) -> Result<SteadyClock, tidegate_store::Error> {
    let stored = store.meta(ANCHOR).await?;
    let stored: Option<Anchor> = stored.and_then(|text| serde_json::from_str(&text).ok());
    let noted = store.meta(LATEST_TIME).await?.and_then(|text| text.parse().ok());
    let newest = store.deployments(&DeploymentFilter::All, None, 1).await?;
    let newest = newest.first().map(|row| row.ended_at.unwrap_or(row.requested_at));
    let latest = noted.map(Timestamp::from_millis).max(newest);
    let chosen = Anchor::choose(stored.clone(), Anchor::read(), latest);
    if stored.as_ref() != Some(&chosen) {
        let text = serde_json::to_string(&chosen).unwrap_or_default();
        store.set_meta(ANCHOR, &text).await?;
    }
    Ok(SteadyClock::new(chosen))
}

async fn note_time(store: Arc<dyn Store>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(NOTE_TIME).await;
        note(&*store, &*clock).await;
    }
}

async fn note(store: &dyn Store, clock: &dyn Clock) {
    let now = clock.now().as_millis().to_string();
    if let Err(error) = store.set_meta(LATEST_TIME, &now).await {
        warn!(%error, "the time was not written down");
    }
}

fn end_by_signal(state: State) -> Result<(), Fault> {
    let hear = |kind| {
        signal(kind).map_err(|error| {
            Fault::new(Exit::Failed, "signal", format!("signals cannot be heard: {error}"))
        })
    };
    let mut terminate = hear(SignalKind::terminate())?;
    let mut interrupt = hear(SignalKind::interrupt())?;
    // A terminal that goes away ends nothing.
    let mut hangup = hear(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return state.end(End::ControlPlane),
                _ = interrupt.recv() => return state.end(End::ControlPlane),
                _ = hangup.recv() => {}
            }
        }
    });
    Ok(())
}
