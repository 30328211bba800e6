//! What the proxy is told, and what it says.

use tidegate_types::{Epoch, RevisionId, RouteFacts, RouteRefusal, RouteTable};

use super::Fleet;

/// Where the proxy says that it listens.
const ADDRESS: &str = "127.0.0.1:8080";

/// Why a table is not in force as far as anybody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRouted {
    /// One with a larger epoch is.
    #[error("a newer route table is in force: epoch {0}")]
    Older(Epoch),
    /// Nobody is there to be told.
    #[error("the proxy is down")]
    Down,
    /// It names a revision of which no list speaks.
    #[error("revision {0} is not known")]
    Unknown(RevisionId),
    /// The proxy did not answer: it may be in force.
    #[error("the proxy does not answer")]
    Unanswered,
}

/// The proxy answers nothing.
pub(super) struct Silence {
    /// What it said last.
    pub(super) facts: RouteFacts,
    /// The table that was in force then.
    pub(super) table: Option<RouteTable>,
}

pub(super) fn names(table: &RouteTable, revision: &RevisionId) -> bool {
    let mut backends = table.routes.iter().flat_map(|route| &route.backends);
    backends.any(|backend| backend.revision == *revision)
}

impl Fleet {
    /// Puts a table in force. An older one is refused, and one that names what is not known; so is
    /// any while the proxy is down.
    pub fn route(&mut self, table: &RouteTable) -> Result<(), NotRouted> {
        if !self.proxy_up {
            return Err(NotRouted::Down);
        }
        if let Some(newer) = self.table.as_ref().filter(|known| known.epoch > table.epoch) {
            return Err(NotRouted::Older(newer.epoch));
        }
        let named = table.routes.iter().flat_map(|route| &route.backends);
        for backend in named {
            if !self.revisions.contains_key(&backend.revision) {
                return Err(NotRouted::Unknown(backend.revision.clone()));
            }
        }
        if self.table.as_ref() != Some(table) {
            self.table = Some(table.clone());
            self.changes += 1;
        }
        if self.refused.take().is_some() {
            self.changes += 1;
        }
        if self.silence.is_some() { Err(NotRouted::Unanswered) } else { Ok(()) }
    }

    /// The proxy takes what it is told, does it and answers nothing; or answers again.
    pub fn set_silent(&mut self, silent: bool) {
        if silent == self.is_silent() {
            return;
        }
        self.silence = silent.then(|| Silence { facts: self.routes(), table: self.table.clone() });
        self.settle();
    }

    /// Whether the proxy answers nothing.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.silence.is_some()
    }

    /// The proxy refuses a table for good.
    pub fn refuse(&mut self, epoch: Epoch, reason: &str) {
        self.refused = Some(RouteRefusal { epoch, reason: reason.to_owned() });
        self.changes += 1;
    }

    /// The proxy dies, or is back with its last table and counters at zero.
    pub fn set_proxy(&mut self, up: bool) {
        if self.proxy_up != up {
            self.proxy_up = up;
            self.counters.clear();
            self.changes += 1;
        }
    }

    /// What the proxy says when it answers.
    pub(super) fn routes(&self) -> RouteFacts {
        RouteFacts {
            epoch: self.table.as_ref().map(|table| table.epoch),
            address: self.table.as_ref().map(|_| ADDRESS.to_owned()),
            refused: self.refused.clone(),
        }
    }
}
