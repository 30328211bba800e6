//! Manifest, release and what runs now to a plan: pure.
//!
//! Every strategy becomes a list of the same four steps ([`strategy`]), so that the state machine
//! knows steps and no strategies.

mod compile;
mod order;
mod print;
pub mod strategy;

pub use compile::{Current, Error, Request, Running, compile};
pub use print::print;
