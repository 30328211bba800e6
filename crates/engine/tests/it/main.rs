//! The real loop on a paused clock, against a simulated target and a store that can fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod crash;
mod loops;
mod world;
