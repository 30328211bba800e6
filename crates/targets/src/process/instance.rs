//! One instance: its folder, its shim and its checks.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::fd::OwnedFd;
use tidegate_shim::{JobSpec, JobState};
use tidegate_types::{
    Duration, InstanceFacts, InstanceId, InstanceState, ProcessSpec, RevisionId, RevisionSpec,
    Scope, Timestamp,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
    task::AbortHandle,
};

use super::{
    Context,
    checks::{Checks, Prober},
    decide::{Health, InstanceView},
    layout::{InstanceRecord, RetiringRecord, remember_ready, was_ready},
    probe::Subject,
};

/// A stop is asked for again after this long, in case it was lost.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The pause before a process that cannot be watched is looked at.
const UNWATCHED: std::time::Duration = std::time::Duration::from_millis(20);

/// An instance that runs.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) number: u32,
    pub(crate) id: InstanceId,
    pub(crate) directory: PathBuf,
    pub(crate) record: InstanceRecord,
    /// Its address or process, for people.
    place: String,
    /// By the steady clock.
    pub(crate) started: Timestamp,
    pub(crate) retiring: Option<RetiringRecord>,
    /// Since when it retires, by the steady clock.
    retiring_since: Timestamp,
    asked_to_stop: Option<Timestamp>,
    prober: Prober,
    exit: ExitWatch,
    ready_remembered: bool,
    /// Requests that it still answers, as far as known.
    pub(crate) in_flight: Option<u64>,
}

impl Instance {
    /// Attaches to an instance that runs, started by us now or by a predecessor long ago.
    pub(crate) fn attach(
        context: &Context,
        scope: &Scope,
        revision: &RevisionId,
        spec: &RevisionSpec,
        process: &ProcessSpec,
        found: Found,
        wake: &Arc<Notify>,
    ) -> Self {
        let Found { number, directory, record } = found;
        let id = InstanceId::of(revision, number);
        // However the wall clock was set meanwhile, it was started in the past.
        let age = (context.clock)().since(record.started_at);
        let started = Timestamp::from_millis(
            context.steady.now().as_millis().saturating_sub_unsigned(age.as_millis()),
        );
        let retiring = RetiringRecord::read(&directory).unwrap_or_else(|reason| {
            tracing::warn!(reason, "taken as not retiring");
            None
        });
        let retiring_since = retiring.as_ref().map_or(started, |retiring| {
            let age = (context.clock)().since(retiring.since);
            let now = context.steady.now().as_millis();
            Timestamp::from_millis(now.saturating_sub_unsigned(age.as_millis()))
        });
        let was_ready = was_ready(&directory);
        let subject = Subject {
            port: record.port,
            directory: (context.artifacts)(&spec.artifact),
            environment: environment(context, scope, revision, spec, process, &id, record.port),
            started,
            clock: context.steady,
        };
        let prober = Prober::start(
            Checks::of_adopted(was_ready),
            process.health.clone(),
            subject,
            Arc::clone(wake),
        );
        if let Some(port) = record.port {
            context.ports.take(port);
        }
        let place = match (record.port, tidegate_shim::look(&directory)) {
            (Some(port), _) => format!("127.0.0.1:{port}"),
            (None, Ok(JobState::Running { pid, .. })) => format!("process {pid}"),
            (None, _) => id.to_string(),
        };
        Self {
            number,
            id,
            place,
            exit: ExitWatch::start(directory.clone(), Arc::clone(wake)),
            directory,
            record,
            started,
            retiring,
            retiring_since,
            asked_to_stop: None,
            prober,
            ready_remembered: was_ready,
            in_flight: None,
        }
    }

    pub(crate) fn checks(&self) -> Checks {
        self.prober.checks()
    }

