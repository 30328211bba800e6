//! What endpoints answer, and what clients get of it.

use tidegate_proxy::fuzzing::{converse, plain};
use tidegate_types::RouteRule;

use crate::wire::{self, Read, Unsaid};

/// The first byte chooses the request, the rest is the answer to it. A second request follows on
/// the same connection, which is answered properly.
pub(crate) fn hold(bytes: &[u8]) {
    let Some((choice, answer)) = bytes.split_first() else { return };
    let method = ["GET", "HEAD", "POST"][usize::from(*choice) % 3];
    let (length, websocket) = match choice / 3 % 3 {
        0 => ("", ""),
        1 => ("Content-Length: 0\r\n", ""),
        _ => ("", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
    };
    let first = format!("{method} / HTTP/1.1\r\nHost: a\r\n{length}{websocket}\r\n");
    let second = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";
    let sent = answer;
    let answer = answer.to_vec();
    let application = move |sent: &[u8]| {
        wire::find(sent, b"\r\n\r\n")?;
        let is_second = sent.starts_with(b"GET /second ");
        let proper = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond";
        Some(if is_second { proper.to_vec() } else { answer.clone() })
    };
    let rule = RouteRule::everything();
    let pieces = vec![first.into_bytes(), second.as_bytes().to_vec()];
    let conversation = converse(pieces, &rule, Box::new(application));
    clear(&conversation.answers, method);
    if method != "POST" && length.is_empty() && websocket.is_empty() {
        as_the_library_has_it(sent, method == "HEAD", &conversation.answers);
    }
}

/// What is passed on as an answer to a plain request is one for the library, too, and the same.
fn as_the_library_has_it(sent: &[u8], head_only: bool, library: &[u8]) {
    let Some(whole) = plain::answer(sent, head_only, usize::MAX) else { return };
    let shown = || String::from_utf8_lossy(sent).into_owned();
    let unsaid = |message: &wire::Message| {
        let status = message.first.get(1).map_or("", String::as_str);
        let never = head_only || matches!(status, "204" | "304");
        if never { Unsaid::Never } else { Unsaid::Nothing }
    };
    let message = |bytes: &[u8]| match wire::read(bytes, unsaid) {
        Read::Whole(message, length) => {
            let mut headers = message.headers;
            headers.retain(|(name, _)| name != "date" && name != "connection");
            headers.sort();
            ((message.first, headers, message.body), length)
        }
        other => panic!("a client gets something unclear: {other:?}: {:?}", shown()),
    };
    let (plain, length) = message(&whole);
    assert_eq!(length, whole.len(), "more than one answer: {:?}", shown());
    for piece in [1, 7] {
        let in_pieces = plain::answer(sent, head_only, piece).expect("whole in pieces, too");
        assert_eq!(message(&in_pieces).0, plain, "another one in pieces: {:?}", shown());
    }
    assert_eq!(message(library).0, plain, "{:?}", shown());
}

/// The client can tell the answers apart, and the second is the second request's.
fn clear(answers: &[u8], method: &str) {
    let shown = || String::from_utf8_lossy(answers).into_owned();
    let unsaid = |message: &wire::Message| {
        let status = message.first.get(1).map_or("", String::as_str);
        match status {
            _ if method == "HEAD" => Unsaid::Never,
            "204" | "304" | "101" => Unsaid::Never,
            _ => Unsaid::Rest,
        }
    };
    match wire::read(answers, unsaid) {
        Read::Ambiguous(why) => panic!("a client got {why}: {:?}", shown()),
        // The endpoint broke off, and so did the connection.
        Read::Part => {}
        Read::Whole(message, length) => {
            let [version, status, ..] = message.first.as_slice() else {
                panic!("a client got another first line: {:?}", message.first);
            };
            assert!(version == "HTTP/1.1" && status.len() == 3, "{:?}", message.first);
            for name in ["keep-alive", "te", "proxy-authenticate", "proxy-connection"] {
                assert!(message.all(name).is_empty(), "{name} was sent on: {:?}", shown());
            }
            let rest = &answers[length..];
            if rest.is_empty() {
                return;
            }
            match wire::read(rest, |_| Unsaid::Nothing) {
                Read::Whole(second, length) => {
                    assert_eq!(length, rest.len(), "more than two answers: {:?}", shown());
                    assert_eq!(second.body, b"second", "another second answer: {:?}", shown());
                }
                other => panic!("an unclear second answer: {other:?}: {:?}", shown()),
            }
        }
    }
}
