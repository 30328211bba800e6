//! The state machine against a small world that starts, kills and hides things.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod properties;
mod stories;
mod world;
