//! Clients that speak HTTP/2, and applications that do not.

use std::{
    io::Write as _,
    sync::{Mutex, mpsc},
};

use bytes::Bytes;
use http::HeaderValue;
use hyper::body::Frame;

use crate::{
    certificates::{Certificate, encrypted},
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, Frames, GET, GOAWAY, HEADERS, PING, PREFACE,
        RST_STREAM, SETTINGS, block, frame,
    },
    harness::{Caller, PATIENCE, Proxy, all, backend, eventually, socket_to},
    http2_client::{Http2, Told},
    upstream::Application,
};

fn data(bytes: impl Into<Bytes>) -> Frame<Bytes> {
    Frame::data(bytes.into())
}

#[test]
fn an_application_sees_nothing_of_http2() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
    let address = proxy.publish(&encrypted(table, &[&certificate])).unwrap().address;
    let mut client = Http2::encrypted(address);
    let mut request = client.request("GET", "/x?y=1", Told::of([]));
    let headers = request.headers_mut();
    headers.append("cookie", HeaderValue::from_static("a=1"));
    headers.append("cookie", HeaderValue::from_static("b=2"));
    headers.append("te", HeaderValue::from_static("trailers"));
    let answer = client.call(request).unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
    assert_eq!(answer.header("content-length"), Some("5"));
    let mut request = client.request("POST", "/", Told::of([data("known")]));
    request.headers_mut().append("content-length", HeaderValue::from_static("5"));
    assert_eq!(client.call(request).unwrap().text(), "hello");
    let seen = application.seen();
    assert!(seen[0].head.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{}", seen[0].head);
    assert_eq!(seen[0].header("host"), Some("shop"));
    assert_eq!(seen[0].header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen[0].header("x-forwarded-host"), Some("shop"));
    assert_eq!(seen[0].header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen[0].header("te"), None);
    assert_eq!(seen[0].header("transfer-encoding"), None);
    assert_eq!(seen[1].body, b"known");
    assert_eq!(application.open(), 2, "one for requests without a body, one for the others");
    assert_eq!(proxy.counted("api@1"), (2, 0));
}

