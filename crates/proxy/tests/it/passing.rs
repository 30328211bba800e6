//! What passes through, and how.

use std::{
    io::{Read as _, Write as _},
    sync::{Mutex, mpsc},
};

use tidegate_types::data_plane::Upstream;

use crate::{
    harness::{Caller, PATIENCE, Proxy, all, backend, eventually, get, route},
    upstream::Application,
};

#[test]
fn a_request_reaches_the_application_with_the_right_headers() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let mut api = route("/api", vec![backend("api@1", 100, &[application.address])]);
    api.rule.strip_prefix = true;
    let address = proxy.route(vec![api]);

    let mut caller = Caller::connect(address);
    let answer = caller.get_with(
        "/api/x?y=1",
        "X-Forwarded-For: 6.6.6.6\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nTE: gzip\r\n",
    );
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    assert_eq!(answer.header("server"), None, "nothing is added to it");
    let seen = application.seen().remove(0);
    assert_eq!(seen.target(), "/x?y=1");
    assert_eq!(seen.header("host"), Some("shop"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-request-id").map(str::len), Some(32));
    assert_eq!(seen.header("x-mine"), None);
    assert_eq!(seen.header("te"), None);
    assert_eq!(seen.header("connection"), None);

    let answer = caller.get("/apix");
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("server"), Some("tidegate"));
    assert_eq!(answer.header("tidegate-reason"), Some("no-route"));
    let answer = caller.get_with("/", "Accept: application/json\r\n");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.text().contains("\"reason\":\"no-route\""));
    assert_eq!(proxy.counted("api@1"), (1, 0));
    assert_eq!(proxy.traffic().unanswered.total(), 2);
    assert_eq!(application.open(), 1);
}

#[test]
fn a_header_reaches_a_revision_without_a_share() {
    let stable = Application::saying("stable");
    let candidate = Application::saying("candidate");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![
        backend("api@1", 100, &[stable.address]),
        backend("api@2", 0, &[candidate.address]),
    ]));
    let mut caller = Caller::connect(address);
    for (header, wanted) in [
        ("", "stable"),
        ("Tidegate-Revision: candidate\r\n", "candidate"),
        ("Tidegate-Revision: api@2\r\n", "candidate"),
        ("Tidegate-Revision: api@1\r\n", "stable"),
        ("Tidegate-Revision: unheard-of\r\n", "stable"),
    ] {
        assert_eq!(caller.get_with("/", header).text(), wanted, "{header}");
    }
    let missing = caller.get_with("/", "Tidegate-Revision: api@3\r\n");
    assert_eq!(missing.header("tidegate-reason"), Some("no-such-revision"));
    let seen = candidate.seen();
    assert!(seen.iter().all(|seen| seen.header("tidegate-revision").is_none()));
}

