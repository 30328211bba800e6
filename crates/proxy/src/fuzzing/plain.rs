//! What is done with plain requests and with the answers to them.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderValue;
use tidegate_types::RouteRule;

use crate::{
    origin::{Announcement, Origin},
    pick::Random,
    plain::{
        answer::{self, Framing, Wish},
        body::{frame, take},
        exchange::write_request,
        request::{Asked, Read, room},
    },
};

/// What an endpoint gets of a client's first bytes when they are a plain request, and the length of
/// that request.
#[must_use]
pub fn request(bytes: &[u8], rule: &RouteRule) -> Option<(Vec<u8>, usize)> {
    let mut room = room();
    let Read::Plain(asked) = Asked::read(bytes, &mut room) else {
        return None;
    };
    let host = HeaderValue::from_str(asked.host).ok()?;
    let origin = Origin::direct(IpAddr::V4(Ipv4Addr::LOCALHOST), false);
    let (mut announced, mut out) = (Vec::new(), Vec::new());
    Announcement::new(&origin, &host, false).write_lines(&mut announced);
    write_request(&mut out, &asked, rule, &announced, false, &Random::new(1));
    Some((out, asked.length))
}

/// What a client gets when an endpoint sends these bytes, which come in pieces of this size after
/// the head, and hangs up. None when that is no whole answer.
#[must_use]
pub fn answer(mut bytes: &[u8], head_only: bool, piece: usize) -> Option<Vec<u8>> {
    let wish = Wish { head_only, cookie: None, last: false };
    let mut out = Vec::new();
    let mut body = loop {
        match answer::read(bytes, wish, &mut out) {
            answer::Read::Partial | answer::Read::Malformed => return None,
            answer::Read::Interim(length) => bytes = &bytes[length..],
            answer::Read::Answer(answer) => {
                bytes = &bytes[answer.length..];
                break answer.body;
            }
        }
    };
    let mut pieces = bytes.chunks(piece.max(1));
    let mut ended = false;
    let mut received = Vec::new();
    loop {
        let part = take(&mut body, &mut received, ended).ok()?;
        let data = &received[part.data];
        let after = frame(&body, data.len(), part.over, &mut out);
        out.extend_from_slice(data);
        out.extend_from_slice(after);
        if part.over {
            return Some(out);
        }
        received.clear();
        match pieces.next() {
            Some(piece) => received.extend_from_slice(piece),
            None if body == Framing::Close => ended = true,
            None => return None,
        }
    }
}
