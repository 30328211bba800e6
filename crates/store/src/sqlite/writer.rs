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
        Ok(Self { path: Arc::clone(path), queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `write` in a transaction and answers when that is durable.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        write: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let closed = || Error::Closed { path: self.path.to_path_buf() };
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        let piece = Piece { operation, write: Some(write), outcome: None, reply };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, sqlite::connection};

    const PATH: &str = "tidegate.db";

    /// A database with a table of numbers, and room for few pages.
    fn database(folder: &Path) -> Connection {
        let options = Options { max_pages: Some(10) };
        let connection = connection::open_writer(&folder.join(PATH), &options).unwrap();
        connection
            .execute_batch("CREATE TABLE number (number INTEGER NOT NULL, ballast TEXT) STRICT")
            .unwrap();
        connection
    }

    fn piece<T: Send + 'static>(
        write: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> (Box<dyn Work>, oneshot::Receiver<Result<T, Error>>) {
        let (reply, answer) = oneshot::channel();
        let piece = Piece { operation: "count in", write: Some(write), outcome: None, reply };
        (Box::new(piece), answer)
    }

    fn insert(connection: &Connection, number: i64, ballast: usize) -> Result<i64, Fault> {
        connection.execute("INSERT INTO number VALUES (?1, ?2)", (number, "x".repeat(ballast)))?;
        Ok(number)
    }

    fn numbers(connection: &Connection) -> String {
        let all = "SELECT group_concat(number ORDER BY number) FROM number";
        connection
            .query_row(all, [], |row| row.get::<_, Option<String>>(0))
            .unwrap()
            .unwrap_or_default()
    }

    fn run_all(connection: &Connection, batch: impl IntoIterator<Item = Box<dyn Work>>) {
        let mut batch = batch.into_iter().collect();
        while !VecDeque::is_empty(&batch) {
            commit_together(connection, Path::new(PATH), &mut batch);
        }
        assert!(connection.is_autocommit(), "no transaction is left open");
    }

    #[test]
    fn what_is_refused_or_panics_takes_nothing_else_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(folder.path());
        let (first, mut first_answer) = piece(|connection| insert(connection, 1, 0));
        let (refused, mut refused_answer) = piece(|connection| {
            insert(connection, 2, 0)?;
            Err::<(), _>(Error::own_key("deployment/2").into())
        });
        let (panics, mut panics_answer) = piece(|connection| {
            insert(connection, 3, 0)?;
            assert!(connection.changes() != 1, "a bug, for the test's sake");
            Ok(())
        });
        let (last, mut last_answer) = piece(|connection| insert(connection, 4, 0));
        run_all(&connection, [first, refused, panics, last]);
        assert_eq!(first_answer.try_recv().unwrap(), Ok(1));
        assert_eq!(refused_answer.try_recv().unwrap(), Err(Error::own_key("deployment/2")));
        panics_answer.try_recv().unwrap().unwrap_err();
        assert_eq!(last_answer.try_recv().unwrap(), Ok(4));
        assert_eq!(numbers(&connection), "1,4");
    }

    #[test]
    fn nobody_is_told_of_a_success_that_a_full_disk_took_back() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(folder.path());
        let (small, mut small_answer) = piece(|connection| insert(connection, 1, 0));
        let (large, mut large_answer) = piece(|connection| insert(connection, 2, 100_000));
        let (after, mut after_answer) = piece(|connection| insert(connection, 3, 0));
        run_all(&connection, [small, large, after]);
        assert!(matches!(large_answer.try_recv().unwrap(), Err(Error::Full { .. })));
        let mut expected = Vec::new();
        for (number, answer) in
            [(1, small_answer.try_recv().unwrap()), (3, after_answer.try_recv().unwrap())]
        {
            match answer {
                Ok(_) => expected.push(number.to_string()),
                Err(error) => assert!(matches!(error, Error::Full { .. }), "{error}"),
            }
        }
        assert_eq!(numbers(&connection), expected.join(","));
    }

    #[test]
    fn a_commit_that_fails_is_everybodys_failure() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(folder.path());
        connection
            .execute_batch(
                "CREATE TABLE parent (id INTEGER PRIMARY KEY) STRICT;
                 CREATE TABLE child (
                     parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED
                 ) STRICT",
            )
            .unwrap();
        let (good, mut good_answer) = piece(|connection| insert(connection, 1, 0));
        // Noticed by the commit only.
        let (orphan, mut orphan_answer) =
            piece(|connection| Ok(connection.execute("INSERT INTO child VALUES (7)", [])?));
        run_all(&connection, [good, orphan]);
        good_answer.try_recv().unwrap().unwrap_err();
        orphan_answer.try_recv().unwrap().unwrap_err();
        assert_eq!(numbers(&connection), "");

        let (next, mut next_answer) = piece(|connection| insert(connection, 2, 0));
        run_all(&connection, [next]);
        assert_eq!(next_answer.try_recv().unwrap(), Ok(2));
    }
}
