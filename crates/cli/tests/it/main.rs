//! The binary as users have it: real repositories, real processes, real sockets.

mod crash;
mod deploying;
mod hard_cases;
mod losing;
mod maintaining;
mod refusing;
mod rivals;
mod sandbox;
mod simulating;
mod upgrading;
mod visitors;
