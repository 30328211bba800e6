//! The manifest as its users meet it: a file in, a value or messages out.

mod accepted;
mod generated;
mod hostile;
mod inconsistent;
mod refused;

pub(crate) const EVERY_KEY: &str = include_str!("../every-key.yaml");
