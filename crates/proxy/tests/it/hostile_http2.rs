//! Clients that mean harm and speak HTTP/2.

use std::time::Duration;

use tidegate_proxy::Limits;

use crate::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GET, GOAWAY, HEADERS, RST_STREAM,
        SETTINGS, block,
    },
    harness::{Proxy, all, backend, eventually},
    upstream::Application,
};

const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What a GET becomes when these fields are added or take the place of others.
fn with(changes: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut fields: Vec<(&str, &str)> = GET
        .into_iter()
        .filter(|(name, _)| {
            !name.starts_with(':') || changes.iter().all(|(changed, _)| changed != name)
        })
        .collect();
    let at = |name: &str| usize::from(!name.starts_with(':'));
    for (name, value) in changes.iter().filter(|(_, value)| *value != "absent") {
        fields.push((name, value));
    }
    fields.sort_by_key(|(name, _)| at(name));
    fields
}

/// The status of an answer whose head is not shortened much: its first field.
fn status(payload: &[u8]) -> u16 {
    match payload[0] {
        0x88 => 200,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        // `:status` with a text of three digits, each of which has five or six bits.
        _ => 0,
    }
}

#[test]
fn ambiguous_requests_are_refused() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    for changes in [
        vec![(":authority", "evil"), ("host", "shop")],
        vec![("host", "shop"), ("host", "shop")],
        vec![(":authority", "absent")],
        vec![(":authority", "user@shop")],
        vec![(":authority", "a/b")],
        vec![(":path", "x")],
        vec![(":path", "/../secret")],
        vec![(":path", "/x%00")],
        vec![(":path", "")],
        vec![(":path", "/a b")],
        vec![(":path", "absent")],
        vec![(":method", "absent")],
        vec![(":method", "GET / HTTP/1.1\r\nX: y")],
        vec![(":scheme", "absent")],
        vec![(":method", "CONNECT"), (":path", "absent"), (":scheme", "absent")],
        vec![(":status", "200")],
        vec![(":unheard-of", "x")],
        vec![("x", "a\r\nb: c")],
        vec![("x", "a\0b")],
        vec![("X", "upper")],
        vec![("a b", "c")],
        vec![("connection", "keep-alive")],
        vec![("keep-alive", "5")],
        vec![("proxy-connection", "keep-alive")],
        vec![("transfer-encoding", "chunked")],
        vec![("upgrade", "websocket")],
        vec![("te", "gzip")],
        vec![("content-length", "5")],
        vec![("content-length", "5"), ("content-length", "6")],
        vec![("content-length", "+5")],
    ] {
        let mut frames = Frames::open(address);
        frames.ask(1, &with(&changes));
        let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).unwrap();
        match answer.kind {
            HEADERS => assert_eq!(status(&answer.payload), 400, "{changes:?}"),
            _ => assert_eq!(answer.reason(), PROTOCOL_ERROR, "{changes:?}"),
        }
    }
    let mut frames = Frames::open(address);
    frames.ask(1, &with(&[("x-fine", "1")]));
    assert_eq!(status(&frames.next_of(&[HEADERS]).unwrap().payload), 200);
    let seen = application.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(proxy.counted("api@1"), (1, 0));
}

#[test]
fn a_body_of_another_length_than_it_says_is_not_passed_as_whole() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    for (said, sent) in [("3", "abcd"), ("5", "abcd")] {
        let mut frames = Frames::open(address);
        let head = block(&with(&[(":method", "POST"), ("content-length", said)]));
        frames.send(HEADERS, END_HEADERS, 1, &head);
        frames.send(DATA, END_STREAM, 1, sent.as_bytes());
        let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).unwrap();
        match answer.kind {
            HEADERS => assert_ne!(status(&answer.payload), 200, "{said}"),
            _ => assert_eq!(answer.reason(), PROTOCOL_ERROR, "{said}"),
        }
    }
    assert!(application.seen().is_empty(), "{:?}", application.seen());
}