#[test]
fn answers_without_a_body_stay_so() {
    let application = Application::start(|seen, stream| {
        let answer = match seen.target() {
            "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/same" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
            "/early" => {
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            }
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        };
        stream.get_mut().write_all(answer.as_bytes()).is_ok()
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    let head = caller.head("/");
    assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
    assert_eq!(caller.get("/none").status, 204);
    assert_eq!(caller.get("/same").header("etag"), Some("\"a\""));
    assert_eq!(caller.get("/early").text(), "ok");
    assert_eq!(application.open(), 1, "one connection did for all");
    assert_eq!(proxy.counted("api@1"), (4, 0));
}

#[test]
fn an_answer_streams_as_it_comes() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let application = Application::start(move |_, stream| {
        let stream = stream.get_mut();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for part in ["4\r\none\n\r\n", "4\r\ntwo\n\r\n", "0\r\n\r\n"] {
            stream.write_all(part.as_bytes()).unwrap();
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        true
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    caller.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(caller.read_head().unwrap().status, 200);
    // Nothing more is sent until the part before has been read at the other end.
    assert_eq!(caller.chunk().unwrap().unwrap(), b"one\n");
    assert_eq!(proxy.in_flight("api@1", 1), 1);
    release.send(()).unwrap();
    assert_eq!(caller.chunk().unwrap().unwrap(), b"two\n");
    assert_eq!(proxy.counted("api@1"), (0, 0), "it has not ended");
    release.send(()).unwrap();
    assert_eq!(caller.chunk().unwrap(), None);
    release.send(()).unwrap();
    assert_eq!(proxy.counted("api@1"), (1, 0));
    assert_eq!(proxy.in_flight("api@1", 1), 0);
}

#[test]
fn a_request_streams_as_it_comes() {
    let (tell, told) = mpsc::channel();
    let application = Application::start(move |seen, stream| {
        assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
        assert_eq!(seen.header("expect"), None);
        for wanted in ["3\r\none\r\n", "3\r\ntwo\r\n0\r\n\r\n"] {
            let mut part = vec![0; wanted.len()];
            stream.read_exact(&mut part).unwrap();
            tell.send(part == wanted.as_bytes()).unwrap();
        }
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    for method in ["POST", "GET"] {
        let mut caller = Caller::connect(address);
        caller.send(format!(
            "{method} / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\
             Expect: 100-continue\r\n\r\n"
        ));
        assert_eq!(caller.read_head().unwrap().status, 100);
        caller.send("3\r\none\r\n");
        assert!(told.recv_timeout(PATIENCE).unwrap(), "{method}");
        caller.send("3\r\ntwo\r\n0\r\n\r\n");
        assert!(told.recv_timeout(PATIENCE).unwrap(), "{method}");
        assert_eq!(caller.answer().unwrap().text(), "ok");
    }
}

#[test]
fn a_slow_client_holds_back_the_application() {
    const WHOLE: usize = 64 << 20;
    let (tell, told) = mpsc::channel();
    let application = Application::start(move |_, stream| {
        let stream = stream.get_mut();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let chunk = vec![0; 64 * 1024];
        let mut written = 0;
        while written < WHOLE {
            match stream.write(&chunk) {
                Ok(count) => written += count,
                Err(_) => break,
            }
        }
        tell.send(written).unwrap();
        false
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    caller.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    caller.read_head().unwrap();
    let written = told.recv_timeout(PATIENCE).unwrap();
    assert!(written < WHOLE, "everything was buffered somewhere");
}

#[test]
fn a_websocket_passes_and_counts_as_in_flight() {
    let application = Application::start(|seen, stream| {
        if seen.header("upgrade") != Some("websocket") {
            return stream
                .get_mut()
                .write_all(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
                .is_ok();
        }
        assert_eq!(seen.header("connection"), Some("upgrade"));
        assert_eq!(seen.header("sec-websocket-key"), Some("abc"));
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Accept: xyz\r\n\r\n";
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.get_mut().write_all(&byte).unwrap();
        }
        false
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n";
    let answer = caller.get_with("/", upgrade);
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-accept"), Some("xyz"));
    assert_eq!(answer.header("connection"), Some("upgrade"));
    for message in ["hello\n\n", "GET / HTTP/1.1\r\nbad"] {
        caller.send(message);
        assert_eq!(caller.bytes(message.len()).unwrap(), message.as_bytes());
    }
    assert_eq!(proxy.in_flight("api@1", 1), 1);
    assert_eq!(proxy.counted("api@1"), (1, 0));
    // No table names it any more: it is still known to drain.
    proxy.route(all(vec![]));
    assert_eq!(proxy.in_flight("api@1", 1), 1);
    drop(caller);
    eventually("the upgraded connection ends", || (proxy.in_flight("api@1", 1) == 0).then_some(()));
    assert_eq!(proxy.counted("api@1"), (1, 0));

    // Other upgrades are not passed on.
    proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let answer = Caller::connect(address).get_with("/", "Connection: Upgrade\r\nUpgrade: h2c\r\n");
    assert_eq!(answer.status, 426);
}

#[test]
fn nobody_ready_is_said_so() {
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[])]));
    let answer = get(address, "/");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("tidegate-reason"), Some("nobody-ready"));
    assert_eq!(proxy.traffic().unanswered.total(), 1);
    assert_eq!(proxy.counted("api@1"), (0, 0));
}

#[test]
fn a_backend_without_endpoints_gives_its_share_away() {
    let other = Application::saying("other");
    let proxy = Proxy::start();
    let mut empty = backend("api@1", 90, &[]);
    empty.upstream = Upstream::Endpoints(vec![]);
    let address = proxy.route(all(vec![empty, backend("api@2", 10, &[other.address])]));
    let mut caller = Caller::connect(address);
    for _ in 0..50 {
        assert_eq!(caller.get("/").text(), "other");
    }
}
