//! The access log: a line of JSON for each request.
//!
//! A worker writes lines into memory of its own and hands them over in batches to a thread that
//! does nothing else than write to one file. Nothing on the way of a request waits for a disk: what
//! the thread cannot take is lost, counted, and said in the file as soon as that goes again.

mod entry;
mod line;
mod sink;
mod writer;

pub(crate) use entry::Entry;
pub(crate) use sink::Sink;
pub(crate) use writer::{LogCounts, Logs, Policy};
