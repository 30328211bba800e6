//! A real proxy with real sockets on both sides.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod asking_http2;
mod authority;
mod certificates;
mod changing;
mod counting;
mod encrypting;
mod failing;
mod failing_http2;
mod files;
mod frames;
mod harness;
mod health;
mod heralding;
mod hostile;
mod hostile_http2;
mod http2;
mod http2_client;
mod limiting;
mod maintaining;
mod mirroring;
mod ordering;
mod parting;
mod passing;
mod persisting;
mod plain;
mod queueing;
mod redirecting;
mod succeeding;
mod telling;
mod trusting;
mod upstream;
mod upstream_http2;
mod visiting;
