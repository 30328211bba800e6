//! The thread that writes one file.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant, SystemTime},
};

use tidegate_types::{AccessLog, QueryLogging};

use super::line;

/// So many batches wait for the disk, at most.
const WAITING: usize = 64;

/// How often it is looked whether the file is still the one that the path names.
const LOOK: Duration = Duration::from_secs(1);

/// Lines of JSON.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) text: Vec<u8>,
    pub(crate) lines: u64,
}

/// What became of the lines of one file.
#[derive(Debug, Default)]
pub(crate) struct LogCounts {
    written: AtomicU64,
    lost: AtomicU64,
}

impl LogCounts {
    /// Lines that are in the file.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Lines that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

/// Takes lines for one file.
#[derive(Debug)]
pub(crate) struct Log {
    batches: mpsc::SyncSender<Batch>,
    counts: Arc<LogCounts>,
}

impl Log {
    /// Takes a batch, or loses it when too many are waiting. Never waits.
    pub(crate) fn take(&self, batch: Batch) {
        let lines = batch.lines;
        if self.batches.try_send(batch).is_err() {
            self.counts.lost.fetch_add(lines, Relaxed);
        }
    }
}

/// A log and what is written into it.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) log: Arc<Log>,
    /// In hundredths of a percent.
    pub(crate) sample: u32,
    pub(crate) query: QueryLogging,
}

/// The files that are written, each by a thread of its own as long as a table names it, so that a
/// disk that hangs concerns nobody else.
#[derive(Debug)]
pub(crate) struct Logs {
    open: HashMap<PathBuf, (Weak<Log>, Arc<LogCounts>)>,
    /// Held by each thread while it runs.
    running: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Logs {
    pub(crate) fn new() -> Self {
        let (running, ended) = mpsc::channel();
        Self { open: HashMap::new(), running, ended }
    }

    /// The log that a table wants; none when there is no thread to be had.
    pub(crate) fn policy(&mut self, wanted: &AccessLog) -> Option<Policy> {
        let log = self.log(&wanted.path)?;
        Some(Policy { log, sample: wanted.sample.hundredths(), query: wanted.query })
    }

    fn log(&mut self, path: &Path) -> Option<Arc<Log>> {
        let known = self.open.get(path);
        if let Some(log) = known.and_then(|(log, _)| log.upgrade()) {
            return Some(log);
        }
        // What was counted before goes on: whoever reads it sees no fall.
        let counts = known.map_or_else(Arc::default, |(_, counts)| Arc::clone(counts));
        let (batches, receiver) = mpsc::sync_channel(WAITING);
        let running = self.running.clone();
        let mut writer = Writer::new(path.to_owned(), Arc::clone(&counts));
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            let _running = running;
            writer.run(&receiver);
        });
        if let Err(error) = thread {
            tracing::error!(path = %path.display(), %error, "no access log is written");
            return None;
        }
        let log = Arc::new(Log { batches, counts: Arc::clone(&counts) });
        self.open.insert(path.to_owned(), (Arc::downgrade(&log), counts));
        Some(log)
    }

    /// What became of the lines of a file.
    pub(crate) fn counts(&self, path: &Path) -> Option<Arc<LogCounts>> {
        self.open.get(path).map(|(_, counts)| Arc::clone(counts))
    }

    /// Waits for what was handed over to be written, but not longer than this.
    pub(crate) fn finish(self, longest: Duration) {
        drop(self.running);
        if self.ended.recv_timeout(longest) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the end of an access log is not written: its disk does not answer");
        }
    }
}

struct Writer {
    path: PathBuf,
    counts: Arc<LogCounts>,
    file: Option<File>,
    looked: Instant,
    /// The file ends in the middle of a line.
    torn: bool,
    /// Lost lines that the file tells of.
    told: u64,
    /// Somebody has been told that it cannot be written.
    failing: bool,
}

impl Writer {
    fn new(path: PathBuf, counts: Arc<LogCounts>) -> Self {
        let told = counts.lost();
        let looked = Instant::now();
        Self { path, counts, file: None, looked, torn: false, told, failing: false }
    }

