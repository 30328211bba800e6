//! Stopping what runs, without an engine that would start it again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_engine::Clock;
use tidegate_release::ArtifactStore;
use tidegate_store::{SqliteStore, Store};
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
    // Whoever has the store is the control plane: none can come up in the middle of this.
    let store = SqliteStore::open(home.join(STORE)).map_err(|error| serve::store_fault(&error))?;
    let scopes = store.scopes().await.map_err(|error| serve::store_fault(&error))?;
    let clock = serve::clock(&store).await.map_err(|error| serve::store_fault(&error))?;
    let clock: Arc<dyn Clock> = Arc::new(clock);
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
    Ok(())
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
