//! Revisions as processes of this machine, each under a shim that outlives us.

mod checks;
mod clock;
mod decide;
mod describe;
mod former_sites;
#[doc(hidden)]
pub mod fuzzing;
mod instance;
mod keeper;
mod layout;
mod probe;
mod publisher;
mod restart;
mod revision;
mod scope;
mod supervisor;
mod table;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tidegate_types::{
    Digest, Epoch, Generation, LogLine, Observation, RevisionId, RouteTable, Scope, Timestamp,
    WantedRevision, Workload,
    data_plane::{Traffic, Upstream},
};
use tokio::{sync::watch, task::AbortHandle};

use self::{
    clock::SteadyClock,
    instance::Ports,
    keeper::Keeper,
    layout::{Layout, RevisionRecord, instance_numbers},
    publisher::Publisher,
    scope::Shared,
    supervisor::Supervisor,
};
use crate::{Effect, Target, TargetError};

/// What a [`ProcessTarget`] needs.
#[derive(Clone)]
pub struct Options {
    /// The folder of everything that is kept; absolute.
    pub home: PathBuf,
    /// Run as `executable shim DIRECTORY` and `executable proxy --home HOME`.
    pub executable: PathBuf,
    /// Where the files of an artifact are.
    pub artifacts: Arc<dyn Fn(&Digest) -> PathBuf + Send + Sync>,
    /// The engine's clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// What every instance gets besides its own variables; see [`inherited_environment`].
    pub environment: BTreeMap<String, String>,
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("home", &self.home)
            .field("executable", &self.executable)
            .finish_non_exhaustive()
    }
}

/// The variables of this process that instances get too: where programs are, who the user is, and
/// nothing secret.
#[must_use]
pub fn inherited_environment() -> BTreeMap<String, String> {
    ["PATH", "HOME", "LANG", "TMPDIR", "TZ", "USER"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}

/// What all parts of a target share.
struct Context {
    layout: Layout,
    executable: PathBuf,
    artifacts: Arc<dyn Fn(&Digest) -> PathBuf + Send + Sync>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    steady: SteadyClock,
    environment: BTreeMap<String, String>,
    ports: Ports,
}

/// Runs revisions as processes and keeps the proxy.
///
/// Instances and the proxy are processes of their own and outlive it. A new one finds them in the
/// home, attaches to what runs and counts what has ended; it starts and stops nothing before it is
/// told what is wanted.
pub struct ProcessTarget {
    context: Arc<Context>,
    keeper: Arc<Keeper>,
    /// All instances are to be stopped.
    closing: Arc<AtomicBool>,
    scopes: Mutex<HashMap<Scope, Arc<Handle>>>,
}

impl fmt::Debug for ProcessTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProcessTarget")
            .field("home", &self.context.layout.home())
            .finish_non_exhaustive()
    }
}

/// A scope and its tasks, which end with it.
struct Handle {
    shared: Arc<Shared>,
    publisher: Arc<Publisher>,
    tasks: [AbortHandle; 2],
}

impl Drop for Handle {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl ProcessTarget {
    /// Takes over what is in the home. Has to be called within a tokio runtime.
    pub fn new(options: Options) -> Result<Self, TargetError> {
        let failed = |reason| TargetError {
            operation: "take over what runs".to_owned(),
            reason,
            retry: false,
            effect: Effect::None,
        };
        let layout = Layout::new(options.home);
        let keeper = Keeper::start(&layout, options.executable.clone()).map_err(failed)?;
        let target = Self {
            context: Arc::new(Context {
                layout,
                executable: options.executable,
                artifacts: options.artifacts,
                steady: SteadyClock::starting_at((options.clock)()),
                clock: options.clock,
                environment: options.environment,
                ports: Ports::default(),
            }),
            keeper: Arc::new(keeper),
            closing: Arc::default(),
            scopes: Mutex::default(),
        };
        let mut found: BTreeMap<Scope, Vec<RevisionId>> = BTreeMap::new();
        let revisions = target.context.layout.revisions();
        for (scope, revision) in revisions.map_err(|error| failed(error.to_string()))? {
            found.entry(scope).or_default().push(revision);
        }
        for (scope, revisions) in found {
            let handle = Arc::new(target.open(&scope, &revisions));
            target.scopes().insert(scope, handle);
        }
        Ok(target)
    }

    /// Ends the tasks of this target. With `stop_everything` all instances are drained and stopped
    /// first, each as its revision says, and then the proxy; without it both go on running.
    pub async fn shutdown(&self, stop_everything: bool) {
        if stop_everything {
            self.closing.store(true, Ordering::Release);
            let handles: Vec<_> = self.scopes().values().cloned().collect();
            for handle in &handles {
                handle.shared.wake().notify_one();
            }
            for handle in &handles {
                handle.shared.wait_until_closed().await;
            }
            self.keeper.end_proxy().await;
        }
        self.keeper.let_go();
        self.scopes().clear();
    }

