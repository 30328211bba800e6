//! Applications that are asked by HTTP/2, as those of gRPC are.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tidegate_types::{
    Protocol,
    data_plane::{ProxyBackend, Upstream},
};

use crate::{
    frames::{ACK, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM},
    harness::{Caller, Proxy, all, backend, eventually},
    http2_client::{Http2, Told, whole},
    upstream::Application,
    upstream_http2::{FrameApplication, Http2Application},
};

/// A revision whose instances speak HTTP/2.
pub(crate) fn h2c(revision: &str, addresses: &[std::net::SocketAddr]) -> ProxyBackend {
    let mut backend = backend(revision, 100, addresses);
    if let Upstream::Endpoints(endpoints) = &mut backend.upstream {
        for endpoint in endpoints {
            endpoint.protocol = Protocol::H2c;
        }
    }
    backend
}

/// The head of a good answer, and the smallest body.
pub(crate) fn answer(frames: &mut Frames, stream: u32) {
    frames.send(HEADERS, END_HEADERS, stream, &[0x88]);
    frames.send(DATA, END_STREAM, stream, b"hello");
}

#[test]
fn a_conversation_of_grpc_goes_through_both_ways() {
    let application = Http2Application::start(100);
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![h2c("api@1", &[application.address])]));
    let mut client = Http2::plain(address);
    let (teller, told) = Told::new();
    let mut request = client.request("POST", "/echo", told);
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let started = client.start(request);
    // Each part comes back before the next is sent.
    teller.send(Frame::data(Bytes::from("first"))).unwrap();
    let mut body = client.wait(started).unwrap().unwrap().into_body();
    for (part, next) in [("first", Some("second")), ("second", None)] {
        let frame = client.wait(body.frame()).unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), part);
        if let Some(next) = next {
            teller.send(Frame::data(Bytes::from(next))).unwrap();
        }
    }
    let mut end = HeaderMap::new();
    end.insert("x-said", "at the end".parse().unwrap());
    teller.send(Frame::trailers(end)).unwrap();
    drop(teller);
    let trailers = client.wait(body.frame()).unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-said"]),
        (&"0".parse().unwrap(), &"at the end".parse().unwrap())
    );
    let seen = &application.seen()[0];
    assert_eq!(seen.uri(), "http://shop/echo");
    assert_eq!(seen.headers()["te"], "trailers");
    assert_eq!(seen.headers()["x-forwarded-proto"], "http");
    for absent in ["host", "transfer-encoding", "connection", "content-length"] {
        assert!(!seen.headers().contains_key(absent), "{absent}");
    }
    eventually("it is counted", || (proxy.counted("api@1") == (1, 0)).then_some(()));
    // Who speaks HTTP/1.1 is answered, too.
    let mut caller = Caller::connect(address);
    assert_eq!(caller.get("/").text(), "hello");
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(caller.get_with("/", upgrade).status, 200, "it is an ordinary request there");
    assert_eq!(caller.post("/echo", "known").text(), "known");
}

#[test]
fn the_status_of_grpc_tells_who_failed() {
    let application = Http2Application::start(100);
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![h2c("api@1", &[application.address])]));
    let mut client = Http2::plain(address);
    let mut wanted = (0, 0);
    for (status, failed) in
        [("0", 0), ("5", 0), ("16", 0), ("2", 1), ("4", 1), ("13", 1), ("14", 1), ("15", 1)]
    {
        for place in ["head", "end"] {
            let answer = client.get(&format!("/status/{status}/{place}"));
            let said = answer.header("grpc-status").or(answer.trailer("grpc-status"));
            assert_eq!(said, Some(status));
            wanted = (wanted.0 + 1, wanted.1 + failed);
            eventually("it is counted", || (proxy.counted("api@1") == wanted).then_some(()));
        }
    }
    client.get("/status/none");
    let wanted = (wanted.0 + 1, wanted.1 + 1);
    eventually("no status is none", || (proxy.counted("api@1") == wanted).then_some(()));
}

#[test]
fn requests_share_a_connection_as_far_as_the_application_takes_them() {
    for (streams, wanted) in [(100, 1..=1), (2, 6..=12)] {
        let application = Http2Application::start(streams);
        let proxy = Proxy::start();
        let address = proxy.route(all(vec![h2c("api@1", &[application.address])]));
        let mut client = Http2::plain(address);
        let started: Vec<_> =
            (0..12).map(|_| client.start(client.request("GET", "/hold", Told::of([])))).collect();
        eventually("all are asked", || {
            client.wait(tokio::task::yield_now());
            (application.seen().len() == 12).then_some(())
        });
        assert!(wanted.contains(&application.connections()), "{}", application.connections());
        application.release(12);
        for answer in started {
            let answer = client.wait(async { whole(answer.await.unwrap().unwrap()).await });
            assert_eq!(answer.unwrap().text(), "hello");
        }
        assert_eq!(proxy.counted("api@1"), (12, 0));
    }
}

#[test]
fn clients_who_do_not_read_hold_up_nobody_else() {
    let application = Http2Application::start(100);
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![h2c("api@1", &[application.address])]));
    let mut client = Http2::plain(address);
    // Their heads come, and of their bodies what the client takes without reading.
    let mut unread = Vec::new();
    for _ in 0..40 {
        let started = client.start(client.request("GET", "/large", Told::of([])));
        unread.push(client.wait(started).unwrap().unwrap());
    }
    // At each of the workers.
    let mut others = [0; 3].map(|_| Caller::connect(address));
    for other in &mut others {
        assert_eq!(other.get("/").text(), "hello");
        assert_eq!(other.get("/large").body.len(), 1_000_000);
    }
    // All at once: the client takes only so much that it has not read.
    let reading: Vec<_> = unread.into_iter().map(|answer| client.spawn(whole(answer))).collect();
    for answer in reading {
        assert_eq!(client.wait(answer).unwrap().unwrap().body.len(), 1_000_000);
    }
}

