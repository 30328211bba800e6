//! The upgraded connections of a worker, and when they are to end.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::endpoint::Endpoint;

/// How much of a time at whose end all is over is for saying so: `longest`, or half of it.
pub(crate) fn farewell(whole: Duration, longest: Duration) -> Duration {
    longest.min(whole / 2)
}

/// Tells an upgraded connection to end.
#[derive(Debug, Default)]
pub(crate) struct End {
    told: Notify,
    within: Cell<Duration>,
}

impl End {
    /// It is to end within this time.
    pub(crate) fn tell(&self, within: Duration) {
        self.within.set(within);
        self.told.notify_one();
    }

    /// Returns when it was told to end, and says within which time.
    pub(crate) async fn told(&self) -> Duration {
        self.told.notified().await;
        self.within.get()
    }
}

/// The upgraded connections of one worker. They have no HTTP any more.
#[derive(Debug, Default)]
pub(crate) struct UpgradedConnections {
    open: RefCell<HashMap<u64, Open>>,
    next: Cell<u64>,
    /// The worker ends, and all of them with it within this time.
    ends: Cell<Option<Duration>>,
}

#[derive(Debug)]
struct Open {
    endpoint: Option<Rc<Endpoint>>,
    end: Rc<End>,
}

impl UpgradedConnections {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// A connection was upgraded; says under which number it is known, and what tells it to end.
    pub(crate) fn begin(&self, endpoint: Option<&Rc<Endpoint>>) -> (u64, Rc<End>) {
        let number = self.next.get();
        self.next.set(number + 1);
        let end = Rc::new(End::default());
        if let Some(within) = self.ends.get() {
            end.tell(within);
        }
        let open = Open { endpoint: endpoint.cloned(), end: Rc::clone(&end) };
        self.open.borrow_mut().insert(number, open);
        (number, end)
    }

    /// A connection has ended.
    pub(crate) fn forget(&self, number: u64) {
        self.open.borrow_mut().remove(&number);
    }

    /// Tells those to end whose endpoint has left and has had the time that it was given.
    pub(crate) fn sweep(&self, now: Instant, longest: Duration) {
        for open in self.open.borrow().values() {
            let endpoint = open.endpoint.as_ref();
            if let Some(within) = endpoint.and_then(|endpoint| endpoint.farewell(now, longest)) {
                open.end.tell(within);
            }
        }
    }

    /// Tells all of them to end, and those that begin from now on.
    pub(crate) fn end(&self, within: Duration) {
        if self.ends.replace(Some(within)).is_none() {
            self.open.borrow().values().for_each(|open| open.end.tell(within));
        }
    }
}
