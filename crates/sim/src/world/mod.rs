//! The world around the control plane: instances, the proxy, and the people who send requests.
//!
//! Time moves only when told, in whole milliseconds, from event to event.

mod behaviour;
mod fleet;
mod instance;
mod revision;
mod users;

pub use behaviour::Behaviour;
pub use fleet::{Fleet, NotRouted, Settings};
pub(crate) use users::P95_OF_MEDIAN;
pub use users::Tally;
