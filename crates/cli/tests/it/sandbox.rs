//! A repository and a home of their own for each test, and nothing left of them afterwards.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A condition that does not come true by then never does.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Sandbox {
    folder: TempDir,
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// The command must have ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The one JSON value on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Sandbox {
    /// A repository with nothing in it but one commit of these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let sandbox = Self::bare();
        sandbox.git(&["init", "--quiet", "--initial-branch=main"]);
        sandbox.commit(files);
        sandbox
    }

    /// A folder that is no repository.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::Builder::new().prefix("tg-").tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("project")).expect("a folder");
        Self { folder }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    pub(crate) fn write(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = self.project().join(path);
            fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
            fs::write(path, text).expect("a file can be written");
        }
    }

    /// Writes the files and commits them; says the commit's hash.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        self.write(files);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ana", "-c", "user.email=ana@example.org"])
            .args(arguments)
            .current_dir(self.project())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("git is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_tidegate")), arguments)
    }

    /// The same with another copy of the binary.
    pub(crate) fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.project())
            .env("TIDEGATE_HOME", self.home())
            .env("TIDEGATE_ACTOR", "ana")
            .env("CI", "true")
            .env_remove("CLICOLOR_FORCE")
            .stdin(Stdio::null());
        command
    }

    /// Runs `tidegate` to its end. Also a test of this: what it leaves in the background must not
    /// hold its output open.
    pub(crate) fn tidegate(&self, arguments: &[&str]) -> Answer {
        let Output { status, stdout, stderr } =
            self.command(arguments).output().expect("tidegate runs");
        Answer {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// The environment as `status --json` says.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let mut all = self.tidegate(&["status", "--json"]).expect(0).json();
        all["environments"][0].take()
    }

    /// The body of `GET path`.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> String {
        let answer = self.answer(path);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        body.to_owned()
    }

    /// The whole answer to `GET path`.
    #[track_caller]
    pub(crate) fn answer(&self, path: &str) -> String {
        let status = self.status();
        let address = status["address"].as_str().unwrap_or_else(|| panic!("{status:#}"));
        let mut connection = TcpStream::connect(address).expect("the proxy listens");
        connection.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("the request is sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("the answer is text");
        answer
    }

    /// Every process that has to do with this sandbox: by its command line or its folder.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        let ours = self.folder.path();
        let text = ours.as_os_str().as_encoded_bytes();
        let numbers = fs::read_dir("/proc").expect("/proc can be read");
        numbers
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != std::process::id())
            .filter(|pid| {
                let folder = PathBuf::from(format!("/proc/{pid}"));
                let line = fs::read(folder.join("cmdline")).unwrap_or_default();
                line.windows(text.len()).any(|part| part == text)
                    || fs::read_link(folder.join("cwd")).is_ok_and(|cwd| cwd.starts_with(ours))
            })
            .filter(|pid| runs(*pid))
            .collect()
    }
}

/// Whether a process runs; one that only waits to be reaped does not.
pub(crate) fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    })
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As `kill -9`.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

impl Drop for Sandbox {
    /// Ends what the test left, also when it failed: politely, and then by force.
    fn drop(&mut self) {
        if Path::new(&self.home()).exists() {
            let down = self.command(&["down"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            if let Ok(mut down) = down {
                let began = Instant::now();
                while down.try_wait().is_ok_and(|status| status.is_none())
                    && began.elapsed() < PATIENCE
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                let _ = down.kill();
                let _ = down.wait();
            }
        }
        // A process that was just started by one that is killed is found the next time.
        for _ in 0..20 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(kill);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