#[test]
fn streams_that_are_reset_as_fast_as_they_are_opened_end_the_connection() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut frames = Frames::open(address);
    let mut sent = 0;
    for stream in (1..200_001).step_by(2) {
        if !frames.ask(stream, &GET) || !frames.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()) {
            break;
        }
        sent += 1;
    }
    assert!(sent < 100_000, "it was never ended");
    // What was asked costs the application little: it is not asked for what is gone already.
    if let Some(end) = frames.next_of(&[GOAWAY]) {
        assert_eq!(end.reason(), ENHANCE_YOUR_CALM);
    }
    eventually("all is forgotten", || (proxy.in_flight("api@1", 1) == 0).then_some(()));
    assert_eq!(crate::harness::get(address, "/").text(), "hello");
}

#[test]
fn a_head_that_never_ends_ends_the_connection() {
    let proxy = Proxy::start();
    let address = proxy.route(vec![]);
    let mut frames = Frames::open(address);
    frames.send(HEADERS, END_STREAM, 1, &block(&GET));
    let more = block(&[("x", "y")]);
    let sent = (0..1_000_000).take_while(|_| frames.send(CONTINUATION, 0, 1, &more)).count();
    assert!(sent < 1_000_000, "it was never ended");
    // Frames without anything in them, too.
    let mut frames = Frames::open(address);
    frames.send(HEADERS, END_STREAM, 1, &block(&GET));
    let sent = (0..1_000_000).take_while(|_| frames.send(CONTINUATION, 0, 1, &[])).count();
    assert!(sent < 1_000_000, "it was never ended");
}

#[test]
fn a_head_that_grows_when_it_is_unpacked_is_refused() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut frames = Frames::open(address);
    // One large field is put into the table, and then named a thousand times by one byte.
    let mut bomb = block(&GET);
    let large = "x".repeat(3000);
    let mut field = block(&[("x-large", &large)]);
    field[0] = 0x40;
    bomb.extend(field);
    bomb.extend(std::iter::repeat_n(0x80 | 0x3e, 4000));
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &bomb);
    let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).unwrap();
    assert!(answer.kind != HEADERS || status(&answer.payload) != 200, "{answer:?}");
    assert!(application.seen().is_empty());
    // One that is large as it is.
    let mut frames = Frames::open(address);
    let head = block(&with(&[]));
    frames.send(HEADERS, END_STREAM, 1, &head);
    let part = block(&[("x", &large)]);
    for _ in 0..40 {
        frames.send(CONTINUATION, 0, 1, &part);
    }
    frames.send(CONTINUATION, END_HEADERS, 1, &[]);
    let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).unwrap();
    assert!(answer.kind != HEADERS || status(&answer.payload) != 200, "{answer:?}");
    assert!(application.seen().is_empty());
}

#[test]
fn more_requests_at_a_time_than_allowed_are_refused_one_by_one() {
    let application = Application::start(|_, stream| {
        use std::io::Read as _;
        let _ = stream.read_to_end(&mut Vec::new());
        false
    });
    let proxy = Proxy::start_with(Limits { http2_streams: 4, ..Limits::default() });
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut frames = Frames::open(address);
    let settings = frames.next_of(&[SETTINGS]).unwrap();
    let allowed = [0, 3, 0, 0, 0, 4];
    assert!(settings.payload.chunks(6).any(|pair| pair == allowed), "{settings:?}");
    for stream in [1, 3, 5, 7, 9] {
        frames.ask(stream, &GET);
    }
    let refused = frames.next_of(&[RST_STREAM, GOAWAY]).unwrap();
    assert_eq!((refused.stream, refused.reason()), (9, REFUSED_STREAM));
    eventually("four are asked", || (proxy.in_flight("api@1", 1) == 4).then_some(()));
}

#[test]
fn a_client_that_says_nothing_is_told_to_go() {
    let proxy = Proxy::start_with(Limits {
        client_idle: Duration::from_millis(200),
        request_head: Duration::from_millis(200),
        ..Limits::default()
    });
    let address = proxy.route(vec![]);
    let mut frames = Frames::open(address);
    assert_eq!(frames.next_of(&[GOAWAY]).unwrap().reason(), 0);
    // It answers nothing to that, and is cut off.
    while frames.read().is_some() {}
    // A head that is begun and not ended.
    let mut slow = Frames::open(address);
    slow.send(HEADERS, END_STREAM, 1, &block(&GET));
    while slow.read().is_some() {}
}
