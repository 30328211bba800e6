//! The control plane's HTTP API.
//!
//! [`router`] knows requests and answers and nothing about sockets; [`serve`] puts it on a unix
//! socket in the home, which only its owner may open. The types of [`api`] are what goes over the
//! wire, and [`client`] speaks them from the other end.
//!
//! The server decides nothing: it hands wishes to the engine and shows what the engine and its
//! store say. A client that goes away in the middle changes nothing.

pub mod api;
pub mod client;
mod problem;
mod route;
mod serve;
mod state;

pub use problem::{Holder, Problem};
pub use route::router;
pub use serve::{Error, serve, socket_of};
pub use state::{End, State};
