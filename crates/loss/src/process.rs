//! Processes that are gone when whoever started them is done, however that came about.

use std::{
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::Failure;

/// What has not happened by then does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A process with a group of its own, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    what: String,
    child: Child,
}

impl Process {
    pub(crate) fn start(what: &str, command: &mut Command) -> Result<Self, Failure> {
        use std::os::unix::process::CommandExt as _;
        let started = command.process_group(0).spawn();
        let child = started.map_err(|error| format!("cannot start {what}: {error}"))?;
        Ok(Self { what: what.to_owned(), child })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let failed = |reason: &str| format!("cannot signal {}: {reason}", self.what);
        let pid = self.pid().ok_or_else(|| failed("it has no number"))?;
        kill_process(pid, signal).map_err(|error| failed(&error.to_string()).into())
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not end", self.what).into());
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// An error when it has ended.
    pub(crate) fn still_runs(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{} ended by itself: {status}", self.what).into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The number of one that was waited for may be somebody else's by now.
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), self.pid()) {
            // Whoever it has started is in its group, and may outlive it.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Between two looks at whether something has happened.
pub(crate) const TICK: Duration = Duration::from_millis(5);
