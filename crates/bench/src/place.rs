//! Where it is measured: a temporary folder with a home, a repository and everything that runs
//! because of them.

use std::{
    env,
    fs::{self, File, Permissions},
    io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tidegate_server::client::Client;

use crate::Failure;

/// What has not happened by then does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at whether the control plane answers: small beside what is measured.
const TICK: Duration = Duration::from_micros(500);
/// A file system in memory has no disk to wait for.
const TMPFS: i64 = 0x0102_1994;

/// A temporary folder. Dropping it ends everything that runs because of it, and removes it.
pub(crate) struct Place {
    /// None once it is closed.
    folder: Option<TempDir>,
    root: PathBuf,
    tidegate: PathBuf,
    app: PathBuf,
    control: Option<Child>,
}

impl Place {
    pub(crate) fn new() -> Result<Self, Failure> {
        let own = env::current_exe()?;
        let beside = own.parent().ok_or("this program is in no folder")?;
        let built = |name: &str| {
            let path = beside.join(name);
            let missing = format!("{} is missing: run `make bench`", path.display());
            if path.is_file() { Ok(path) } else { Err(missing) }
        };
        let (tidegate, app) = (built("tidegate")?, built("tidegate-testapp")?);
        let temporary = env::temp_dir();
        let in_memory = rustix::fs::statfs(&temporary).is_ok_and(|fs| fs.f_type == TMPFS);
        let above = if in_memory { beside } else { &temporary };
        let folder = tempfile::Builder::new().prefix("tg-bench-").tempdir_in(above)?;
        // As processes will see it, without symbolic links.
        let root = folder.path().canonicalize()?;
        Ok(Self { folder: Some(folder), root, tidegate, app, control: None })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The app that is deployed.
    pub(crate) fn app(&self) -> &Path {
        &self.app
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.home())
    }

    fn tidegate(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.tidegate);
        command
            .arg("--home")
            .arg(self.home())
            .args(arguments)
            .current_dir(&self.root)
            // A terminal's interrupt is for us, who end it then.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn log(&self) -> PathBuf {
        self.root.join("serve.log")
    }

    /// Starts the control plane; how long until it answered.
    pub(crate) async fn start(&mut self) -> Result<Duration, Failure> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let client = self.client();
        let began = Instant::now();
        let control = self.control.insert(self.tidegate(&["serve"]).stderr(log).spawn()?);
        loop {
            if client.health().await.is_ok() {
                return Ok(began.elapsed());
            }
            if control.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                break;
            }
            tokio::time::sleep(TICK).await;
        }
        let said = fs::read_to_string(self.log()).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(8).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(format!("the control plane does not start:\n{}", last.join("\n")).into())
    }

    /// Ends the control plane; what serves goes on.
    pub(crate) async fn stop(&mut self) -> Result<(), Failure> {
        self.client().shutdown(false).await?;
        let Some(control) = &mut self.control else { return Ok(()) };
        let began = Instant::now();
        while control.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                return Err("the control plane does not end".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.control = None;
        Ok(())
    }

    /// The control plane's process.
    pub(crate) fn control_plane(&self) -> Result<u32, Failure> {
        Ok(self.control.as_ref().ok_or("no control plane runs")?.id())
    }

    /// The proxy's process.
    pub(crate) fn proxy(&self) -> Result<u32, Failure> {
        let path = self.home().join("proxy").join("proxy.lock");
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(text.trim().parse()?)
    }

    /// Ends everything; an error when something had to be killed.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        let killed = self.clear();
        if killed.is_empty() {
            return Ok(());
        }
        Err(format!("`tidegate down` left processes, which were killed: {}", killed.join("; "))
            .into())
    }

    /// Ends everything, by force where it must be; says what was killed.
    fn clear(&mut self) -> Vec<String> {
        let Some(folder) = self.folder.take() else { return Vec::new() };
        if self.home().exists() {
            // What it cannot end is found below.
            let _ = self.down();
        }
        let mut killed = Vec::new();
        // A process that was just started by one that is killed is found the next time.
        for _ in 0..20 {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for (pid, command) in left {
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = kill_process(pid, Signal::KILL);
                }
                killed.push(command);
            }
            sleep(Duration::from_millis(20));
        }
        if let Some(mut control) = self.control.take() {
            let _ = control.wait();
        }
        let _ = open_up(&self.root);
        drop(folder);
        killed
    }

    fn down(&mut self) -> Result<(), Failure> {
        let mut down = self.tidegate(&["down"]).stderr(Stdio::null()).spawn()?;
        let began = Instant::now();
        while down.try_wait()?.is_none() {
            // The control plane is our child: `down` waits until it was reaped.
            if let Some(control) = &mut self.control {
                let _ = control.try_wait();
            }
            if began.elapsed() > PATIENCE {
                down.kill()?;
                down.wait()?;
                return Err("`tidegate down` does not end".into());
            }
            sleep(Duration::from_millis(10));
        }
        // Instances are gone when their shims are: a moment later.
        let began = Instant::now();
        while !self.processes().is_empty() && began.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The processes that name the folder in their command line or environment, or work below it.
    fn processes(&self) -> Vec<(i32, String)> {
        let ours = self.root.as_os_str().as_encoded_bytes();
        let mentions = |text: &[u8]| text.windows(ours.len()).any(|part| part == ours);
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if pid == own {
                continue;
            }
            // What cannot be read belongs to somebody else, or has ended.
            let text = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let line = text("cmdline");
            let within = fs::read_link(entry.path().join("cwd"));
            let within = within.is_ok_and(|folder| folder.starts_with(&self.root));
            if within || mentions(&line) || mentions(&text("environ")) {
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                found.push((pid, line.trim().to_owned()));
            }
        }
        found
    }
}

/// Artifacts are kept in folders that may not be written to; to be removed they must.
fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}