    /// How it ended; none while it runs. `look` says whether to look even if nobody told us.
    pub(crate) fn ended(&mut self, look: bool) -> Option<JobState> {
        if !look && !self.exit.fired.load(Ordering::Acquire) {
            return None;
        }
        match tidegate_shim::look(&self.directory) {
            Ok(JobState::Running { .. }) => {
                self.exit.rearm();
                None
            }
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!(%error, instance = %self.id, "how it ended is unknown");
                Some(JobState::Lost)
            }
        }
    }

    /// Lets it leave. A mark that cannot be written (a full disk) does not keep it.
    pub(crate) fn retire(&mut self, context: &Context, failed: Option<String>) {
        let record = RetiringRecord { since: (context.clock)(), failed };
        if let Err(reason) = record.write(&self.directory) {
            tracing::warn!(reason, instance = %self.id, "retires without a mark");
        }
        self.retiring = Some(record);
        self.retiring_since = context.steady.now();
    }

    /// Tells it to stop, once a while.
    pub(crate) fn stop(&mut self, now: Timestamp) {
        if self.asked_to_stop.is_some_and(|asked| now < asked.after(ASK_AGAIN)) {
            return;
        }
        self.asked_to_stop = Some(now);
        if let Err(error) = tidegate_shim::stop(&self.directory) {
            tracing::warn!(%error, instance = %self.id, "could not be told to stop");
        }
    }

    /// Whether its requests in flight have to be known.
    pub(crate) const fn drains(&self) -> bool {
        self.retiring.is_some() && self.asked_to_stop.is_none() && self.record.port.is_some()
    }

    pub(crate) fn view(&self, has_left: impl FnOnce(&InstanceId) -> bool) -> InstanceView {
        let checks = self.checks();
        // Without a port, or never ready, it never took a request.
        let never_asked = self.record.port.is_none() || checks.health() == Health::Starting;
        InstanceView {
            number: self.number,
            started: self.started,
            health: checks.health(),
            checked: checks.checked,
            broken: checks.broken,
            retiring: self.retiring.as_ref().map(|_| self.retiring_since),
            left: never_asked || has_left(&self.id),
            in_flight: if never_asked { Some(0) } else { self.in_flight },
        }
    }

    /// Makes a first readiness known to successors of this control plane.
    pub(crate) fn remember_ready(&mut self, checks: &Checks) {
        if checks.was_ready && !self.ready_remembered {
            match remember_ready(&self.directory) {
                Ok(()) => self.ready_remembered = true,
                Err(reason) => tracing::warn!(reason, "its readiness could not be remembered"),
            }
        }
    }

    pub(crate) fn facts(&self, checks: &Checks) -> InstanceFacts {
        let state = match (&self.retiring, self.asked_to_stop, checks.health()) {
            (Some(_), Some(_), _) => InstanceState::Stopping,
            (Some(_), None, _) => InstanceState::Draining,
            (None, _, Health::Starting) => InstanceState::Starting,
            (None, _, Health::Unready) => InstanceState::Unready,
            (None, _, Health::Ready) => InstanceState::Ready,
        };
        InstanceFacts {
            id: self.id.clone(),
            state,
            place: self.place.clone(),
            since: self.record.started_at,
        }
    }
}

/// An instance as its folder tells it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) number: u32,
    pub(crate) directory: PathBuf,
    pub(crate) record: InstanceRecord,
}

/// All that is needed to start an instance, apart from everything else, so that it can be done
/// where waiting is allowed.
pub(crate) struct Start {
    pub(crate) number: u32,
    pub(crate) directory: PathBuf,
    record: InstanceRecord,
    data: PathBuf,
    executable: PathBuf,
    job: JobSpec,
}

impl Start {
    /// Chooses a port and puts everything together; an error says why there is no port.
    pub(crate) fn prepare(
        context: &Context,
        scope: &Scope,
        revision: &RevisionId,
        spec: &RevisionSpec,
        process: &ProcessSpec,
        number: u32,
    ) -> Result<Self, String> {
        let port = match (process.listens, process.fixed_port) {
            (false, _) => None,
            (true, Some(port)) => {
                is_free(port)?;
                Some(port)
            }
            (true, None) => Some(context.ports.choose()?),
        };
        let id = InstanceId::of(revision, number);
        let job = JobSpec {
            command: process.command.clone(),
            working_directory: (context.artifacts)(&spec.artifact),
            environment: environment(context, scope, revision, spec, process, &id, port),
            stop_signal: process.stop.signal,
            stop_timeout: process.stop.timeout,
            log: process.log.clone(),
            timeout: None,
        };
        Ok(Self {
            number,
            directory: context.layout.revision(scope, revision).join(number.to_string()),
            record: InstanceRecord { port, started_at: (context.clock)() },
            data: context.layout.data(scope, &spec.component),
            executable: context.executable.clone(),
            job,
        })
    }

    pub(crate) const fn port(&self) -> Option<u16> {
        self.record.port
    }

