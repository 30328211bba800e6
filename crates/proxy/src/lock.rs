//! One proxy to a home.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

/// No process id is longer than this.
const LONGEST_ID: u64 = 32;

/// Held as long as the proxy runs; the operating system lets go of it whatever happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

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
    /// Takes the lock at `path` without waiting and writes this process's id into it.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                (&mut file).take(LONGEST_ID).read_to_string(&mut text)?;
                return Err(LockError::Held(text.trim().parse().ok()));
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        // The lock is held whatever the file says: a full disk keeps no proxy from starting.
        if let Err(error) = note_process(&mut file) {
            tracing::warn!(file = %path.display(), %error, "the process id is not noted");
        }
        Ok(Self { _file: file })
    }
}

fn note_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_although_the_process_cannot_be_noted() {
        let taken = Lock::take(Path::new("/dev/full"));
        // Another run of this test may hold it at the same moment.
        assert!(!matches!(taken, Err(LockError::Io(_))), "{taken:?}");
    }
}
