//! Runs `git`: quietly, with a deadline, and the same way on every machine.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, process::Command};

use crate::git::GitError;

/// A question to a repository is answered by then.
pub(crate) const QUESTION: Duration = Duration::from_mins(1);
/// A checkout, or a snapshot of a work tree, is done by then.
pub(crate) const CHECKOUT: Duration = Duration::from_mins(15);

/// More output than this is no answer to any question asked here.
const OUTPUT_LIMIT: u64 = 64 << 20;
const MESSAGE_LIMIT: u64 = 64 << 10;

/// Settings that keep a repository, which may come from anybody, from running programs or changing
/// the words that are parsed here. All other settings stay the user's: `safe.directory` and
/// clean/smudge filters are needed.
const SETTINGS: [&str; 16] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "core.quotePath=false",
    "core.splitIndex=false",
    "core.untrackedCache=false",
    "core.warnAmbiguousRefs=true",
    "color.ui=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "log.showSignature=false",
    "i18n.logOutputEncoding=UTF-8",
    "advice.detachedHead=false",
    "advice.addEmbeddedRepo=false",
    "init.defaultBranch=main",
    "submodule.recurse=false",
];

/// Variables of git that say where its settings and programs are; all others that start with
/// `GIT_` would point it at another repository (as inside a hook) or change what it prints.
const KEPT: [&str; 4] =
    ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_EXEC_PATH"];

/// One call of git.
pub(crate) struct Call<'a> {
    directory: &'a Path,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    deadline: Duration,
}

/// What git answered.
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) output: Vec<u8>,
    pub(crate) message: String,
}

impl<'a> Call<'a> {
    pub(crate) fn new<I>(directory: &'a Path, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        Self {
            directory,
            arguments: arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect(),
            variables: Vec::new(),
            deadline: QUESTION,
        }
    }

    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The arguments as a user would type them.
    fn shown(&self) -> String {
        let words: Vec<_> =
            self.arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        format!("git {}", words.join(" "))
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.directory);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(&self.arguments);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("GIT_") && !KEPT.contains(&text.as_ref()) {
                command.env_remove(name);
            }
        }
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS", "")
            .env("LC_ALL", "C")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that a deadline ends git's helpers too.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Runs it, whatever its exit code.
    pub(crate) async fn answer(self) -> Result<Answer, GitError> {
        if !self.directory.is_dir() {
            return Err(GitError::NoSuchDirectory { directory: self.directory.to_owned() });
        }
        let failed = |message: String| GitError::Failed { command: self.shown(), message };
        let mut child = match self.command().spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(GitError::Missing);
            }
            Err(error) => return Err(failed(format!("it could not be started: {error}"))),
        };
        let group = child.id();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let talk = async {
            let (mut output, mut message) = (Vec::new(), Vec::new());
            tokio::try_join!(
                async {
                    if let Some(stdout) = stdout {
                        stdout.take(OUTPUT_LIMIT).read_to_end(&mut output).await?;
                    }
                    Ok(())
                },
                async {
                    if let Some(mut stderr) = stderr {
                        let mut limited = (&mut stderr).take(MESSAGE_LIMIT);
                        limited.read_to_end(&mut message).await?;
                        // What is beyond is read and dropped, so that git does not wait.
                        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
                    }
                    Ok::<_, std::io::Error>(())
                },
            )?;
            let status = child.wait().await?;
            Ok::<_, std::io::Error>((status, output, message))
        };
        let ended = tokio::time::timeout(self.deadline, talk).await;
        let Ok(ended) = ended else {
            kill_group(group);
            return Err(GitError::TimedOut {
                command: self.shown(),
                seconds: self.deadline.as_secs(),
            });
        };
        let (status, output, message) = ended.map_err(|error| failed(error.to_string()))?;
        if output.len() as u64 >= OUTPUT_LIMIT {
            return Err(failed("it answered more than is ever expected".to_owned()));
        }
        let message = String::from_utf8_lossy(&message).trim().to_owned();
        if message.contains("not a git repository") {
            return Err(GitError::NotARepository { directory: self.directory.to_owned() });
        }
        if message.contains("dubious ownership") {
            return Err(GitError::NotTrusted { directory: self.directory.to_owned() });
        }
        Ok(Answer { success: status.success(), output, message })
    }

    /// Runs it and takes its output; a failure is an error.
    pub(crate) async fn output(self) -> Result<Vec<u8>, GitError> {
        let command = self.shown();
        let answer = self.answer().await?;
        if answer.success {
            Ok(answer.output)
        } else {
            Err(GitError::Failed {
                command,
                message: if answer.message.is_empty() {
                    "it failed without a message".to_owned()
                } else {
                    answer.message
                },
            })
        }
    }

    /// As [`Self::output`], as one line of text.
    pub(crate) async fn text(self) -> Result<String, GitError> {
        let output = self.output().await?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }
}

fn kill_group(group: Option<u32>) {
    let group =
        group.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It may have ended by itself a moment ago.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}
