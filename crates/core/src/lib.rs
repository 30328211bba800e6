//! The state machine of an environment.
//!
//! [`step`] takes the state, one input, what was seen, and the time, and answers with the next
//! state and the events that say why. It reads no clock, touches no file and knows no thread, so
//! the same inputs always give the same answer.
//!
//! The state holds what is *wanted*: which revisions run at which size ([`Environment::wanted`])
//! and who gets which share of the traffic ([`Environment::route_table`]). Both are published
//! whole, after the state is stored; whoever is killed in between finds the wish in the store and
//! publishes it again. There is no list of undone actions that could be lost or done twice.
//!
//! Going back is not an undo of steps. It is a state of its own, with its own wishes: traffic first
//! (`back`), then everything else.

mod back;
mod deployment;
mod environment;
mod event;
mod forward;
mod step;
mod waiting;

pub use deployment::{Deployment, Failure, FailureCode, Pause, Place, Position, Progress, Stage};
pub use environment::{Component, Ended, Environment, Outcome, Verified, Warm};
pub use event::Event;
pub use step::{Command, Decision, Input, Rejected, Seen, step};
pub use waiting::{Waiting, waiting};
