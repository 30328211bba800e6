//! Plain requests are answered without the HTTP library, and nobody can tell by the answer.

use std::{
    io::Write as _,
    sync::{
        Mutex,
        mpsc::{self, Sender},
    },
    time::Duration,
};

use tidegate_proxy::Limits;
use tidegate_types::{Sticky, data_plane::ProxyRoute};

use crate::{
    harness::{Caller, PATIENCE, Proxy, all, backend, eventually, route},
    upstream::{Application, Seen},
};

/// A line end before a request is allowed, and left to the library.
const BY_THE_LIBRARY: &str = "\r\n";

/// What an application sends, and whether it closes the connection then.
const ANSWERS: &[(&str, bool)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true),
    ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", false),
    ("HTTP/1.1 418 I am a teapot\r\nContent-Length: 2\r\n\r\n{}", false),
    ("HTTP/1.1 299\r\nContent-Length: 1\r\n\r\nx", false),
    ("HTTP/1.1 500 Oh\r\nContent-Length: 1\r\nRetry-After: 3\r\n\r\nx", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\nA: b\r\n\r\n",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        false,
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", true),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", true),
    ("HTTP/1.1 200 OK\r\n\r\nuntil the end", true),
    ("HTTP/1.1 200 OK\r\n\r\n", true),
    ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", true),
    ("HTTP/1.0 200 OK\r\n\r\nuntil the end", true),
    ("HTTP/1.1 204 No Content\r\n\r\n", false),
    ("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", false),
    ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
    (
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        false,
    ),
    ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", true),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-a, close\r\nX-A: 1\r\nX-B: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok",
        true,
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Odd: \u{e9}\tx\r\nX-Empty:\r\n\r\nok", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", true),
    ("HTTP/1.1 200 OK\r\nA header: x\r\nContent-Length: 0\r\n\r\n", true),
    ("garbage\r\n\r\n", true),
    ("", true),
    ("HTTP/1.1 200 O", true),
];

/// Sends what the path names, in pieces of this size.
fn answering(piece: usize) -> Application {
    Application::start(move |seen, stream| {
        let number: usize = seen.target().trim_start_matches('/').parse().unwrap();
        let (answer, closes) = ANSWERS[number];
        let is_head = seen.head.starts_with("HEAD");
        let (before, rest) = answer.split_at(answer.find("HTTP/1.1 200").unwrap_or(0));
        let head = rest.find("\r\n\r\n").map_or(rest.len(), |end| end + 4);
        let bytes =
            if is_head { &answer.as_bytes()[..before.len() + head] } else { answer.as_bytes() };
        bytes.chunks(piece).all(|piece| stream.get_mut().write_all(piece).is_ok()) && !closes
    })
}

/// What a client sees: the status line with the headers in order of their names, the body, and
/// whether the connection goes on. None when there is no whole answer.
type Sight = Option<(Vec<String>, Vec<u8>, bool)>;

fn sight(caller: &mut Caller, before: &str, method: &str, number: usize) -> Sight {
    caller.send(format!(
        "{before}{method} /{number} HTTP/1.1\r\nHost: shop\r\nX-Name: Value\r\nCookie: a=1\r\n\
         Accept: application/json\r\n\r\n"
    ));
    let answer = if method == "HEAD" { caller.read_head() } else { caller.answer() }.ok()?;
    // The next one shows where this one has ended.
    caller.send("OPTIONS /0 HTTP/1.1\r\nHost: shop\r\n\r\n");
    let goes_on = caller.answer().is_ok_and(|next| next.text() == "hello");
    Some((lines(&answer.head), answer.body, goes_on))
}

/// Without what differs by nature.
fn lines(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = head
        .trim_end()
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {}", name.to_ascii_lowercase(), value.trim()),
            None => line.trim_end_matches(':').to_ascii_lowercase(),
        })
        .filter(|line| !line.starts_with("date: ") && !line.starts_with("x-request-id: "))
        .collect();
    lines[1..].sort();
    lines
}

