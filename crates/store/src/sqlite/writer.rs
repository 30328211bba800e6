//! The one thread that writes, and how it merges what waits into one commit.
//!
//! A commit costs one `fsync`, whatever is in it. While one is under way the next pieces of work
//! queue up; then all of them go into the next transaction. Each has a savepoint: what is refused is
//! undone alone. Nobody is answered before the commit, and when that fails all get its error, also
//! those that were refused: what they were refused for may never have happened.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::fault::{Fault, io_error};
use crate::Error;

/// So that the first of many does not wait for all of them.
const LARGEST_BATCH: usize = 256;

/// After so much quiet the WAL is moved into the file, when nobody waits for it.
const QUIET: Duration = Duration::from_millis(500);

/// The writing thread's other end.
#[derive(Debug)]
pub(super) struct Writer {
    path: Arc<Path>,
    /// None while the value is dropped.
    queue: Option<Sender<Box<dyn Work>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, path: &Arc<Path>) -> Result<Self, Error> {
        let (queue, incoming) = channel();
        let thread_path = Arc::clone(path);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_all(&connection, &thread_path, &incoming))
            .map_err(|error| io_error("start a thread for", path, &error))?;
        Ok(Self {
            path: Arc::clone(path),
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs `write` in a transaction and answers when that is durable.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        write: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let closed = || Error::Closed {
            path: self.path.to_path_buf(),
        };
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        let piece = Piece {
            operation,
            write: Some(write),
            outcome: None,
            reply,
        };
        queue.send(Box::new(piece)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked, and nothing could be done if it had.
            let _ = thread.join();
        }
    }
}

/// A piece of work whose result type is not known to the thread.
trait Work: Send {
    /// Does it, and keeps what it gave. An error means that nothing of it may stay.
    fn run(&mut self, connection: &Connection, path: &Path) -> Result<(), Error>;

    /// Tells the caller: what it gave if that is durable now, otherwise why it is not.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Piece<T, Write> {
    operation: &'static str,
    /// None when it was run.
    write: Option<Write>,
    /// None when it was not run.
    outcome: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, Write> Work for Piece<T, Write>
where
    T: Send,
    Write: FnOnce(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, connection: &Connection, path: &Path) -> Result<(), Error> {
        let Some(write) = self.write.take() else {
            return Ok(());
        };
        // A panic is a bug in one piece; the thread lives on for the others.
        let outcome = catch_unwind(AssertUnwindSafe(|| write(connection)))
            .unwrap_or_else(|_| Err(Fault::Damaged("writing it panicked".to_owned())))
            .map_err(|fault| fault.into_error(self.operation, path));
        let succeeded = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(outcome);
        succeeded
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Err(error), _) => Err(error),
            // Dropping the reply tells `closed`.
            (Ok(()), None) => return,
        };
        // The caller may have gone; the work stays done.
        let _ = self.reply.send(outcome);
    }
}

fn write_all(connection: &Connection, path: &Path, incoming: &Receiver<Box<dyn Work>>) {
    let mut unsettled = false;
    loop {
        let first = if unsettled {
            match incoming.recv_timeout(QUIET) {
                Ok(work) => work,
                Err(RecvTimeoutError::Timeout) => {
                    settle(connection);
                    unsettled = false;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        } else {
            match incoming.recv() {
                Ok(work) => work,
                Err(_) => return,
            }
        };
        let mut batch = VecDeque::from([first]);
        batch.extend(incoming.try_iter().take(LARGEST_BATCH - 1));
        while !batch.is_empty() {
            commit_together(connection, path, &mut batch);
        }
        unsettled = true;
    }
}

/// Runs work from the front of `batch` in one transaction, ends that and answers. Takes at least one
/// piece; leaves the rest when a failure ended the transaction early.
fn commit_together(connection: &Connection, path: &Path, batch: &mut VecDeque<Box<dyn Work>>) {
    let mut taken = Vec::with_capacity(batch.len());
    let outcome = match execute(connection, "BEGIN IMMEDIATE", path) {
        Ok(()) => run_each(connection, path, batch, &mut taken)
            .and_then(|()| execute(connection, "COMMIT", path)),
        Err(error) => {
            taken.extend(batch.drain(..));
            Err(error)
        }
    };
    if !connection.is_autocommit()
        && let Err(error) = execute(connection, "ROLLBACK", path)
    {
        tracing::error!(%error, "could not roll back");
    }
    for work in taken {
        work.answer(outcome.clone());
    }
}

/// Fails when the transaction cannot be committed any more.
fn run_each(
    connection: &Connection,
    path: &Path,
    batch: &mut VecDeque<Box<dyn Work>>,
    taken: &mut Vec<Box<dyn Work>>,
) -> Result<(), Error> {
    while let Some(mut work) = batch.pop_front() {
        let ran = execute(connection, "SAVEPOINT piece", path).map(|()| work.run(connection, path));
        taken.push(work);
        if let Err(error) = ran? {
            // Some failures, a full disk among them, make SQLite undo the whole transaction.
            if connection.is_autocommit() {
                return Err(error);
            }
            execute(connection, "ROLLBACK TO piece", path)?;
        }
        execute(connection, "RELEASE piece", path)?;
    }
    Ok(())
}

fn execute(connection: &Connection, statement: &str, path: &Path) -> Result<(), Error> {
    connection
        .prepare_cached(statement)
        .and_then(|mut statement| statement.execute([]))
        .map(|_| ())
        .map_err(|error| Fault::from(error).into_error("write to", path))
}

/// Moves the WAL into the file as far as no reader needs it, so that a later commit need not.
fn settle(connection: &Connection) {
    let settled = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = settled {
        // Nothing is lost: it all stays in the WAL, and the next commit tries again.
        tracing::warn!(%error, "could not move the write-ahead log into the database");
    }
}
