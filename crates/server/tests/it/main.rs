//! The API over a real socket, with a store in memory and a target that runs nothing.

mod api;
mod world;
