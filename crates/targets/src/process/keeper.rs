//! Keeps the proxy running: a process of its own that outlives us.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tidegate_proxy::client::Client;
use tidegate_shim::ProcessIdentity;
use tidegate_types::Timestamp;
use tokio::{io::AsyncReadExt, net::UnixStream, sync::watch, task::AbortHandle};

use super::layout::Layout;

/// A proxy that does not answer on its socket by then is in trouble.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long its end is waited for.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks while it starts.
const TICK: Duration = Duration::from_millis(5);
/// The longest pause before another start.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Its log is put aside when it is started and the log is longer than this.
const LONGEST_LOG: u64 = 10 << 20;

/// What is known about the proxy process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProxyState {
    /// Grows with every proxy process, so that what is known of a former one is forgotten.
    pub(crate) generation: u64,
    /// It answers on its socket.
    pub(crate) connected: bool,
    /// Why it does not run.
    pub(crate) problem: Option<String>,
}

impl ProxyState {
    /// Whether it answers, or it is known why not. Otherwise it may be about to start.
    fn is_settled(&self) -> bool {
        self.connected || self.problem.is_some()
    }
}

/// Keeps the proxy running for as long as it is kept itself.
#[derive(Debug)]
pub(crate) struct Keeper {
    socket: PathBuf,
    /// Names the process that is in charge.
    lock: PathBuf,
    client: Client,
    state: watch::Receiver<ProxyState>,
    task: AbortHandle,
}

impl Keeper {
    /// Finds the proxy or starts it, now and whenever it has ended.
    pub(crate) fn start(layout: &Layout, executable: PathBuf) -> Result<Self, String> {
        let socket = layout.socket()?;
        let (sender, state) = watch::channel(ProxyState::default());
        let launch = Launch {
            executable,
            home: layout.home().to_owned(),
            folder: layout.proxy(),
            child: None,
            former: Vec::new(),
            renewed: None,
        };
        let task = tokio::spawn(keep(socket.clone(), launch, sender));
        let lock = layout.proxy().join("proxy.lock");
        let (client, task) = (Client::new(&socket), task.abort_handle());
        Ok(Self { socket, lock, client, state, task })
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn state(&self) -> watch::Receiver<ProxyState> {
        self.state.clone()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state.borrow().connected
    }

    /// Waits until the proxy runs; an error says why it does not.
    pub(crate) async fn connected(&self, limit: Duration) -> Result<(), String> {
        let mut state = self.state.clone();
        let connected = state.wait_for(|state| state.connected);
        match tokio::time::timeout(limit, connected).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self
                .state
                .borrow()
                .problem
                .clone()
                .unwrap_or_else(|| "the proxy does not answer".to_owned())),
        }
    }

    /// Tells it to end and waits until it has, if not for ever.
    pub(crate) async fn end_proxy(&self) {
        // One that was just started would not hear that it should end, and stay.
        let mut state = self.state.clone();
        let settled = state.wait_for(ProxyState::is_settled);
        let _ = tokio::time::timeout(START_LIMIT, settled).await;
        self.let_go();
        let began = Instant::now();
        loop {
            if UnixStream::connect(&self.socket).await.is_err() {
                return;
            }
            match self.client.shutdown().await {
                Ok(()) => break,
                Err(error) if began.elapsed() > END_LIMIT => {
                    tracing::warn!(%error, "the proxy could not be told to end");
                    return;
                }
                // Another has just taken its place, and is to be told in its stead.
                Err(_) => tokio::time::sleep(TICK).await,
            }
        }
        // Who answered is not asked of the socket: it may have been opened by a predecessor. Asked
        // only now, as it is known by now who that was.
        let process = fs::read_to_string(&self.lock)
            .ok()
            .and_then(|pid| pid.trim().parse().ok())
            .and_then(|pid| ProcessIdentity::of(pid, Timestamp::default()));
        let ended = async {
            while process.as_ref().is_some_and(ProcessIdentity::is_alive) {
                tokio::time::sleep(TICK).await;
            }
        };
        if tokio::time::timeout(END_LIMIT, ended).await.is_err() {
            tracing::warn!("the proxy still answers requests; it ends on its own");
        }
    }

    /// Does not start it again.
    pub(crate) fn let_go(&self) {
        self.task.abort();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.let_go();
    }
}

