//! The real loop on a paused clock, against a simulated target and a store that can fail.

mod crash;
mod loops;
mod world;