#[test]
fn an_answer_is_the_same_with_and_without_the_library() {
    for piece in [usize::MAX, 1] {
        for method in ["GET", "HEAD"] {
            for (number, sent) in ANSWERS.iter().enumerate() {
                let application = answering(piece);
                // Nobody is left alone or tried again for what others were told.
                let limits = Limits { ejection_failures: u32::MAX, ..Limits::default() };
                let proxy = Proxy::start_with(limits);
                let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
                let [plain, library] = ["", BY_THE_LIBRARY]
                    .map(|before| sight(&mut Caller::connect(address), before, method, number));
                assert_eq!(plain, library, "{method} {sent:?}");
                assert_seen(&application.seen(), method);
            }
        }
    }
}

/// The application has seen both ways, and the same by both.
fn assert_seen(seen: &[Seen], method: &str) {
    let of = |name: &str| {
        let mut heads = seen.iter().filter(|seen| seen.head.starts_with(method));
        heads.find(|seen| seen.head.contains(name)).map(|seen| lines(&seen.head))
    };
    let (plain, library) = (of("X-Name: Value"), of("x-name: Value"));
    assert!(plain.is_some(), "the library writes names in its own way");
    assert_eq!(plain, library);
}

#[test]
fn the_same_is_counted_with_and_without_the_library() {
    for (number, sent) in ANSWERS.iter().enumerate() {
        let counted = ["", BY_THE_LIBRARY].map(|before| {
            let application = answering(usize::MAX);
            let proxy = Proxy::start();
            let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
            let mut caller = Caller::connect(address);
            caller.send(format!("{before}GET /{number} HTTP/1.1\r\nHost: shop\r\n\r\n"));
            let _ = caller.answer();
            eventually("it is counted", || {
                let traffic = proxy.traffic();
                let counters = traffic.revisions.values().next()?;
                (counters.requests() > 0).then(|| (counters.ended.clone(), counters.sent))
            })
        });
        assert_eq!(counted[0], counted[1], "{sent:?}");
    }
}

