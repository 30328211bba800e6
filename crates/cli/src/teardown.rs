//! Stopping what runs, without an engine that would start it again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_engine::{Anchor, Clock, SteadyClock};
use tidegate_release::{ArtifactStore, end_builds};
use tidegate_store::{Error, SqliteStore, Store};
use tidegate_targets::{Options, ProcessTarget, Target as _, inherited_environment};
use tidegate_types::Scope;
use tokio::time::{interval, sleep};

use crate::{command::serve, control, exit::Exit, fault::Fault};

/// The store's file in a home.
pub(crate) const STORE: &str = "tidegate.db";
/// How often it is said what is still waited for.
const PERIOD: Duration = Duration::from_secs(5);
/// The proxy gives requests in flight less time than this to end.
const PROXY_PATIENCE: Duration = Duration::from_secs(20);

/// Whether a control plane ever ran in a home, even when its store is lost.
pub(crate) fn was_up(home: &Path) -> bool {
    home.join(STORE).exists() || proxy_folder(home).exists() || home.join("builds").exists()
}

/// The proxy's folder in a home.
pub(crate) fn proxy_folder(home: &Path) -> PathBuf {
    home.join("proxy")
}

/// The proxy's control socket in a home.
pub(crate) fn proxy_socket(home: &Path) -> PathBuf {
    proxy_folder(home).join("control.sock")
}

/// The process that has the proxy's lock, if it runs.
pub(crate) fn proxy_process(home: &Path) -> Option<u32> {
    let text = fs::read_to_string(proxy_folder(home).join("proxy.lock")).ok()?;
    text.trim().parse().ok().filter(|pid| control::runs(*pid))
}

/// What runs revisions on this machine.
pub(crate) fn target(home: &Path, clock: &Arc<dyn Clock>) -> Result<ProcessTarget, Fault> {
    let artifacts = ArtifactStore::new(home.join("artifacts"));
    let clock = Arc::clone(clock);
    ProcessTarget::new(Options {
        home: home.to_owned(),
        executable: serve::executable()?,
        artifacts: Arc::new(move |digest| artifacts.path(digest)),
        clock: Arc::new(move || clock.now()),
        environment: inherited_environment(),
    })
    .map_err(|error| Fault::new(Exit::Failed, "target", error.to_string()))
}

/// Stops all instances, each as its revision says, and then the proxy. What is wanted stays in the
/// store: the next control plane starts it again.
pub(crate) async fn stop_everything(home: &Path, say: &dyn Fn(String)) -> Result<(), Fault> {
    // Whoever has the store is the control plane: none can come up in the middle of this. One that
    // cannot be used keeps nothing from being stopped; what runs is known without it.
    let store = match open(home) {
        Ok(store) => store,
        Err(error @ Error::Locked { .. }) => return Err(serve::store_fault(&error)),
        Err(error) => {
            say(without_store(&error));
            None
        }
    };
    let (scopes, clock) = match &store {
        None => (Vec::new(), None),
        Some(store) => match known(store).await {
            Ok((scopes, clock)) => (scopes, Some(clock)),
            Err(error) => {
                say(without_store(&error));
                (Vec::new(), None)
            }
        },
    };
    let clock =
        clock.unwrap_or_else(|| SteadyClock::new(Anchor::choose(None, Anchor::read(), None)));
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let builds = end_builds(home).await;
    if let Ok(count @ 1..) = &builds {
        say(format!("ended {count} {}", if *count == 1 { "build" } else { "builds" }));
    }
    let target = target(home, &clock)?;
    for scope in &scopes {
        let left = running(&target, scope).await;
        if !left.is_empty() {
            say(format!("{scope}: stops {}", left.join(", ")));
        }
    }
    let stopping = target.shutdown(true);
    tokio::pin!(stopping);
    let mut ticks = interval(PERIOD);
    ticks.tick().await;
    loop {
        tokio::select! {
            () = &mut stopping => break,
            _ = ticks.tick() => {
                for scope in &scopes {
                    let left = running(&target, scope).await;
                    if !left.is_empty() {
                        say(format!("{scope}: still waits for {}", left.join(", ")));
                    }
                }
            }
        }
    }
    let began = Instant::now();
    while let Some(pid) = proxy_process(home) {
        if began.elapsed() > PROXY_PATIENCE {
            return Err(Fault::new(
                Exit::Failed,
                "down",
                format!("the proxy (process {pid}) does not end"),
            )
            .next(format!("kill {pid}")));
        }
        sleep(Duration::from_millis(10)).await;
    }
    builds.map(|_| ()).map_err(|error| Fault::new(Exit::Failed, "build", error.to_string()))
}

/// The store, when there is one.
fn open(home: &Path) -> Result<Option<SqliteStore>, Error> {
    let path = home.join(STORE);
    if path.exists() { SqliteStore::open(path).map(Some) } else { Ok(None) }
}

async fn known(store: &SqliteStore) -> Result<(Vec<Scope>, SteadyClock), Error> {
    Ok((store.scopes().await?, serve::clock(store).await?))
}

/// What is wrong with the store, without what it advises to those who need it.
fn without_store(error: &Error) -> String {
    let why = match error {
        Error::Full { path, detail } => format!("no space left for {} ({detail})", path.display()),
        Error::ReadOnly { path, detail }
        | Error::Busy { path, detail }
        | Error::Corrupt { path, detail }
        | Error::Io { path, detail, .. } => format!("{}: {detail}", path.display()),
        other => other.to_string(),
    };
    format!("the store cannot be used; everything is stopped without it, nothing is noted: {why}")
}

/// The instances that run.
async fn running(target: &ProcessTarget, scope: &Scope) -> Vec<String> {
    let observation = target.observe(scope).await.unwrap_or_default();
    observation
        .revisions
        .values()
        .flat_map(|facts| &facts.instances)
        .map(|instance| instance.id.to_string())
        .collect()
}
