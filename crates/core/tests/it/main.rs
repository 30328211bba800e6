//! The state machine against a small world that starts, kills and hides things.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod deadlines;
mod going_back;
mod model;
mod properties;
mod routing;
mod search;
mod shop;
mod stories;
mod walk;
mod world;
