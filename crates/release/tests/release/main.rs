//! From real repositories, through real builds, to real artifacts.

mod artifacts;
mod building;
mod checkout;
mod detecting;
mod git;
mod manifest;
mod support;
