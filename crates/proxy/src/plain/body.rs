//! The body of an answer on its way from an endpoint's framing to a client's.

use std::{io::Write as _, ops::Range};

use super::{
    answer::Framing,
    chunks::{Found, Malformed},
};

/// What of the bytes that were received goes to the client.
pub(crate) struct Part {
    pub(crate) data: Range<usize>,
    pub(crate) taken: usize,
    /// Nothing of the body comes after it.
    pub(crate) over: bool,
}

/// Takes what belongs to a body out of what was received. `ended` says that the connection has.
pub(crate) fn take(
    body: &mut Framing,
    received: &mut [u8],
    ended: bool,
) -> Result<Part, Malformed> {
    Ok(match body {
        Framing::Length(left) => {
            let there = received.len();
            let taken = usize::try_from(*left).map_or(there, |left| left.min(there));
            *left -= taken as u64;
            Part { data: 0..taken, taken, over: *left == 0 }
        }
        Framing::Chunks(chunks) => {
            let Found { data, taken } = chunks.take(received)?;
            Part { data, taken, over: chunks.is_over() }
        }
        Framing::Close => Part { data: 0..received.len(), taken: received.len(), over: ended },
    })
}

/// Writes what comes before a part of a body, and says what comes after it.
pub(crate) fn frame(body: &Framing, length: usize, over: bool, out: &mut Vec<u8>) -> &'static [u8] {
    if let Framing::Length(_) = body {
        return b"";
    }
    if length > 0 {
        // A vector takes all that is written into it.
        let _ = write!(out, "{length:x}\r\n");
    }
    match (length, over) {
        (0, false) => b"",
        (0, true) => b"0\r\n\r\n",
        (_, false) => b"\r\n",
        (_, true) => b"\r\n0\r\n\r\n",
    }
}
