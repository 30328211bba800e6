//! Who may use the file.
//!
//! `<file>.lock` is locked as long as the store is open, and names the process, the boot of the
//! machine and the very file that it belongs to. The operating system gives the lock back when the process ends, in
//! whatever way. The file itself stays: removing it would let two processes lock two files of the
//! same name. A store that is closed in order empties it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, test_kill_process};

use super::fault::io_error;
use crate::Error;

/// The right to use a store, as long as this value lives.
#[derive(Debug)]
pub(super) struct Lease {
    file: File,
    now: Holder,
    last: Option<Holder>,
}

/// What a holder writes into the file.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    /// None where the operating system does not tell.
    boot: Option<String>,
    /// The number under which the file system knows the database; none before it is there. A copy
    /// has another one.
    database: Option<u64>,
}

/// How long a lock may outlive its holder.
const PATIENCE: Duration = Duration::from_secs(2);
/// One that was just killed counts as alive until it is wholly gone.
const PATIENCE_WITH_THE_LIVING: Duration = Duration::from_millis(500);

/// In place of what is not known.
const UNKNOWN: &str = "-";

impl Holder {
    fn is_alive(&self) -> bool {
        // A process of another user may not be signalled, and lives.
        i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
    }
}

impl Lease {
    /// Takes the lease of the store at `path`, or says who has it.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let lock_path = lock_path(path);
        let failed = |error: io::Error| io_error("lock", &lock_path, &error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Unknown between the holder's lock and its note, and when the note is damaged.
            let holder = read_holder(&mut file).ok().flatten();
            let is_alive = holder.as_ref().is_some_and(Holder::is_alive);
            let patience = if is_alive { PATIENCE_WITH_THE_LIVING } else { PATIENCE };
            if start.elapsed() > patience {
                return Err(Error::Locked {
                    path: path.to_owned(),
                    holder: holder.map(|holder| holder.pid),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        let last = read_holder(&mut file).map_err(failed)?;
        // What was known of the database stays known until it was looked at.
        let database = last.as_ref().and_then(|last| last.database);
        let now = Holder { pid: std::process::id(), boot: boot(), database };
        write_holder(&mut file, &now).map_err(failed)?;
        Ok(Self { file, now, last })
    }

    /// Whether the store was open when the machine stopped, so that even what the operating system
    /// had promised may be lost.
    pub(super) fn machine_went_down(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.boot.is_some() && last.boot != self.now.boot)
    }

    /// Whether the last one to use the database at `path` used this very file, and was ended before
    /// it could close it.
    pub(super) fn was_cut_off(&self, path: &Path) -> bool {
        let known = self.last.as_ref().and_then(|last| last.database);
        known.is_some() && known == number(path)
    }

    /// Notes which file is used.
    pub(super) fn note(&mut self, path: &Path) -> Result<(), Error> {
        self.now.database = number(path);
        write_holder(&mut self.file, &self.now)
            .map_err(|error| io_error("lock", &lock_path(path), &error))
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

impl Drop for Lease {
    fn drop(&mut self) {
        // If it fails the next start looks closer than it must.
        let _ = self.file.set_len(0);
        // Closing the file would do, but for a child that is just being started and has it, too.
        let _ = self.file.unlock();
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn read_holder(file: &mut File) -> io::Result<Option<Holder>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    // A note is short; what is longer is none.
    file.take(256).read_to_end(&mut bytes)?;
    Ok(parse_holder(&String::from_utf8_lossy(&bytes)))
}

fn parse_holder(text: &str) -> Option<Holder> {
    let mut words = text.split_whitespace();
    let pid = words.next()?.parse().ok()?;
    let mut next = || words.next().filter(|word| *word != UNKNOWN);
    let boot = next().map(str::to_owned);
    let database = next().and_then(|word| word.parse().ok());
    Some(Holder { pid, boot, database })
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    let boot = holder.boot.as_deref().unwrap_or(UNKNOWN);
    let database = holder.database.map_or_else(|| UNKNOWN.to_owned(), |number| number.to_string());
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{} {boot} {database}\n", holder.pid).as_bytes())?;
    // It has to be there after a power failure, or the check that it asks for is not made.
    file.sync_all()
}

/// Names this boot of the machine.
fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|boot| !boot.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.db");
        let lease = Lease::take(&path).unwrap();
        assert_eq!(
            Lease::take(&path).unwrap_err(),
            Error::Locked { path: path.clone(), holder: Some(std::process::id()) }
        );
        drop(lease);
        Lease::take(&path).unwrap();
    }

    #[test]
    fn a_lock_that_outlives_its_holder_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.db");
        let held = Lease::take(&path).unwrap();
        // No process has this number: Linux gives none above 2^22, others fewer.
        fs::write(lock_path(&path), "2000000000 some-boot\n").unwrap();
        let waiting = thread::spawn({
            let path = path.clone();
            move || Lease::take(&path)
        });
        held.file.unlock().unwrap();
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_closed_lease_is_free_even_when_a_child_still_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.db");
        let lease = Lease::take(&path).unwrap();
        let _as_a_child = lease.file.try_clone().unwrap();
        drop(lease);
        Lease::take(&path).unwrap();
    }

    #[test]
    fn only_a_note_of_another_boot_tells_that_the_machine_went_down() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.db");
        let this_boot = boot().unwrap_or_default();
        for (note, went_down) in [
            (String::new(), false),
            (format!("17 {this_boot}\n"), false),
            ("17 an-earlier-boot\n".to_owned(), true),
            ("17\n".to_owned(), false),
            ("17 - 5\n".to_owned(), false),
            ("not a note".to_owned(), false),
        ] {
            fs::write(lock_path(&path), &note).unwrap();
            let lease = Lease::take(&path).unwrap();
            assert_eq!(lease.machine_went_down(), went_down, "{note:?}");
        }
        let closed_in_order = fs::read(lock_path(&path)).unwrap();
        assert!(closed_in_order.is_empty());
    }
}
