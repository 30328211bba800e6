//! The process target with real processes, real sockets and the real proxy.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod failing;
mod life;
mod routing;
mod surviving;
mod world;
