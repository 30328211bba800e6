//! The threads that read.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    connection,
    fault::{Fault, io_error},
};
use crate::Error;

/// One slow listing must not hold up the engine's loads.
const THREADS: usize = 2;

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// Threads with a connection each, which take questions from one queue.
#[derive(Debug)]
pub(super) struct Readers {
    path: Arc<Path>,
    /// None while the value is dropped.
    queue: Option<Sender<Question>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(path: &Arc<Path>) -> Result<Self, Error> {
        let (queue, questions) = channel();
        let questions = Arc::new(Mutex::new(questions));
        let mut readers = Self { path: Arc::clone(path), queue: Some(queue), threads: Vec::new() };
        for number in 1..=THREADS {
            let connection = connection::open_reader(path)?;
            let questions = Arc::clone(&questions);
            let thread = thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || answer_all(&connection, &questions))
                .map_err(|error| io_error("start a thread for", path, &error))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Runs `question` on the next free connection.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        question: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let path = Arc::clone(&self.path);
        let (reply, answer) = oneshot::channel();
        let question = move |connection: &Connection| {
            let outcome = question(connection).map_err(|fault| fault.into_error(operation, &path));
            // The caller may have gone.
            let _ = reply.send(outcome);
        };
        let closed = || Error::Closed { path: self.path.to_path_buf() };
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.send(Box::new(question)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn answer_all(connection: &Connection, questions: &Mutex<Receiver<Question>>) {
    loop {
        // The lock is held while waiting: then the other threads wait for it instead.
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(question) = next else { return };
        // A panic is a bug in one question; its caller is told `closed`, the others go on.
        if catch_unwind(AssertUnwindSafe(|| question(connection))).is_err() {
            tracing::error!("a question to the store panicked");
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // It cannot have panicked, and nothing could be done if it had.
            let _ = thread.join();
        }
    }
}
