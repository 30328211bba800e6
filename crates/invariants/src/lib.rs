//! The 27 invariants of a deployment, by number, as checks.
//!
//! [`transition`] judges one transition of the state machine by itself. [`again`] repeats one and
//! judges what must not change. [`Watch`] follows a whole life: transitions, tables that came into
//! force, fleets, instances that started and stopped. None of them reads a clock or a file; whoever
//! feeds them says what it does not know. [`INVARIANTS`] says what each number means.

mod again;
mod table;
mod transition;
mod watch;

use std::fmt;

pub use again::again;
pub use table::{INVARIANTS, Invariant, Level, Status};
pub use transition::transition;
pub use watch::{Stopped, Watch};

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Its number in [`INVARIANTS`].
    pub number: u8,
    /// What was found, as a sentence without a full stop.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "invariant {}: {}", self.number, self.what)
    }
}

/// Breaches as they are found.
#[derive(Debug, Default)]
struct Breaches(Vec<Breach>);

impl Breaches {
    /// Notes a breach unless `holds`. The sentence is made only when it is needed.
    fn check(&mut self, number: u8, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Breach { number, what: what() });
        }
    }
}
