//! A simulated world for the real control plane.
//!
//! [`world`] is everything outside of Tidegate: instances, the proxy, visitors. It is told what is
//! wanted through the same words as a real target, and time in it moves only when told.
//! [`forecast`] asks it what a plan would do.

pub mod forecast;
pub mod world;
