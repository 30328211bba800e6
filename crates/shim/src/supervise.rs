//! The shim itself: one thread that waits for output, for signals and for the end.

use std::{
    fs::{self, File},
    io::{ErrorKind, PipeReader, Read},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::ioctl_fionbio,
    process::{Pid, Signal, WaitOptions, kill_process_group, set_child_subreaper, setsid, wait},
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use tidegate_types::Timestamp;

use crate::{
    Error, ExitRecord, JobSpec, Outcome, ProcessIdentity,
    control::{Files, native, now},
    log::LogWriter,
    process::{descendants, ourselves},
    record::{Survives, file_error, read, sync_folder_of, write, write_beside},
};

/// How long the killed may take to be gone.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// How long output may take to end when nobody is left to write.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// How long an exit record is tried to be written on a full disk.
const RECORD_LIMIT: Duration = Duration::from_mins(1);
/// Read at once from the command.
const BLOCK: usize = 64 * 1024;

/// Runs the job in `directory`: what the hidden subcommand `shim DIRECTORY` does.
///
/// The process that calls this must have no other threads and children. Its standard output is
/// closed when the job runs. Returns when the job has an exit record, or at once if another shim
/// has the job.
pub fn main(directory: &Path) -> Result<(), Error> {
    // First of all, so that a terminal's interrupt does not reach us once we have the claim.
    let _ = setsid();
    let files = Files(directory.to_owned());
    let spec: JobSpec = read(&files.spec())?.ok_or_else(|| Error::Damaged {
        path: files.spec(),
        reason: "there is no such file".to_owned(),
    })?;
    let mut signals = Signals::register()?;
    let started_at = now();
    if !claim(&files, started_at)? {
        return Ok(());
    }
    let clock = Instant::now();
    let outcome = match Running::start(&files, spec) {
        Ok(mut running) => {
            let _ = release_starter();
            running.until_ended(&files, &mut signals)
        }
        Err(reason) => {
            let _ = release_starter();
            Outcome::NotStarted(reason)
        }
    };
    let elapsed = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Counted from the start, so that a clock that is set meanwhile does not change how long it ran.
    let ended_at = started_at.after(tidegate_types::Duration::from_millis(elapsed));
    record_exit(&files, &ExitRecord { outcome, started_at, ended_at })
}

/// Takes the job, unless somebody has it. The claim appears whole, with our identity in it.
fn claim(files: &Files, started_at: Timestamp) -> Result<bool, Error> {
    let claim = files.claim();
    let temporary = write_beside(&claim, &ourselves(started_at)?, Survives::Machine)?;
    let linked = fs::hard_link(&temporary, &claim);
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => sync_folder_of(&claim).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(file_error("create", &claim)(error)),
    }
}

/// Lets go of the pipe on which the starter waits.
fn release_starter() -> std::io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

fn record_exit(files: &Files, record: &ExitRecord) -> Result<(), Error> {
    let deadline = Instant::now() + RECORD_LIMIT;
    loop {
        match write(&files.exit(), record, Survives::Machine) {
            Err(error) if files.0.exists() && Instant::now() < deadline => {
                // The disk may be full; without a record the outcome would be unknown.
                drop(error);
                std::thread::sleep(Duration::from_secs(1));
            }
            result => return result,
        }
    }
}

/// Signals that wake us. Handled and not ignored, because the command would inherit the latter.
struct Signals {
    wake: UnixStream,
    terminate: Arc<AtomicBool>,
}

impl Signals {
    fn register() -> Result<Self, Error> {
        let failed = |source| Error::System { operation: "handle signals", source };
        let terminate = Arc::new(AtomicBool::new(false));
        let nothing = Arc::new(AtomicBool::new(false));
        let (wake, theirs) = UnixStream::pair().map_err(failed)?;
        wake.set_nonblocking(true).map_err(failed)?;
        for (signal, flag) in [(SIGHUP, &nothing), (SIGINT, &nothing), (SIGTERM, &terminate)] {
            signal_hook::flag::register(signal, Arc::clone(flag)).map_err(failed)?;
        }
        for signal in [SIGTERM, SIGCHLD] {
            let theirs = theirs.try_clone().map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, theirs).map_err(failed)?;
        }
        Ok(Self { wake, terminate })
    }

    /// Forgets what woke us.
    fn clear(&mut self) {
        let mut block = [0; 64];
        while matches!(self.wake.read(&mut block), Ok(length) if length > 0) {}
    }
}

/// A command that was started and whose end is not recorded yet.
struct Running {
    leader: Pid,
    spec: JobSpec,
    started: Instant,
    output: Option<PipeReader>,
    log: LogWriter,
    /// How the command itself ended. Until it is known, its number cannot be somebody else's.
    ended: Option<Outcome>,
    /// The end was asked for, and this is when it is enforced.
    kill_at: Option<Instant>,
    timed_out: bool,
}