#[test]
fn who_knows_that_http2_is_spoken_needs_no_encryption() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    assert_eq!(Http2::plain(address).get("/").text(), "hello");
    assert_eq!(Caller::connect(address).get("/").text(), "hello");
    assert_eq!(application.seen()[0].header("x-forwarded-proto"), Some("http"));
    // However small the pieces are in which it comes.
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&GET)));
    for size in [1, 2] {
        let mut frames = Frames { socket: socket_to(address) };
        for piece in bytes.chunks(size) {
            frames.socket.write_all(piece).unwrap();
            frames.socket.flush().unwrap();
            std::thread::yield_now();
        }
        assert_eq!(frames.next_of(&[HEADERS]).unwrap().stream, 1);
    }
    let mut slow = Caller::connect(address);
    for piece in b"PROPFIND / HTTP/1.1\r\nHost: shop\r\n\r\n".chunks(1) {
        slow.send(piece);
        std::thread::yield_now();
    }
    assert_eq!(slow.answer().unwrap().text(), "hello");
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let application = Application::start(|seen, stream| {
        let answer = match seen.target() {
            "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/same" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
            _ => {
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\r\n"
            }
        };
        stream.get_mut().write_all(answer.as_bytes()).is_ok()
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut client = Http2::plain(address);
    assert_eq!(client.get("/none").status.as_u16(), 204);
    assert_eq!(client.get("/same").header("etag"), Some("\"a\""));
    let head = client.call(client.request("HEAD", "/", Told::of([]))).unwrap();
    assert_eq!((head.header("content-length"), head.body.len()), (Some("5"), 0));
    for gone in ["connection", "x-mine", "keep-alive", "transfer-encoding"] {
        assert_eq!(head.header(gone), None);
    }
    assert_eq!(client.get("/none").status.as_u16(), 204, "it goes on after that");
    assert_eq!(proxy.counted("api@1").0, 4);
}

#[test]
fn requests_at_the_same_time_do_not_wait_for_each_other() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let application = Application::start(move |seen, stream| {
        if seen.target() == "/slow" {
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.get_mut().write_all(answer.as_bytes()).is_ok()
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut client = Http2::plain(address);
    let slow = client.start(client.request("GET", "/slow", Told::of([])));
    for _ in 0..20 {
        assert_eq!(client.get("/fast").text(), "ok");
    }
    assert_eq!(proxy.in_flight("api@1", 1), 1);
    release.send(()).unwrap();
    assert_eq!(client.wait(slow).unwrap().unwrap().status().as_u16(), 200);
}

#[test]
fn what_is_said_after_an_answer_without_a_question_in_a_body_comes_too() {
    let application = Application::sending(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: right\r\n\r\n",
    );
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut client = Http2::plain(address);
    for _ in 0..2 {
        let answer = client.call(client.request("GET", "/", Told::of([]))).unwrap();
        assert_eq!((answer.text(), answer.trailer("x-sum")), ("hello", Some("right")));
    }
    assert_eq!(application.open(), 1, "the connection was used again");
    eventually("both are counted", || (proxy.counted("api@1") == (2, 0)).then_some(()));
}

#[test]
fn large_bodies_and_trailers_go_both_ways() {
    let application = Application::start(|_, stream| {
        use std::io::BufRead as _;
        // Reads chunks and sends each back.
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).unwrap();
            let length = usize::from_str_radix(size.trim(), 16).unwrap();
            if length == 0 {
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).unwrap();
                }
                return stream.get_mut().write_all(b"0\r\nX-Sum: right\r\n\r\n").is_ok();
            }
            let mut chunk = vec![0; length + 2];
            std::io::Read::read_exact(stream, &mut chunk).unwrap();
            let out = stream.get_mut();
            out.write_all(size.as_bytes()).unwrap();
            out.write_all(&chunk).unwrap();
        }
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut client = Http2::plain(address);
    let part = |number: u8| data(vec![number; 100_000]);
    let request = client.request("POST", "/", Told::of((0..40).map(part)));
    let answer = client.call(request).unwrap();
    assert_eq!(answer.body.len(), 4_000_000);
    for (number, part) in (0_u8..).zip(answer.body.chunks(100_000)) {
        assert!(part.iter().all(|byte| *byte == number), "part {number}");
    }
    assert_eq!(answer.trailer("x-sum"), Some("right"));
    assert_eq!(proxy.counted("api@1"), (1, 0));
}

#[test]
fn a_request_that_is_given_up_lets_the_application_go() {
    let application = Application::start(|_, stream| {
        use std::io::Read as _;
        let _ = stream.read_to_end(&mut Vec::new());
        false
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut client = Http2::plain(address);
    let request = client.start(client.request("GET", "/", Told::of([])));
    eventually("it is in flight", || {
        client.wait(tokio::task::yield_now());
        (proxy.in_flight("api@1", 1) == 1).then_some(())
    });
    request.abort();
    eventually("the application is let go", || {
        client.wait(tokio::task::yield_now());
        (application.open() == 0 && proxy.in_flight("api@1", 1) == 0).then_some(())
    });
    assert_eq!(proxy.counted("api@1"), (1, 0), "it is nobody's failure");
}

#[test]
fn at_the_end_a_client_is_told_and_what_is_under_way_ends() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let application = Application::start(move |_, stream| {
        let stream = stream.get_mut();
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none";
        stream.write_all(head.as_bytes()).unwrap();
        released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"two").is_ok()
    });
    let mut proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut busy = Frames::open(address);
    busy.ask(1, &GET);
    assert_eq!(busy.next_of(&[DATA]).unwrap().payload, b"one");
    let mut idle = Frames::open(address);
    idle.next_of(&[SETTINGS]).unwrap();
    proxy.shutdown();
    assert_eq!(idle.next_of(&[GOAWAY]).unwrap().reason(), 0);
    drop(idle);
    // It is told that there will be no more, and then which request was the last.
    assert_eq!(busy.next_of(&[GOAWAY]).unwrap().payload[..4], [0x7f, 0xff, 0xff, 0xff]);
    let ping = busy.next_of(&[PING]).unwrap();
    busy.send(PING, ACK, 0, &ping.payload);
    let last = busy.next_of(&[GOAWAY]).unwrap();
    assert_eq!((&last.payload[..4], last.reason()), (&[0, 0, 0, 1][..], 0));
    release.send(()).unwrap();
    assert_eq!(busy.next_of(&[DATA]).unwrap().payload, b"two");
    assert_eq!(busy.next_of(&[DATA, RST_STREAM, HEADERS]).map(|frame| frame.payload), None);
    proxy.join();
}

#[test]
fn a_scope_that_is_removed_ends_its_connections() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut client = Http2::plain(address);
    assert_eq!(client.get("/").text(), "hello");
    proxy.remove();
    assert_eq!(client.get("/").header("tidegate-reason"), Some("no-route"));
    client.ended();
}
