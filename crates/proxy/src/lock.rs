//! One proxy to a home.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

/// No process id is longer than this.
const LONGEST_ID: u64 = 32;

/// Held as long as the proxy runs; the operating system lets go of it whatever happens. A successor
/// gets a copy of the open file, and with it the same lock: it is held until both have closed it.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// Why the lock was not had.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody else has it; the holder's process id if it could be read.
    Held(Option<u32>),
    /// The file could not be used.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Lock {
    /// Takes the lock at `path` without waiting.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                (&file).take(LONGEST_ID).read_to_string(&mut text)?;
                return Err(LockError::Held(text.trim().parse().ok()));
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        Ok(Self(file))
    }

    /// Writes this process's id into the file. The lock is held whatever the file says: a full disk
    /// keeps no proxy from starting.
    pub(crate) fn note_holder(&mut self) {
        if let Err(error) = note_process(&mut self.0) {
            tracing::warn!(%error, "the process id is not noted in the lock of the home");
        }
    }
}

/// A lock that is held already.
impl From<OwnedFd> for Lock {
    fn from(file: OwnedFd) -> Self {
        Self(file.into())
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// In one piece and always of one length: while the place passes from one proxy to another, whoever
/// reads the file finds one of the two.
fn note_process(file: &mut File) -> io::Result<()> {
    let note = format!("{:>10}\n", std::process::id());
    file.rewind()?;
    file.write_all(note.as_bytes())?;
    file.set_len(note.len() as u64)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_although_the_process_cannot_be_noted() {
        match Lock::take(Path::new("/dev/full")) {
            Ok(mut lock) => lock.note_holder(),
            // Another run of this test may hold it at the same moment.
            Err(error) => assert!(matches!(error, LockError::Held(_)), "{error:?}"),
        }
    }
}
