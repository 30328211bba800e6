//! Plain requests: those of HTTP/1.1 without a body and without anything unusual, which are nearly
//! all of them. They go from the client's bytes to the endpoint's and back without an HTTP library
//! between the two.
//!
//! What is plain is said by what is known to be harmless, not by what is known to be harm:
//! [`request`] recognises requests that it understands to the last byte. With everything else, also
//! with whatever is wrong, the connection passes to the HTTP library, with the bytes that were read,
//! before anything was done; there it stays. So nothing is refused here for how it is written, and
//! every rule about malformed requests is in one place, which is not here.
//!
//! What endpoints answer cannot be passed on to anybody else, so [`answer`] understands all that the
//! library does.
//!
//! A connection that waits for its client has no buffer, and one that waits for an endpoint has a
//! small one: see [`buffer`].

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod buffer;
pub(crate) mod chunks;
pub(crate) mod exchange;
mod library;
pub(crate) mod request;
mod send;
mod serve;
pub(crate) mod wire;

pub(crate) use self::{
    buffer::Buffers,
    library::{AnswerBody, send},
    request::write_header,
    serve::serve,
    wire::Wires,
};