impl Running {
    /// Starts the command; an error is the reason why it did not start.
    fn start(files: &Files, spec: JobSpec) -> Result<Self, String> {
        if files.stop().exists() || files.kill().exists() {
            return Err("it was stopped before it had started".to_owned());
        }
        // Orphans of the command become our children, wherever they hide.
        let _ = set_child_subreaper(Some(rustix::process::getpid()));
        match fs::metadata(&spec.working_directory) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(format!("{} is no folder", spec.working_directory.display())),
            Err(error) => return Err(format!("{}: {error}", spec.working_directory.display())),
        }
        let text = |error: std::io::Error| error.to_string();
        let (output, theirs) = std::io::pipe().map_err(text)?;
        ioctl_fionbio(&output, true).map_err(|error| error.to_string())?;
        let started_at = now();
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(&spec.command)
            .current_dir(&spec.working_directory)
            .env_clear()
            .envs(&spec.environment)
            .stdin(Stdio::null())
            .stdout(theirs.try_clone().map_err(text)?)
            .stderr(theirs)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("/bin/sh: {error}"))?;
        let running = Self {
            leader: Pid::from_child(&child),
            log: LogWriter::new(&files.0, spec.log.clone()),
            spec,
            started: Instant::now(),
            output: Some(output),
            ended: None,
            kill_at: None,
            timed_out: false,
        };
        let recorded = ProcessIdentity::of(child.id(), started_at)
            .ok_or_else(|| "its process could not be found in /proc".to_owned())
            .and_then(|job| {
                write(&files.job(), &job, Survives::Us).map_err(|error| error.to_string())
            });
        if let Err(reason) = recorded {
            // Nobody could find it again if we died.
            let mut running = running;
            running.kill_all();
            return Err(reason);
        }
        Ok(running)
    }

    fn until_ended(&mut self, files: &Files, signals: &mut Signals) -> Outcome {
        loop {
            self.reap();
            if let Some(outcome) = self.ended.clone()
                && !self.may_others_finish()
            {
                self.read_output();
                self.kill_all();
                self.read_rest();
                return if self.timed_out { Outcome::TimedOut } else { outcome };
            }
            self.keep_deadlines();
            self.wait(signals);
            signals.clear();
            self.read_output();
            if signals.terminate.swap(false, Ordering::Relaxed) {
                if files.kill().exists() {
                    self.kill_at = Some(Instant::now());
                } else {
                    self.stop();
                }
            }
        }
    }

    /// After the end of the command nobody else may go on, but in a stop that was asked for the
    /// others of its group have until its deadline: a shell often ends before the server it
    /// started.
    fn may_others_finish(&self) -> bool {
        let group = self.leader.as_raw_pid().cast_unsigned();
        !self.timed_out
            && self.kill_at.is_some_and(|kill_at| Instant::now() < kill_at)
            && descendants(std::process::id()).iter().any(|process| process.is_in_group(group))
    }

    fn stop(&mut self) {
        if self.kill_at.is_none() {
            self.kill_at = Some(Instant::now() + self.spec.stop_timeout.into());
            if self.ended.is_none() {
                let _ = kill_process_group(self.leader, native(self.spec.stop_signal));
            }
        }
    }

    fn keep_deadlines(&mut self) {
        let now = Instant::now();
        if let Some(timeout) = self.spec.timeout
            && self.ended.is_none()
            && !self.timed_out
            && now.duration_since(self.started) >= timeout.into()
        {
            self.timed_out = true;
            self.kill_at = Some(now);
        }
        if self.kill_at.is_some_and(|kill_at| kill_at <= now) {
            self.kill_all();
        }
    }

    /// Waits for output, a signal or the next deadline.
    fn wait(&self, signals: &Signals) {
        let now = Instant::now();
        let timeout = self
            .spec
            .timeout
            .filter(|_| !self.timed_out)
            .map(|timeout| self.started + timeout.into());
        let mut next = [self.kill_at, timeout].into_iter().flatten().min();
        if self.ended.is_some() {
            // The end of a process that is not our child makes no signal.
            let soon = now + Duration::from_millis(20);
            next = Some(next.map_or(soon, |next| next.min(soon)));
        }
        let timeout = next.map(|next| next.saturating_duration_since(now));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut sources = vec![PollFd::new(&signals.wake, PollFlags::IN)];
        if let Some(output) = &self.output {
            sources.push(PollFd::new(output, PollFlags::IN));
        }
        // Interrupted by a signal is as good as woken by it.
        let _ = poll(&mut sources, timeout.as_ref());
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.leader {
                self.ended = Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Outcome::Code(code),
                    (None, Some(signal)) => Outcome::Signal(signal),
                    (None, None) => continue,
                });
            }
        }
    }

    /// Kills all that descend from us until none is left, or for a last moment.
    fn kill_all(&mut self) {
        let deadline = Instant::now() + LAST_MOMENT;
        loop {
            if self.ended.is_none() {
                let _ = kill_process_group(self.leader, Signal::KILL);
            }
            let left = descendants(std::process::id());
            if left.is_empty() || Instant::now() >= deadline {
                break;
            }
            for process in left {
                process.kill();
            }
            std::thread::sleep(Duration::from_millis(1));
            self.reap();
            self.read_output();
        }
        self.reap();
    }

    /// Takes what the command wrote so far; a flood does not keep us from anything else.
    fn read_output(&mut self) {
        let mut block = vec![0; BLOCK];
        for _ in 0..16 {
            let Some(output) = &mut self.output else {
                return;
            };
            match output.read(&mut block) {
                Ok(0) => self.output = None,
                Ok(length) => self.log.feed(&block[..length], now()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Takes the last output, when nobody is left who could write more.
    fn read_rest(&mut self) {
        let deadline = Instant::now() + LAST_OUTPUT;
        // All writers are gone, so the pipe ends now; unless one survived SIGKILL so far or handed
        // its end to a stranger, and those are not waited for.
        while self.output.is_some() && Instant::now() < deadline {
            self.read_output();
            if self.output.is_some() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.log.finish(now());
    }
}
