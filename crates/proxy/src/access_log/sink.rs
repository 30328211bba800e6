//! What one worker has to write, until it is handed over.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tidegate_types::{QueryLogging, Scope};
use tokio::{sync::Notify, task::spawn_local};

use super::{
    line::Line,
    writer::{Batch, Log, Policy},
};

/// A batch of this many bytes is handed over at once.
const FULL: usize = 32 * 1024;

/// Any other after this time.
const SOON: Duration = Duration::from_millis(100);

/// The access log of a scope, as one worker writes it.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) scope: String,
    pub(crate) sample: u32,
    query: QueryLogging,
    log: Arc<Log>,
    text: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    /// A batch was begun, or this is the end.
    begun: Rc<Notify>,
}

impl Sink {
    /// Begins on the worker's thread.
    pub(crate) fn new(scope: &Scope, policy: &Policy) -> Rc<Self> {
        let sink = Rc::new(Self {
            scope: scope.to_string(),
            sample: policy.sample,
            query: policy.query,
            log: Arc::clone(&policy.log),
            text: RefCell::default(),
            lines: Cell::new(0),
            begun: Rc::default(),
        });
        let (weak, begun) = (Rc::downgrade(&sink), Rc::clone(&sink.begun));
        spawn_local(async move {
            loop {
                begun.notified().await;
                tokio::time::sleep(SOON).await;
                let Some(sink) = weak.upgrade() else {
                    return;
                };
                sink.hand_over();
            }
        });
        sink
    }

    /// Writes a line, which is handed over soon.
    pub(crate) fn write(&self, line: &Line<'_>) {
        let size = {
            let mut text = self.text.borrow_mut();
            line.write(self.query, &mut text);
            text.len()
        };
        let before = self.lines.replace(self.lines.get() + 1);
        if size >= FULL {
            self.hand_over();
        } else if before == 0 {
            self.begun.notify_one();
        }
    }

    fn hand_over(&self) {
        let lines = self.lines.replace(0);
        if lines > 0 {
            let text = self.text.replace(Vec::new());
            self.log.take(Batch { text, lines });
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.hand_over();
        self.begun.notify_one();
    }
}
