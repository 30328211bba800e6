//! Clients that mean harm.

use std::time::Duration;

use tidegate_proxy::Limits;

use crate::{
    harness::{Caller, Proxy, all, backend, eventually},
    upstream::Application,
};

#[test]
fn ambiguous_requests_are_refused() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET http://evil/ HTTP/1.1\r\nHost: shop\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET /../secret HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x/%2e%2e/secret HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Forwarded-For\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let mut caller = Caller::connect(address);
        caller.send(bytes);
        assert_eq!(caller.answer().unwrap().status, 400, "{bytes:?}");
        assert!(caller.is_closed(), "{bytes:?}");
    }
    assert_eq!(application.seen().len(), 0);
    // None of it is a failure of the revision.
    assert_eq!(proxy.counted("api@1"), (0, 0));
}

#[test]
fn a_hidden_request_is_not_seen_as_one() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    caller.send("POST /outer HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\n\r\n");
    caller.send("GET /hidden HTTP/1.1\r\nHost: hidden\r\n\r\n");
    assert_eq!(caller.answer().unwrap().text(), "hello");
    assert_eq!(caller.get("/next").text(), "hello");
    let targets: Vec<_> = application.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(targets, ["/outer", "/next"]);
}

#[test]
fn an_absolute_target_for_the_same_host_is_passed_as_a_path() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    caller.send("GET http://SHOP/x?y HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(caller.answer().unwrap().status, 200);
    caller.send("OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(caller.answer().unwrap().status, 200);
    let seen = application.seen();
    assert_eq!(seen[0].target(), "/x?y");
    assert_eq!(seen[1].target(), "*");
}

#[test]
fn a_head_that_is_too_large_or_too_slow_ends_the_connection() {
    let proxy = Proxy::start_with(Limits {
        request_head: Duration::from_millis(200),
        client_idle: Duration::from_millis(300),
        ..Limits::default()
    });
    let address = proxy.route(vec![]);
    let mut slow = Caller::connect(address);
    slow.send("GET / HTTP/1.1\r\nHost: sh");
    assert!(slow.is_closed());
    // On a busy machine, the test itself may be too slow for this limit.
    let mut idle = eventually("an answer in time", || {
        let mut caller = Caller::connect(address);
        caller.try_get("/", "").is_ok().then_some(caller)
    });
    assert!(idle.is_closed());
    let mut silent = Caller::connect(address);
    assert!(silent.is_closed());

    let proxy = Proxy::start();
    let mut large = Caller::connect(proxy.route(vec![]));
    large.send(format!("GET / HTTP/1.1\r\nHost: shop\r\nX: {}", "x".repeat(64 * 1024)));
    assert_eq!(large.answer().unwrap().status, 431);
}

#[test]
fn a_client_that_goes_away_is_nobodys_failure() {
    let application = Application::start(|_, stream| {
        use std::io::Read as _;
        // Never answers; ends when the proxy closes the connection.
        let _ = stream.read_to_end(&mut Vec::new());
        false
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    caller.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    eventually("it is in flight", || (proxy.in_flight("api@1", 1) == 1).then_some(()));
    drop(caller);
    eventually("the application is let go", || {
        (application.open() == 0 && proxy.in_flight("api@1", 1) == 0).then_some(())
    });
    assert_eq!(proxy.counted("api@1"), (1, 0));
    // In the middle of a body, too.
    let mut caller = Caller::connect(address);
    caller.send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    eventually("it is in flight", || (proxy.in_flight("api@1", 1) == 1).then_some(()));
    drop(caller);
    eventually("the application is let go", || {
        (application.open() == 0 && proxy.in_flight("api@1", 1) == 0).then_some(())
    });
    assert_eq!(proxy.counted("api@1").1, 0);
}
