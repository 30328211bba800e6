//! What people read, made from what is known: pure.

pub(crate) mod deployment;
pub(crate) mod event;
pub(crate) mod history;
pub(crate) mod number;
#[cfg(test)]
mod sample;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod time;
