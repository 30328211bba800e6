//! A simulated world for the real control plane.
//!
//! [`world`] is everything outside of Tidegate: instances, the proxy, visitors. It is told what is
//! wanted through the same words as a real target, and time in it moves only when told.

pub mod world;
