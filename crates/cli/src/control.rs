//! Starting the control plane and waiting for it.

use std::{
    env, fs,
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tidegate_server::{
    api::Health,
    client::{Client, Error},
};
use tokio::time::{sleep, timeout};

use crate::{context::Context, exit::Exit, fault::Fault, teardown::STORE};

/// A control plane that is not up by then has a fault. Its store is written through to the disk,
/// which takes many seconds where others write gigabytes at that moment.
const PATIENCE: Duration = Duration::from_secs(30);
/// One that answers does so by then.
const ANSWER: Duration = Duration::from_secs(5);
/// A log that is larger at the start is moved aside.
const LOG_LIMIT: u64 = 10 << 20;
/// Lines of it that are shown when the start fails.
const LOG_LINES: usize = 12;

/// The control plane's log.
pub(crate) fn log_of(home: &Path) -> PathBuf {
    home.join("serve.log")
}

/// Makes the home, for the user's eyes only.
pub(crate) fn make_home(home: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(|error| {
        Fault::new(Exit::Failed, "home", format!("{} cannot be made: {error}", home.display()))
            .next("choose another place with --home FOLDER or TIDEGATE_HOME")
    })
}

/// Whether the control plane was started just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Up {
    /// It was.
    Started,
    /// It ran already.
    Before,
}

/// A client of a control plane that is up; starts one when there is none.
pub(crate) async fn ensure(context: &Context) -> Result<(Client, Health, Up), Fault> {
    let client = context.client();
    refuse_stopped(&context.home)?;
    match client.health().await {
        Ok(health) => return Ok((client, health, Up::Before)),
        Err(Error::Unreachable { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    make_home(&context.home)?;
    let mut child = start(context)?;
    let began = Instant::now();
    let mut ended: Option<Instant> = None;
    loop {
        if let Ok(health) = client.health().await {
            return Ok((client, health, Up::Started));
        }
        if ended.is_none() && child.try_wait().is_ok_and(|status| status.is_some()) {
            ended = Some(Instant::now());
        }
        // Somebody else may have started one at the same moment; then theirs comes up.
        let hopeless = ended.is_some_and(|ended| ended.elapsed() > Duration::from_secs(1));
        if hopeless || began.elapsed() > PATIENCE {
            match holder(&context.home) {
                Some(pid) if pid != child.id() => {
                    if began.elapsed() > PATIENCE {
                        return Err(deaf(pid));
                    }
                }
                _ => return Err(not_up(context, hopeless)),
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// The process that has the store, which is the control plane, when one has it.
fn holder(home: &Path) -> Option<u32> {
    let mut file = File::open(home.join(format!("{STORE}.lock"))).ok()?;
    if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let pid = text.split_whitespace().next()?.parse().ok()?;
    runs(pid).then_some(pid)
}

/// A control plane that was stopped (`SIGSTOP`, Ctrl-Z) answers nobody: nothing is waited for.
pub(crate) fn refuse_stopped(home: &Path) -> Result<(), Fault> {
    match holder(home) {
        Some(pid) if state(pid) == Some('T') => Err(deaf(pid)),
        _ => Ok(()),
    }
}

/// Another control plane has the store: it is told as one that runs when it answers.
pub(crate) async fn taken(home: &Path, pid: u32) -> Fault {
    let client = Client::new(home);
    let answers = state(pid) != Some('T')
        && timeout(ANSWER, client.health()).await.is_ok_and(|answer| answer.is_ok());
    if !answers {
        return deaf(pid);
    }
    let what = format!("the control plane (process {pid}) runs already, and a home has one only");
    Fault::new(Exit::Refused, "taken", what)
        .next("tidegate status")
        .next("tidegate down --keep-serving, to put another one in its place")
}

/// Whoever has the store lives and does not answer.
pub(crate) fn deaf(pid: u32) -> Fault {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if line.split(|byte| *byte == 0).any(|word| word == b"down") {
        let what = format!("`tidegate down` (process {pid}) stops everything just now");
        return Fault::new(Exit::Refused, "busy", what).next("try again when it has ended");
    }
    let what = format!("the control plane (process {pid}) has the store and does not answer");
    let fault = Fault::new(Exit::Unreachable, "deaf", what);
    if state(pid) == Some('T') {
        return fault
            .because("it is stopped, as by Ctrl-Z or `kill -STOP`")
            .next(format!("kill -CONT {pid}"))
            .next(format!("or end it: kill -9 {pid} && tidegate down"));
    }
    fault
        .next(format!("kill -CONT {pid}, in case that it was stopped"))
        .next(format!("or end it: kill -9 {pid} && tidegate down"))
}

fn not_up(context: &Context, ended: bool) -> Fault {
    let log = log_of(&context.home);
    let what = if ended {
        "the control plane ended right after its start".to_owned()
    } else {
        format!("the control plane was not up within {} s", PATIENCE.as_secs())
    };
    let mut fault = Fault::new(Exit::Unreachable, "start", what)
        .at(context.home.display().to_string())
        .next(format!("the whole log: {}", log.display()))
        .next("tidegate doctor");
    fault.log = last_lines(&log, LOG_LINES);
    fault
}

fn start(context: &Context) -> Result<Child, Fault> {
    let failed = |what: String| Fault::new(Exit::Failed, "start", what);
    let executable = env::current_exe()
        .map_err(|error| failed(format!("the path of tidegate itself is unknown: {error}")))?;
    let path = log_of(&context.home);
    if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_LIMIT) {
        let _ = fs::rename(&path, path.with_extension("log.1"));
    }
    let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let log = open().and_then(|log| Ok((log.try_clone()?, log)));
    let (output, errors) =
        log.map_err(|error| failed(format!("{} cannot be written: {error}", path.display())))?;
    let mut command = Command::new(&executable);
    command
        .arg("--home")
        .arg(&context.home)
        .args(["serve", "--detached"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    for _ in 0..context.verbose {
        command.arg("-v");
    }
    command
        .spawn()
        .map_err(|error| failed(format!("{} cannot be started: {error}", executable.display())))
}

/// The last lines of a file, as far as they can be read.
pub(crate) fn last_lines(path: &Path, lines: usize) -> Vec<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(64 << 10)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.iter().skip(all.len().saturating_sub(lines)).map(|line| (*line).to_owned()).collect()
}

/// Whether a process runs; one that only waits to be reaped does not.
pub(crate) fn runs(pid: u32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

/// The letter that the operating system has for what a process does.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything, comes the state.
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
}