#[test]
fn what_an_application_that_goes_did_not_take_is_asked_of_its_next_connection() {
    let application = FrameApplication::start(|number, frames| {
        if number > 0 {
            // Says what it got.
            let mut got = Vec::new();
            while let Some(frame) = frames.next_of(&[DATA, HEADERS]) {
                let end = frame.flags & END_STREAM > 0;
                if frame.kind == DATA {
                    got.extend(frame.payload);
                }
                if end {
                    frames.send(HEADERS, END_HEADERS, frame.stream, &[0x88]);
                    frames.send(DATA, END_STREAM, frame.stream, &got);
                    got.clear();
                }
            }
            return;
        }
        // The first is answered, after the application has said that it was the last.
        let first = frames.next_of(&[HEADERS]).unwrap();
        let second = frames.next_of(&[HEADERS]).unwrap();
        assert!(second.stream > first.stream);
        while frames.next_of(&[DATA]).unwrap().flags & END_STREAM == 0 {}
        let mut last = first.stream.to_be_bytes().to_vec();
        last.extend([0; 4]);
        frames.send(GOAWAY, 0, 0, &last);
        answer(frames, first.stream);
        while frames.read().is_some() {}
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![h2c("api@1", &[application.address])]));
    let mut client = Http2::plain(address);
    let first = client.start(client.request("GET", "/", Told::of([])));
    eventually("the first is under way", || {
        client.wait(tokio::task::yield_now());
        (proxy.in_flight("api@1", 1) == 1).then_some(())
    });
    let body = Told::of(["one ", "two"].map(|part| Frame::data(Bytes::from(part))));
    let second = client.call(client.request("POST", "/", body)).unwrap();
    assert_eq!((second.status.as_u16(), second.text()), (200, "one two"));
    let first = client.wait(async { whole(first.await.unwrap().unwrap()).await }).unwrap();
    assert_eq!(first.text(), "hello");
    assert_eq!(proxy.counted("api@1"), (2, 0));
}

#[test]
fn a_request_that_is_refused_is_asked_again_and_not_for_ever() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    static REFUSALS: AtomicUsize = AtomicUsize::new(2);
    let application = FrameApplication::start(|_, frames| {
        while let Some(frame) = frames.next_of(&[HEADERS, PING]) {
            if frame.kind == PING {
                frames.send(PING, ACK, 0, &frame.payload);
            } else if REFUSALS.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                frames.send(RST_STREAM, 0, frame.stream, &REFUSED_STREAM);
            } else {
                answer(frames, frame.stream);
            }
        }
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![h2c("api@1", &[application.address])]));
    let mut client = Http2::plain(address);
    assert_eq!(client.get("/").text(), "hello");
    assert_eq!(proxy.counted("api@1"), (1, 0));
    REFUSALS.store(1000, SeqCst);
    let refused = client.get("/");
    assert_eq!(refused.header("tidegate-reason"), Some("nobody-ready"));
    assert_eq!(proxy.counted("api@1"), (2, 1));
}

#[test]
fn connections_that_end_after_each_request_lose_none() {
    let application = FrameApplication::start(|_, frames| {
        if let Some(head) = frames.next_of(&[HEADERS]) {
            if head.flags & END_STREAM == 0 {
                while frames.next_of(&[DATA]).is_some_and(|data| data.flags & END_STREAM == 0) {}
            }
            answer(frames, head.stream);
            let mut last = head.stream.to_be_bytes().to_vec();
            last.extend([0; 4]);
            frames.send(GOAWAY, 0, 0, &last);
            while frames.read().is_some() {}
        }
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![h2c("api@1", &[application.address])]));
    let mut caller = Caller::connect(address);
    for _ in 0..20 {
        assert_eq!(caller.post("/", "body").text(), "hello");
    }
    assert_eq!(proxy.counted("api@1"), (20, 0));
}

#[test]
fn an_application_that_does_not_speak_http2_is_not_ready() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![h2c("api@1", &[application.address])]));
    let answer = Caller::connect(address).get("/");
    assert_eq!((answer.status, answer.header("tidegate-reason")), (503, Some("nobody-ready")));
    assert_eq!(proxy.counted("api@1"), (1, 1));
}

#[test]
fn a_release_that_speaks_otherwise_takes_its_share() {
    let old = Application::saying("hello");
    let new = Http2Application::start(100);
    let proxy = Proxy::start();
    let mut stable = backend("api@1", 50, &[old.address]);
    stable.role = "stable".to_owned();
    let candidate = ProxyBackend { share: stable.share, ..h2c("api@2", &[new.address]) };
    let address = proxy.route(all(vec![stable, candidate]));
    let mut client = Http2::plain(address);
    for _ in 0..40 {
        assert_eq!(client.get("/").text(), "hello");
    }
    let (first, second) = (proxy.counted("api@1"), proxy.counted("api@2"));
    assert_eq!((first.0 + second.0, first.1 + second.1), (40, 0));
    assert!(first.0 > 0 && second.0 > 0, "{first:?} {second:?}");
}
