//! A proxy takes the place of another, as for an upgrade, and no request notices.
//!
//! What there must be only one of is never opened twice, but handed over as it is: the lock of the
//! home, the control socket and the listening sockets pass from the predecessor to the successor as
//! open files. So no connection meets a closed port, none waits at a socket that nobody serves, and
//! there is no moment in which a third proxy could take the home.
//!
//! ```text
//! successor                                predecessor
//!     │ HandOver ──────────────────────────▶ │  serves; changes no table from here on
//!     │ ◀──────────────── HandedOver + files │
//! serves, too                                │
//!     │ Inherit ───────────────────────────▶ │  accepts no more, closes its copies,
//!     │                                      │  hears nobody but its successor
//!     │ ◀───────────────── Inherited(counts) │
//! in charge                                  │  ends each connection with its next answer,
//!     │ Publish, Remove, Shutdown ─────────▶ │  and follows
//!     │ Inherit ───────────────────────────▶ │
//!     │ ◀───────────────── Inherited(counts) │
//!     ┆                                      ┆
//!     │ Inherit ───────────────────────────▶ │  nothing is in flight any more
//!     │ ◀───────────────── Inherited(counts) │  its last word; ends
//! ```
//!
//! All of it is one connection to the control socket, and its end is the word of last resort:
//!
//! - Who is in charge is decided by `Inherit` and its answer. A successor that gets no answer is not
//!   in charge: it lets go of everything, and what it accepted until then is answered. A predecessor
//!   that gets no `Inherit` goes on as if nothing had been. Both copies of the lock are the same
//!   lock, so one of the two must never guess: only who hangs up makes the other give up waiting.
//! - A successor that dies later takes nothing with it but what it had in flight: the lock, the
//!   socket and the ports are free, and whoever starts a proxy then starts it from disk. What is in
//!   flight in the predecessor has no master any more, and ends as after a `Shutdown`.
//! - A predecessor that dies takes with it what it still had in flight.
//!
//! A successor may be succeeded while it still has a predecessor: each proxy of such a chain speaks
//! to the next one only, adds up what those behind it count, and ends after them.

mod predecessor;
mod sockets;
mod successor;

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use tidegate_types::data_plane::ProxyTable;
use tokio::net::UnixListener;

pub(crate) use self::{
    predecessor::{Parting, give_way, nothing_left},
    successor::{Link, take_over},
};
use crate::{door::Door, lock::Lock};

/// So long one waits for the other, where it may.
const PATIENCE: Duration = Duration::from_secs(10);

/// What only the proxy in charge of a home has.
#[derive(Debug)]
pub(crate) struct Charge {
    pub(crate) lock: Lock,
    /// The control socket.
    pub(crate) socket: Arc<UnixListener>,
}

impl Charge {
    /// In the order in which they are handed over.
    pub(crate) fn sockets(&self) -> [BorrowedFd<'_>; 2] {
        [self.lock.as_fd(), self.socket.as_fd()]
    }
}

/// A scope that a predecessor has served.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) table: ProxyTable,
    /// Not open when the predecessor could not listen.
    pub(crate) door: Door,
    pub(crate) redirect: Option<Door>,
}