#[test]
fn requests_in_one_breath_are_answered_one_after_the_other() {
    let application = Application::start(|seen, stream| {
        let target = seen.target();
        let length = target.len();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{target}");
        stream.get_mut().write_all(text.as_bytes()).is_ok()
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    let requests: String = (0..200)
        .map(|number| match number {
            // From here on the library answers.
            150 => format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            _ => format!("GET /{number} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(number)),
        })
        .collect();
    for part in requests.as_bytes().chunks(777) {
        caller.send(part);
    }
    for number in 0..200 {
        assert_eq!(caller.answer().unwrap().text(), format!("/{number}"));
    }
    let posted = application.seen().into_iter().find(|seen| seen.target() == "/150").unwrap();
    assert_eq!(posted.body, b"abc");
}

/// An application that answers a part of its body for each word.
fn speaking() -> (Application, Sender<&'static str>) {
    let (words, heard) = mpsc::channel::<&'static str>();
    let heard = Mutex::new(heard);
    let application = Application::start(move |_, stream| {
        let stream = stream.get_mut();
        let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        if stream.write_all(begin).is_err() {
            return false;
        }
        while let Ok(word) = heard.lock().unwrap().recv_timeout(PATIENCE) {
            let chunk = format!("{:x}\r\n{word}\r\n", word.len());
            if stream.write_all(chunk.as_bytes()).is_err() {
                return false;
            }
        }
        false
    });
    (application, words)
}

#[test]
fn each_part_of_an_answer_comes_as_soon_as_it_is_there() {
    let (application, words) = speaking();
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    caller.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    caller.read_head().unwrap();
    for word in ["first", "second"] {
        words.send(word).unwrap();
        assert_eq!(caller.chunk().unwrap().unwrap(), word.as_bytes());
    }
    assert_eq!(proxy.in_flight("api@1", 1), 1);
    // The endpoint is let go as soon as nobody listens, and not when it speaks again.
    drop(caller);
    eventually("nobody listens", || (proxy.in_flight("api@1", 1) == 0).then_some(()));
    eventually("it is told", || {
        // It notices when it speaks.
        let _ = words.send("x");
        (application.open() == 0).then_some(())
    });
}

#[test]
fn a_client_that_does_not_read_holds_an_answer_up_and_gets_all_of_it() {
    let large = "x".repeat(20_000_000);
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{large}", large.len());
    let application = Application::start(move |seen, stream| match seen.target() {
        "/large" => stream.get_mut().write_all(text.as_bytes()).is_ok(),
        _ => stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_ok(),
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut slow = Caller::connect(address);
    slow.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(slow.read_head().unwrap().status, 200);
    for _ in 0..10 {
        assert_eq!(Caller::connect(address).get("/").status, 204, "others are not held up");
    }
    assert_eq!(proxy.in_flight("api@1", 1), 1);
    assert_eq!(slow.bytes(large.len()).unwrap(), large.as_bytes());
    assert_eq!(slow.get("/").status, 204);
}

#[test]
fn visitors_are_known_again_and_their_cookies_are_kept_from_the_application() {
    let applications = [Application::saying("old"), Application::saying("new")];
    let proxy = Proxy::start();
    let routes = || {
        let mut routes: Vec<ProxyRoute> = vec![route(
            "/",
            vec![
                backend("api@1", 50, &[applications[0].address]),
                backend("api@2", 50, &[applications[1].address]),
            ],
        )];
        routes[0].rule.handling.sticky = Some(Sticky::Cookie);
        routes
    };
    let address = proxy.route(routes());
    for _ in 0..20 {
        let mut caller = Caller::connect(address);
        let first = caller.get_with("/", "X-Plain: 1\r\n");
        let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        for headers in [format!("Cookie: a=1; {cookie}; b=2\r\n"), format!("Cookie: {cookie}\r\n")]
        {
            let again = caller.get_with("/", &headers);
            assert_eq!((again.text(), again.header("set-cookie")), (first.text(), None));
        }
    }
    for seen in applications.iter().flat_map(Application::seen) {
        assert!(!seen.head.contains("tidegate-visitor"), "{}", seen.head);
        let cookie = seen.header("cookie");
        assert!(cookie.is_none_or(|cookie| cookie == "a=1; b=2"), "{}", seen.head);
    }
}

#[test]
fn a_silent_connection_ends_with_the_proxy_and_a_slow_head_is_not_waited_for() {
    let application = Application::saying("hello");
    let limits = Limits {
        request_head: Duration::from_millis(100),
        client_idle: Duration::from_millis(400),
        ..Limits::default()
    };
    let mut proxy = Proxy::start_with(limits);
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut slow = Caller::connect(address);
    assert_eq!(slow.get("/").text(), "hello");
    slow.send("GET / HT");
    assert!(slow.is_closed(), "the head took too long");
    let mut silent = Caller::connect(address);
    assert_eq!(silent.get("/").text(), "hello");
    assert!(silent.is_closed(), "it said nothing for too long");
    let limits = Limits { client_idle: PATIENCE * 2, ..Limits::default() };
    drop(proxy);
    proxy = Proxy::start_with(limits);
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut silent = Caller::connect(address);
    assert_eq!(silent.get("/").text(), "hello");
    proxy.shutdown();
    assert!(silent.is_closed(), "the proxy has ended");
    proxy.join();
}

#[test]
fn what_proxies_say_that_are_trusted_is_believed_by_both_ways_alike() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let mut table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
    table.gateway.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let address = proxy.publish(&table).unwrap().address;
    let said = [
        "X-Forwarded-For: 9.9.9.9, 8.8.8.8, 127.0.0.2\r\nX-Forwarded-Proto: https\r\n",
        "Forwarded: for=9.9.9.9;proto=https;host=shop.test, for=127.0.0.3\r\n",
        "X-Forwarded-For: nonsense\r\nX-Forwarded-Host: shop.test\r\n",
        "",
    ];
    for headers in said {
        for before in ["", BY_THE_LIBRARY] {
            let mut caller = Caller::connect(address);
            caller.send(format!(
                "{before}GET / HTTP/1.1\r\nHost: shop\r\nX-Name: Value\r\n{headers}\r\n"
            ));
            assert_eq!(caller.answer().unwrap().text(), "hello");
        }
        let seen = application.seen();
        let [.., plain, library] = seen.as_slice() else { panic!("both have been seen") };
        assert!(plain.head.contains("X-Name: Value"), "without the library");
        assert_eq!(lines(&plain.head), lines(&library.head), "{headers}");
        let client = plain.header("x-forwarded-for").unwrap();
        assert_eq!(client.starts_with("8.8.8.8"), headers.starts_with("X-Forwarded-For: 9"));
    }
}