    /// Starts it; waits for the shim.
    pub(crate) fn run(self) -> Result<Found, String> {
        let create = |path: &Path| {
            fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        create(&self.data)?;
        create(&self.directory)?;
        self.record.write(&self.directory)?;
        tidegate_shim::start(&self.executable, &self.directory, &self.job)
            .map_err(|error| error.to_string())?;
        Ok(Found { number: self.number, directory: self.directory, record: self.record })
    }
}

/// Its whole environment: what everybody gets, what it is told, what it declared.
fn environment(
    context: &Context,
    scope: &Scope,
    revision: &RevisionId,
    spec: &RevisionSpec,
    process: &ProcessSpec,
    instance: &InstanceId,
    port: Option<u16>,
) -> BTreeMap<String, String> {
    let mut environment = context.environment.clone();
    let data = context.layout.data(scope, &spec.component);
    let mut tell = |name: &str, value: &str| environment.insert(name.to_owned(), value.to_owned());
    tell("TIDEGATE_PROJECT", scope.project.as_str());
    tell("TIDEGATE_ENVIRONMENT", scope.environment.as_str());
    tell("TIDEGATE_COMPONENT", spec.component.as_str());
    tell("TIDEGATE_RELEASE", spec.release.as_str());
    tell("TIDEGATE_VERSION", &spec.version);
    tell("TIDEGATE_REVISION", revision.as_str());
    tell("TIDEGATE_INSTANCE", instance.as_str());
    tell("TIDEGATE_DATA", &data.to_string_lossy());
    if let Some(port) = port {
        tell("HOST", "127.0.0.1");
        tell("PORT", &port.to_string());
    }
    environment
        .extend(process.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    environment
}

/// Whether somebody listens on a port that an instance insists on.
fn is_free(port: u16) -> Result<(), String> {
    TcpListener::bind(("127.0.0.1", port)).map(drop).map_err(|_| {
        format!(
            "port {port} is already taken by another process: end that process, or let the \
             component listen on $PORT"
        )
    })
}

/// The ports of instances that run, so that no two get the same.
#[derive(Debug, Default)]
pub(crate) struct Ports(Mutex<std::collections::BTreeSet<u16>>);

impl Ports {
    fn take(&self, port: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    pub(crate) fn release(&self, port: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
    }

    /// A port that is free now and that nobody else here was given.
    fn choose(&self) -> Result<u16, String> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..100 {
            let port = TcpListener::bind(("127.0.0.1", 0))
                .and_then(|listener| listener.local_addr())
                .map_err(|error| format!("no free port: {error}"))?
                .port();
            if taken.insert(port) {
                return Ok(port);
            }
        }
        Err("no free port was found".to_owned())
    }
}

/// Tells when an instance's process has ended.
#[derive(Debug)]
struct ExitWatch {
    directory: PathBuf,
    wake: Arc<Notify>,
    fired: Arc<AtomicBool>,
    task: AbortHandle,
}

impl ExitWatch {
    fn start(directory: PathBuf, wake: Arc<Notify>) -> Self {
        let fired = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(watch(directory.clone(), Arc::clone(&fired), Arc::clone(&wake)));
        Self { directory, wake, fired, task: task.abort_handle() }
    }

    /// It still runs though a process has ended: the shim was killed, or the end is not written
    /// down yet. Watches what is left.
    fn rearm(&mut self) {
        if self.fired.load(Ordering::Acquire) {
            *self = Self::start(self.directory.clone(), Arc::clone(&self.wake));
        }
    }
}

impl Drop for ExitWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[expect(
    deprecated,
    reason = "what replaced it is unsafe, for descriptors that close while they are watched; this \
              one is owned"
)]
fn register(process: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(process, Interest::READABLE)
}

async fn watch(directory: PathBuf, fired: Arc<AtomicBool>, wake: Arc<Notify>) {
    // On errors it is looked at once a second all the same.
    match tidegate_shim::watch(&directory) {
        Ok(Some(process)) => {
            let Ok(process) = register(process) else {
                return;
            };
            let _ = process.readable().await;
        }
        // Ended already, or processes cannot be watched here: not at once again and again.
        Ok(None) => tokio::time::sleep(UNWATCHED).await,
        Err(_) => return,
    }
    fired.store(true, Ordering::Release);
    wake.notify_one();
}
