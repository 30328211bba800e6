//! From a manifest, a release and what runs to a plan, and from there to what people read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod compiled;
mod impossible;
mod printed;
mod shop;