    /// Until nobody can hand over anything any more.
    fn run(&mut self, batches: &mpsc::Receiver<Batch>) {
        loop {
            match batches.recv_timeout(LOOK) {
                Ok(batch) => self.write(&batch),
                Err(mpsc::RecvTimeoutError::Timeout) => self.tell_of_lost(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.tell_of_lost(),
            }
        }
    }

    fn write(&mut self, batch: &Batch) {
        self.tell_of_lost();
        match self.append(&batch.text) {
            Ok(()) => {
                self.counts.written.fetch_add(batch.lines, Relaxed);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(path = %self.path.display(), "the access log is written again");
                }
            }
            Err((whole, error)) => {
                let text = &batch.text[..whole];
                let written = memchr::memchr_iter(b'\n', text).count() as u64;
                self.counts.written.fetch_add(written, Relaxed);
                self.counts.lost.fetch_add(batch.lines - written.min(batch.lines), Relaxed);
                self.fail(&error);
            }
        }
    }

    fn tell_of_lost(&mut self) {
        let lost = self.counts.lost();
        if lost > self.told {
            match self.append(&line::lost(SystemTime::now(), lost - self.told)) {
                Ok(()) => self.told = lost,
                Err((_, error)) => self.fail(&error),
            }
        }
    }

    fn fail(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(path = %self.path.display(), %error, "the access log is not written");
        }
    }

    /// Appends whole lines. Says how many bytes were written when not all were.
    fn append(&mut self, text: &[u8]) -> Result<(), (usize, std::io::Error)> {
        self.find_file().map_err(|error| (0, error))?;
        let Some(file) = &mut self.file else {
            return Err((0, std::io::ErrorKind::NotFound.into()));
        };
        if self.torn {
            file.write_all(b"\n").map_err(|error| (0, error))?;
            self.torn = false;
        }
        let mut written = 0;
        while written < text.len() {
            let outcome = match file.write(&text[written..]) {
                Ok(0) => Err(std::io::ErrorKind::WriteZero.into()),
                Ok(more) => {
                    written += more;
                    Ok(())
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.torn = text[..written].last().is_some_and(|last| *last != b'\n');
                return Err((written, error));
            }
        }
        Ok(())
    }

    /// The file that the path names. One that was renamed or removed, as by a program that rotates
    /// logs, is left to whoever did that.
    fn find_file(&mut self) -> std::io::Result<()> {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if self.file.as_ref().is_some_and(|file| !is_at(file, &self.path)) {
                self.file = None;
            }
        }
        if self.file.is_none() {
            self.file = Some(open(&self.path)?);
            self.torn = false;
        }
        Ok(())
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Who visits is nobody else's business.
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &str) -> Batch {
        Batch { text: text.as_bytes().to_vec(), lines: text.lines().count() as u64 }
    }

    #[test]
    fn a_full_disk_loses_lines_counts_them_and_says_so_when_it_goes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let counts = Arc::new(LogCounts::default());
        let mut writer = Writer::new(path.clone(), Arc::clone(&counts));
        writer.write(&batch("{}\n{}\n"));
        writer.write(&batch("{}\n"));
        assert_eq!((counts.written(), counts.lost()), (0, 3));
        std::fs::remove_file(&path).unwrap();
        writer.looked = Instant::now().checked_sub(LOOK).unwrap();
        writer.write(&batch("{}\n"));
        assert_eq!((counts.written(), counts.lost()), (1, 3));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().next().unwrap().ends_with(r#""lost_lines":3}"#), "{text}");
        writer.tell_of_lost();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "it is said once");
    }

    #[test]
    fn what_was_torn_does_not_spoil_the_next_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut writer = Writer::new(path.clone(), Arc::default());
        writer.append(b"{\"a").unwrap();
        writer.torn = true;
        writer.write(&batch("{}\n"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\n{}\n");
    }

    #[test]
    fn a_thread_that_does_not_come_on_loses_batches_and_stops_nobody() {
        let (batches, receiver) = mpsc::sync_channel(1);
        let log = Log { batches, counts: Arc::default() };
        for _ in 0..3 {
            log.take(batch("{}\n{}\n"));
        }
        assert_eq!(log.counts.lost(), 4);
        drop(receiver);
    }
}
