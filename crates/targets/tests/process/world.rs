//! A home with a target in it, gone with everything it started at the end of a test.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration as StdDuration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use tidegate_targets::{Options, ProcessTarget, Target, inherited_environment};
use tidegate_types::{
    ComponentName, Digest, Duration, Epoch, Gateway, Generation, HealthCheck, LogLimits,
    Observation, Probe, ProcessSpec, ReleaseId, RevisionFacts, RevisionId, RevisionSpec,
    RouteEntry, RouteRule, RouteTable, Scope, Share, StaticSpec, StopPolicy, Timestamp,
    WantedRevision, WeightedRevision, Workload,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Whatever is waited for has to come by then.
pub(crate) const LIMIT: StdDuration = StdDuration::from_secs(30);

pub(crate) struct World {
    folder: tempfile::TempDir,
    target: Option<Arc<ProcessTarget>>,
    pub(crate) scope: Scope,
}

impl World {
    /// A new home with a target.
    pub(crate) fn new() -> Self {
        let mut world = Self::without_target();
        world.start();
        world
    }

    /// A new home.
    pub(crate) fn without_target() -> Self {
        let folder = tempfile::Builder::new().prefix("tg").tempdir().unwrap();
        fs::create_dir_all(folder.path().join("artifacts/app")).unwrap();
        Self { folder, target: None, scope: "shop/production".parse().unwrap() }
    }

    /// A control plane comes up.
    pub(crate) fn start(&mut self) {
        self.target = Some(Arc::new(ProcessTarget::new(self.options()).unwrap()));
    }

    /// It dies, without a word to anybody.
    pub(crate) fn crash(&mut self) {
        self.target = None;
    }

    pub(crate) fn options(&self) -> Options {
        let artifacts = self.path("artifacts");
        Options {
            home: self.home(),
            executable: tidegate_testapp::executable(),
            artifacts: Arc::new(move |digest: &Digest| artifacts.join(digest.as_str())),
            clock: Arc::new(now),
            environment: inherited_environment(),
        }
    }

    pub(crate) fn target(&self) -> &Arc<ProcessTarget> {
        self.target.as_ref().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The folder of an instance.
    pub(crate) fn instance(&self, revision: &str, number: u32) -> PathBuf {
        self.home().join("instances/shop/production").join(revision).join(number.to_string())
    }

    pub(crate) async fn apply(&self, wanted: &[WantedRevision]) {
        self.target().apply(&self.scope, Generation::default(), wanted).await.unwrap();
    }

    pub(crate) async fn observe(&self) -> Observation {
        self.target().observe(&self.scope).await.unwrap()
    }

    /// What is known of a revision; nothing when it is not known.
    pub(crate) async fn facts(&self, revision: &str) -> RevisionFacts {
        let observation = self.observe().await;
        let known = observation.revisions.get(&RevisionId::new(revision));
        known.cloned().unwrap_or_default()
    }

    /// Waits until what is known of a revision is as hoped.
    pub(crate) async fn until(
        &self,
        revision: &str,
        what: &str,
        hoped: impl Fn(&RevisionFacts) -> bool,
    ) -> RevisionFacts {
        let mut changes = self.target().changes(&self.scope);
        let mut last = RevisionFacts::default();
        let found = async {
            loop {
                changes.mark_unchanged();
                last = self.facts(revision).await;
                if hoped(&last) {
                    return last.clone();
                }
                changes.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(LIMIT, found).await.ok();
        found.unwrap_or_else(|| {
            panic!("waited in vain for {revision}: {what}; last seen: {last:#?}")
        })
    }

    pub(crate) async fn ready(&self, revision: &str, count: u32) -> RevisionFacts {
        self.until(revision, &format!("{count} ready"), |facts| {
            facts.ready == count && facts.running == count
        })
        .await
    }

    pub(crate) async fn gone(&self, revision: &str) {
        self.until(revision, "none running", |facts| facts.running == 0).await;
    }

    /// Puts a table in force and says where the scope is reached.
    pub(crate) async fn route(&self, table: &RouteTable) -> SocketAddr {
        let epoch = self.target().route(table).await.unwrap();
        assert_eq!(epoch, table.epoch);
        let routes = self.observe().await.routes;
        assert_eq!(routes.epoch, Some(table.epoch));
        assert_eq!(routes.refused, None);
        routes.address.unwrap().parse().unwrap()
    }

    pub(crate) fn routes(&self, epoch: u64, shares: &[(&str, u32)]) -> RouteTable {
        RouteTable {
            scope: self.scope.clone(),
            epoch: Epoch(epoch),
            gateway: Gateway::default(),
            routes: vec![RouteEntry {
                component: "api".parse().unwrap(),
                rule: rule(),
                backends: shares
                    .iter()
                    .map(|(revision, percent)| WeightedRevision {
                        revision: RevisionId::new(*revision),
                        share: Share::percent(*percent),
                        role: "stable".to_owned(),
                    })
                    .collect(),
            }],
        }
    }

    /// The lines that the app reported, as `(what, pid)`.
    pub(crate) fn reports(&self) -> Vec<(String, u32)> {
        let lines = self.reported_lines().into_iter();
        lines.map(|(what, _, pid)| (what, pid)).collect()
    }

    /// The lines that the app reported, as `(what, instance, pid)`.
    pub(crate) fn reported_lines(&self) -> Vec<(String, String, u32)> {
        let text = fs::read_to_string(self.path("report")).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let mut words = line.split(' ').map(str::to_owned);
                Some((words.next()?, words.next()?, words.next()?.parse().ok()?))
            })
            .collect()
    }

    /// The processes of the app that said `what`.
    pub(crate) fn reported(&self, what: &str) -> Vec<u32> {
        let said = |(word, pid): (String, u32)| (word == what).then_some(pid);
        self.reports().into_iter().filter_map(said).collect()
    }

    /// The proxy's process.
    pub(crate) fn proxy(&self) -> Option<u32> {
        self.processes()
            .into_iter()
            .find(|(_, command)| command.contains(" proxy --home "))
            .map(|(pid, _)| pid)
    }

    /// Every process that names our folder.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let name = self.folder.path().to_string_lossy().into_owned();
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let command = command.replace('\0', " ");
                (command.contains(&name) && is_alive(pid)).then_some((pid, command))
            })
            .collect()
    }

    pub(crate) fn end_everything(&mut self) {
        self.target = None;
        let deadline = Instant::now() + LIMIT;
        loop {
            for environment in folders(&self.home().join("instances/shop")) {
                for instance in folders(&environment).iter().flat_map(|folder| folders(folder)) {
                    let _ = tidegate_shim::kill(&instance);
                    let _ = tidegate_shim::look(&instance);
                }
            }
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:?}");
            for (pid, command) in left {
                // A shim ends its app and then itself.
                if !command.contains(" shim ") {
                    kill(pid);
                }
            }
            std::thread::sleep(StdDuration::from_millis(5));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end_everything();
    }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn rule() -> RouteRule {
    RouteRule::everything()
}

pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, Signal::KILL);
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat"));
    status.is_ok_and(|text| {
        let state = text.rsplit(')').next().unwrap_or_default().trim_start();
        !state.starts_with('Z') && !state.starts_with('X')
    })
}

/// Waits until `hoped` gives something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut hoped: impl FnMut() -> F,
) -> T {
    let found = async {
        loop {
            if let Some(found) = hoped().await {
                return found;
            }
            tokio::time::sleep(StdDuration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, found).await.ok();
    found.unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// Waits until something is so.
pub(crate) async fn until_true(what: &str, hoped: impl Fn() -> bool) {
    until(what, async || hoped().then_some(())).await;
}

/// A GET; the status and the body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    Ok((status.unwrap_or(0), body.unwrap_or_default().to_owned()))
}

/// Sends requests one after the other until told to end; how many there were, and those that
/// failed.
pub(crate) struct Load {
    end: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<(u32, Vec<String>)>,
}

impl Load {
    pub(crate) fn on(address: SocketAddr) -> Self {
        let (end, mut told) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let (mut sent, mut failed) = (0, Vec::new());
            while told.try_recv().is_err() {
                sent += 1;
                match get(address, "/slow?ms=5").await {
                    Ok((200, _)) => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            (sent, failed)
        });
        Self { end, task }
    }

    /// Ends it; nothing may have failed.
    pub(crate) async fn assert_none_failed(self) {
        let _ = self.end.send(());
        let (sent, failed) = self.task.await.unwrap();
        assert!(failed.is_empty(), "of {sent} failed {}: {failed:?}", failed.len());
        assert!(sent > 0);
    }
}

/// A process that is as good as it gets.
pub(crate) fn process(command: &str) -> ProcessSpec {
    let http = |path: &str| Probe::Http { path: path.to_owned() };
    ProcessSpec {
        command: command.to_owned(),
        fixed_port: None,
        listens: true,
        environment: BTreeMap::new(),
        health: HealthCheck {
            live: http("/health"),
            ready: None,
            interval: Duration::from_millis(50),
            // Generous, for a machine that is busy.
            timeout: Duration::from_secs(10),
            retries: 3,
            start_period: Duration::ZERO,
            deadline: Duration::from_secs(60),
        },
        stop: StopPolicy {
            drain: Duration::from_secs(60),
            signal: tidegate_types::Signal::Sigterm,
            timeout: Duration::from_secs(60),
        },
        log: LogLimits { file_bytes: 100_000, files: 2 },
    }
}

/// The test app with these options; it reports to the world.
pub(crate) fn app(world: &World, options: &str) -> ProcessSpec {
    process(&format!(
        "exec {} serve report={} {options}",
        tidegate_testapp::executable().display(),
        world.path("report").display()
    ))
}

pub(crate) fn spec(workload: Workload) -> RevisionSpec {
    let component: ComponentName = "api".parse().unwrap();
    RevisionSpec {
        component,
        release: ReleaseId::new("r-1"),
        version: "1.0".to_owned(),
        artifact: Digest::new("app"),
        replicas: 1,
        workload,
        route: Some(rule()),
    }
}

/// So many instances of a process.
pub(crate) fn wanted(revision: &str, process: &ProcessSpec, replicas: u32) -> WantedRevision {
    WantedRevision {
        id: RevisionId::new(revision),
        spec: spec(Workload::Process(process.clone())),
        replicas,
    }
}

pub(crate) fn site(revision: &str, single_page: bool) -> WantedRevision {
    let keep_assets = StaticSpec::default_keep_assets();
    let workload = Workload::Static(StaticSpec { single_page, keep_assets });
    WantedRevision {
        id: RevisionId::new(revision),
        spec: RevisionSpec { replicas: 0, ..spec(workload) },
        replicas: 0,
    }
}
