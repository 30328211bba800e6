//! The repository as a value, so that tests can hold its rules: who may depend on whom, what pure
//! code may not touch, which pages are generated.
//!
//! Nothing depends on this crate, and nothing of it is shipped.

pub mod code;
mod invariants;
pub mod pages;
pub mod workspace;
