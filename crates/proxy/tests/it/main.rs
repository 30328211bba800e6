//! A real proxy with real sockets on both sides.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod certificates;
mod changing;
mod encrypting;
mod failing;
mod files;
mod frames;
mod harness;
mod health;
mod hostile;
mod hostile_http2;
mod http2;
mod http2_client;
mod mirroring;
mod passing;
mod persisting;
mod queueing;
mod upstream;
mod visiting;