async fn keep(socket: PathBuf, mut launch: Launch, state: watch::Sender<ProxyState>) {
    let mut pause = TICK;
    let mut launched: Option<Instant> = None;
    loop {
        if let Ok(mut connection) = UnixStream::connect(&socket).await {
            state.send_modify(|state| {
                state.generation += 1;
                state.connected = true;
                state.problem = None;
            });
            launch.renew(&Client::new(&socket)).await;
            // It says nothing unasked: this ends when the process does, or when another proxy has
            // taken its place. That one is found at once.
            let _ = connection.read_u8().await;
            state.send_modify(|state| state.connected = false);
            tracing::info!("the proxy has ended, or another has taken its place");
            pause = TICK;
            launched = None;
            tokio::time::sleep(TICK).await;
            continue;
        }
        let ended = launch.child_has_ended();
        match launched {
            Some(at) if !ended && at.elapsed() < START_LIMIT => {}
            Some(_) if !ended => {
                state.send_modify(|state| state.problem = Some(launch.problem("does not answer")));
                launched = Some(Instant::now());
            }
            _ => {
                if launched.is_some() {
                    state.send_modify(|state| {
                        state.problem = Some(launch.problem("ended right after its start"));
                    });
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                if let Err(reason) = launch.start(false) {
                    state.send_modify(|state| state.problem = Some(reason));
                }
                launched = Some(Instant::now());
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

/// How the proxy is started.
struct Launch {
    executable: PathBuf,
    home: PathBuf,
    folder: PathBuf,
    /// The process that we started last.
    child: Option<Child>,
    /// Those that we started before it: whose place was taken, they may answer requests for long.
    former: Vec<Child>,
    /// The build for which a successor was started.
    renewed: Option<String>,
}

impl Launch {
    fn log(&self) -> PathBuf {
        self.folder.join("proxy.log")
    }

    /// Whether there is no process that we started; reaps it.
    fn child_has_ended(&mut self) -> bool {
        self.former.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if let Some(child) = &mut self.child
            && matches!(child.try_wait(), Ok(None))
        {
            return false;
        }
        self.child = None;
        true
    }

    /// Starts a successor of the proxy that runs when that comes from another executable than ours:
    /// once for each build, as one that does not take over would not the next time either. Should
    /// the one that runs end first, as by [`Keeper::end_proxy`], the successor does not start.
    async fn renew(&mut self, client: &Client) {
        let Ok(ours) = tidegate_proxy::build_of(&self.executable) else {
            return;
        };
        match client.build().await {
            Ok(theirs) if theirs != ours && self.renewed.as_ref() != Some(&ours) => {
                tracing::info!(theirs, ours, "the proxy is of another build; a new one takes over");
                self.renewed = Some(ours);
                if let Err(reason) = self.start(true) {
                    tracing::warn!(reason, "the proxy that runs goes on");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the proxy does not say its build"),
        }
    }

    fn start(&mut self, take_over: bool) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("the proxy could not be started: {error}");
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LONGEST_LOG) {
            let _ = fs::rename(&path, path.with_extension("log.1"));
        }
        let log = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        let child = Command::new(&self.executable)
            .arg("proxy")
            .arg("--home")
            .arg(&self.home)
            .args(take_over.then_some("--take-over"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .current_dir("/")
            // A terminal's interrupt is for us and not for it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        self.former.extend(self.child.replace(child));
        self.child_has_ended();
        Ok(())
    }

    fn problem(&self, what: &str) -> String {
        let path = self.log();
        let last = last_line(&path).unwrap_or_default();
        let told = if last.is_empty() { String::new() } else { format!(": {last}") };
        format!("the proxy {what}{told} (its log is {})", path.display())
    }
}

fn last_line(path: &Path) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096))).ok()?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).ok()?;
    let text = String::from_utf8_lossy(&end);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}
