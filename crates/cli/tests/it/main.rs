//! The binary as users have it: real repositories, real processes, real sockets.

mod deploying;
mod refusing;
mod sandbox;
