//! What anybody may do with a job's folder: start it, look, ask for its end.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use tidegate_types::Timestamp;

use crate::{
    Error, ExitRecord, JobSpec, JobState, ProcessIdentity,
    process::{keep, pid_of, reap, session},
    record::{Survives, file_error, read, write},
};

/// How long a shim may take to claim its folder.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The files of a job.
pub(crate) struct Files(pub(crate) PathBuf);

impl Files {
    pub(crate) fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }
    pub(crate) fn claim(&self) -> PathBuf {
        self.0.join("claim")
    }
    pub(crate) fn job(&self) -> PathBuf {
        self.0.join("job.json")
    }
    pub(crate) fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }
    pub(crate) fn stop(&self) -> PathBuf {
        self.0.join("stop")
    }
    pub(crate) fn kill(&self) -> PathBuf {
        self.0.join("kill")
    }
}

fn files(directory: &Path) -> Result<Files, Error> {
    std::path::absolute(directory).map(Files).map_err(file_error("find", directory))
}

pub(crate) fn now() -> Timestamp {
    let millis = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Starts a job: leaves `spec` in `directory`, which is made, and spawns `executable shim
/// DIRECTORY`. Returns when the job runs or has an exit record. A job that was ever started there
/// is not started again, whatever became of it.
pub fn start(executable: &Path, directory: &Path, spec: &JobSpec) -> Result<(), Error> {
    reap();
    let files = files(directory)?;
    if files.claim().exists() {
        return Ok(());
    }
    fs::create_dir_all(&files.0).map_err(file_error("create", &files.0))?;
    write(&files.spec(), spec, Survives::Us)?;
    let failed = |reason: String| Error::Shim { directory: files.0.clone(), reason };
    // The shim holds the other end until the job runs, and writes there why it does not.
    let (mut answer, theirs) =
        std::io::pipe().map_err(|source| Error::System { operation: "make a pipe", source })?;
    let errors =
        theirs.try_clone().map_err(|source| Error::System { operation: "make a pipe", source })?;
    let child = Command::new(executable)
        .arg("shim")
        .arg(&files.0)
        .stdin(Stdio::null())
        .stdout(theirs)
        .stderr(errors)
        .current_dir("/")
        .spawn()
        .map_err(|error| failed(format!("{}: {error}", executable.display())))?;
    keep(child);
    let deadline = Instant::now() + START_LIMIT;
    let mut said = Vec::new();
    let mut block = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&answer, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => {
                return Err(failed(format!("no answer within {}s", START_LIMIT.as_secs())));
            }
            Ok(_) => match answer.read(&mut block) {
                Ok(0) => break,
                Ok(length) if said.len() < block.len() => said.extend_from_slice(&block[..length]),
                _ => {}
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(Error::System { operation: "wait for the shim", source: error.into() });
            }
        }
    }
    if files.claim().exists() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(failed(if said.is_empty() { "it ended without a word".to_owned() } else { said }))
}

/// Looks at a job.
pub fn look(directory: &Path) -> Result<JobState, Error> {
    reap();
    let files = files(directory)?;
    let Some(shim) = read::<ProcessIdentity>(&files.claim())? else {
        return Ok(JobState::NotStarted);
    };
    if let Some(record) = read::<ExitRecord>(&files.exit())? {
        return Ok(JobState::Exited(record));
    }
    let job = read::<ProcessIdentity>(&files.job())?;
    let shim_is_alive = shim.is_alive();
    if shim_is_alive || job.as_ref().is_some_and(ProcessIdentity::is_alive) {
        let shown = job.unwrap_or(shim);
        return Ok(JobState::Running { pid: shown.pid, started_at: shown.started_at });
    }
    // It may have ended properly since we looked for its record.
    Ok(read::<ExitRecord>(&files.exit())?.map_or(JobState::Lost, JobState::Exited))
}

/// A descriptor that becomes readable when the job's state may have changed: its shim, or without
/// one the command itself, has ended. None when nothing runs.
pub fn watch(directory: &Path) -> Result<Option<OwnedFd>, Error> {
    let files = files(directory)?;
    for path in [files.claim(), files.job()] {
        let Some(process) = read::<ProcessIdentity>(&path)? else {
            continue;
        };
        let pinned = pid_of(process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(pinned) = pinned
            && process.is_alive()
        {
            return Ok(Some(pinned));
        }
    }
    Ok(None)
}

/// Asks a job to stop: its stop signal now, SIGKILL after its stop timeout. Never waits. May be
/// repeated; when the shim is gone and the command ignores the signal, it has to be.
pub fn stop(directory: &Path) -> Result<(), Error> {
    end(directory, false)
}

/// Kills a job and all that descends from it. Never waits.
pub fn kill(directory: &Path) -> Result<(), Error> {
    end(directory, true)
}

fn end(directory: &Path, kill: bool) -> Result<(), Error> {
    reap();
    let files = files(directory)?;
    let path = if kill { files.kill() } else { files.stop() };
    // A mark that cannot be made (a full disk) does not keep us from sending the signal.
    let marked = match File::options().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(file_error("create", &path)(error))
        }
        _ => Ok(()),
    };
    let Some(shim) = read::<ProcessIdentity>(&files.claim())? else {
        return marked;
    };
    if files.exit().exists() {
        return Ok(());
    }
    let job = read::<ProcessIdentity>(&files.job())?;
    let group = job.as_ref().filter(|job| job.is_alive()).and_then(|job| pid_of(job.pid));
    if shim.is_alive() {
        shim.signal(Signal::TERM);
        // The shim finds the others; the group we can reach even if the shim is stuck.
        if kill && let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        return Ok(());
    }
    let spec = read::<JobSpec>(&files.spec())?;
    let overdue = || {
        let timeout = spec.as_ref().map_or(Duration::ZERO, |spec| spec.stop_timeout.into());
        let asked = path.metadata().and_then(|metadata| metadata.modified());
        asked.is_ok_and(|asked| asked.elapsed().is_ok_and(|elapsed| elapsed >= timeout))
    };
    if kill || group.is_none() || overdue() {
        // Nobody is left to write a record; nobody of the job may be left either.
        for process in session(&shim) {
            process.kill();
        }
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    } else if let Some(group) = group {
        let signal = spec.map_or(Signal::TERM, |spec| native(spec.stop_signal));
        let _ = kill_process_group(group, signal);
    }
    Ok(())
}

pub(crate) const fn native(signal: tidegate_types::Signal) -> Signal {
    match signal {
        tidegate_types::Signal::Sigterm => Signal::TERM,
        tidegate_types::Signal::Sigint => Signal::INT,
        tidegate_types::Signal::Sigquit => Signal::QUIT,
        tidegate_types::Signal::Sighup => Signal::HUP,
        tidegate_types::Signal::Sigusr1 => Signal::USR1,
        tidegate_types::Signal::Sigusr2 => Signal::USR2,
    }
}
