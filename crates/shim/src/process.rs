//! Processes and how to tell them apart: a process id alone may by now be somebody else's.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Child,
    sync::{Mutex, PoisonError},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};
use tidegate_types::Timestamp;

use crate::Error;

/// One process, told apart from every other that had or will have its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: u32,
    /// When the kernel started it, in clock ticks after boot.
    pub start_ticks: u64,
    /// Which boot of the machine.
    pub boot: String,
    /// When it was started, for people.
    pub started_at: Timestamp,
}

impl ProcessIdentity {
    /// The process with this number as it is now; none when there is no such process.
    #[must_use]
    pub fn of(pid: u32, started_at: Timestamp) -> Option<Self> {
        let status = Status::read(pid)?;
        Some(Self { pid, start_ticks: status.start_ticks, boot: boot()?, started_at })
    }

    /// Whether exactly this process runs. One that has ended and was not yet reaped does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Status::read(self.pid)
            .is_some_and(|status| status.start_ticks == self.start_ticks && !status.ended())
            && self.is_of_this_boot()
    }

    /// Whether its number is taken by another process, or by none after another boot.
    pub(crate) fn was_replaced(&self) -> bool {
        !self.is_of_this_boot()
            || Status::read(self.pid).is_some_and(|status| status.start_ticks != self.start_ticks)
    }

    fn is_of_this_boot(&self) -> bool {
        boot().is_some_and(|boot| boot == self.boot)
    }

    /// Sends a signal to exactly this process, if it runs.
    pub fn signal(&self, signal: Signal) {
        send(self.pid, signal, || self.is_alive());
    }
}

/// The part of `/proc/PID/stat` that we need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) pid: u32,
    state: u8,
    parent: u32,
    group: u32,
    session: u32,
    start_ticks: u64,
}

impl Status {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The command's name stands in parentheses and may itself hold spaces and parentheses.
    fn parse(pid: u32, text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(text.get(end + 2..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid,
            state: fields.first()?.as_bytes().first().copied()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }

    const fn ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// Kills exactly this process, if it runs.
    pub(crate) fn kill(&self) {
        send(self.pid, Signal::KILL, || {
            Self::read(self.pid).is_some_and(|now| now.start_ticks == self.start_ticks)
        });
    }

    pub(crate) const fn is_in_group(&self, group: u32) -> bool {
        self.group == group
    }
}

/// Sends a signal to the process `pid` if `is_it` finds that it is still the right one.
fn send(pid: u32, signal: Signal, is_it: impl Fn() -> bool) {
    let Some(pid) = pid_of(pid) else { return };
    // The descriptor pins the process: what is found right after it was opened is what gets the
    // signal, whoever has the number by then.
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pinned) if is_it() => {
            let _ = pidfd_send_signal(&pinned, signal);
        }
        Err(Errno::NOSYS) if is_it() => {
            let _ = kill_process(pid, signal);
        }
        _ => {}
    }
}

fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

pub(crate) fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Every process that has not ended.
fn all() -> Vec<Status> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Status::read)
        .filter(|status| !status.ended())
        .collect()
}

/// All that descend from the process `root`, which is not among them.
pub(crate) fn descendants(root: u32) -> Vec<Status> {
    let mut rest = all();
    let mut found = Vec::new();
    let mut parents = BTreeSet::from([root]);
    loop {
        let (children, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|status| parents.contains(&status.parent));
        if children.is_empty() {
            return found;
        }
        parents = children.iter().map(|status| status.pid).collect();
        found.extend(children);
        rest = others;
    }
}

/// All in the session of the process `leader`, also when it has ended.
pub(crate) fn session(leader: &ProcessIdentity) -> Vec<Status> {
    // While one member lives the kernel gives the number to nobody else; so if somebody else has
    // it, there is no member.
    if leader.was_replaced() {
        return Vec::new();
    }
    all()
        .into_iter()
        .filter(|status| status.session == leader.pid && status.pid != leader.pid)
        .filter(|status| status.start_ticks >= leader.start_ticks)
        .collect()
}

/// Children of ours that outlive us and, if they do not, must be reaped.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Keeps a child to be reaped by [`reap`].
pub(crate) fn keep(child: Child) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
}

/// Reaps children that have ended.
pub(crate) fn reap() {
    CHILDREN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// Our own identity.
pub(crate) fn ourselves(started_at: Timestamp) -> Result<ProcessIdentity, Error> {
    ProcessIdentity::of(std::process::id(), started_at).ok_or_else(|| Error::File {
        operation: "read",
        path: Path::new("/proc/self/stat").to_owned(),
        source: std::io::ErrorKind::NotFound.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = b"42 (a) b) (c) S 1 7 9 0 -1 4194560 1 0 0 0 1 2 3 4 20 0 1 0 5555 100 10";
        let status = Status::parse(42, text).unwrap();
        assert_eq!(
            (status.parent, status.group, status.session, status.start_ticks),
            (1, 7, 9, 5555)
        );
        assert_eq!(Status::parse(42, b"42 (a"), None);
        assert_eq!(Status::parse(42, b"42 (a) S 1"), None);
    }

    #[test]
    fn another_process_with_the_same_number_is_not_it() {
        let now = Timestamp::from_millis(0);
        let us = ProcessIdentity::of(std::process::id(), now).unwrap();
        assert!(us.is_alive());
        let later = ProcessIdentity { start_ticks: us.start_ticks + 1, ..us.clone() };
        assert!(!later.is_alive() && later.was_replaced());
        let former_boot = ProcessIdentity { boot: "another".to_owned(), ..us };
        assert!(!former_boot.is_alive() && former_boot.was_replaced());
    }
}
