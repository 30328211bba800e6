//! The real engine in the simulated world.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod corpus;
mod crashes;
mod lives;
mod many;
mod story;
