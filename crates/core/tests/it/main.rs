//! The state machine against a small world that starts, kills and hides things.

mod properties;
mod stories;
mod world;
