//! The real engine in the simulated world.

mod conformance;
mod corpus;
mod crashes;
mod lives;
mod many;
mod story;