    fn scopes(&self) -> std::sync::MutexGuard<'_, HashMap<Scope, Arc<Handle>>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scope(&self, scope: &Scope) -> Arc<Handle> {
        let mut scopes = self.scopes();
        if let Some(handle) = scopes.get(scope) {
            return Arc::clone(handle);
        }
        let handle = Arc::new(self.open(scope, &[]));
        scopes.insert(scope.clone(), Arc::clone(&handle));
        handle
    }

    /// Starts the tasks of a scope with what was found of it.
    fn open(&self, scope: &Scope, revisions: &[RevisionId]) -> Handle {
        let shared = Arc::new(Shared::new());
        let publisher = Arc::new(Publisher::new(scope.clone(), Arc::clone(&self.keeper)));
        let mut supervisor = Supervisor::new(
            Arc::clone(&self.context),
            scope.clone(),
            Arc::clone(&self.keeper),
            Arc::clone(&publisher),
            Arc::clone(&shared),
            Arc::clone(&self.closing),
        );
        for revision in revisions {
            supervisor.adopt(revision);
        }
        // Before anything is published: what is not known yet must not look gone.
        supervisor.tell();
        let follower = {
            let (publisher, shared) = (Arc::clone(&publisher), Arc::clone(&shared));
            tokio::spawn(async move {
                publisher
                    .follow(|| {
                        shared.routed(|| publisher.facts());
                        shared.wake().notify_one();
                    })
                    .await;
            })
        };
        let supervisor = tokio::spawn(supervisor.run());
        Handle { shared, publisher, tasks: [follower.abort_handle(), supervisor.abort_handle()] }
    }
}

#[async_trait]
impl Target for ProcessTarget {
    async fn apply(
        &self,
        scope: &Scope,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), TargetError> {
        let handle = self.scope(scope);
        handle.shared.want(generation, wanted).map_err(|newer| TargetError {
            operation: format!("change what runs in {scope}"),
            reason: format!(
                "a newer list of revisions is followed: generation {newer}, not {generation}"
            ),
            retry: false,
            effect: Effect::None,
        })?;
        // Known to the router from now on, so that routes may name it before it has an instance.
        handle.publisher.update(|upstreams| {
            for wanted in wanted {
                upstreams.entry(wanted.id.clone()).or_insert_with(|| match &wanted.spec.workload {
                    Workload::Process(_) => Upstream::Endpoints(Vec::new()),
                    Workload::Static(site) => Upstream::Files {
                        root: (self.context.artifacts)(&wanted.spec.artifact),
                        single_page: site.single_page,
                        // As soon as it is supervised.
                        others: Vec::new(),
                    },
                });
            }
        });
        handle.shared.wake().notify_one();
        Ok(())
    }

    async fn route(&self, table: &RouteTable) -> Result<Epoch, TargetError> {
        let handle = self.scope(&table.scope);
        let result = handle.publisher.route(table).await;
        handle.shared.routed(|| handle.publisher.facts());
        handle.shared.wake().notify_one();
        result
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation, TargetError> {
        Ok(self.scope(scope).shared.observation())
    }

    async fn traffic(&self, scope: &Scope) -> Result<Traffic, TargetError> {
        self.keeper.client().traffic(scope).await.map_err(|error| TargetError {
            operation: format!("read the counters of {scope}"),
            reason: error.to_string(),
            retry: true,
            effect: Effect::None,
        })
    }

    async fn logs(
        &self,
        scope: &Scope,
        revisions: &[RevisionId],
        lines: usize,
    ) -> Result<Vec<LogLine>, TargetError> {
        let folders: Vec<_> = revisions
            .iter()
            .map(|revision| {
                let layout = &self.context.layout;
                let folder = layout.revision(scope, revision);
                let folder = if folder.is_dir() {
                    folder
                } else {
                    layout.ended(scope).join(revision.as_str())
                };
                (revision.clone(), folder)
            })
            .collect();
        let read = tokio::task::spawn_blocking(move || read_logs(&folders, lines)).await;
        read.map_err(|error| error.to_string()).flatten().map_err(|reason| TargetError {
            operation: format!("read the output of {scope}"),
            reason,
            retry: true,
            effect: Effect::None,
        })
    }

    fn changes(&self, scope: &Scope) -> watch::Receiver<u64> {
        self.scope(scope).shared.changes()
    }
}

fn read_logs(revisions: &[(RevisionId, PathBuf)], lines: usize) -> Result<Vec<LogLine>, String> {
    let mut found = Vec::new();
    for (revision, folder) in revisions {
        let Some(record) = RevisionRecord::read(folder)? else {
            continue;
        };
        let numbers =
            instance_numbers(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for number in numbers {
            let instance = tidegate_types::InstanceId::of(revision, number);
            let tail = tidegate_shim::tail(&folder.join(number.to_string()), lines)
                .map_err(|error| error.to_string())?;
            found.extend(tail.into_iter().map(|line| LogLine {
                instance: instance.clone(),
                release: record.spec.release.clone(),
                at: line.at,
                text: line.text,
            }));
        }
    }
    found.sort_by_key(|line| line.at);
    Ok(found)
}
