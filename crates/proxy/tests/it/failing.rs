//! Applications that fail.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use tidegate_proxy::Limits;
use tidegate_types::data_plane::ProxyBackend;

use crate::{
    harness::{Caller, Proxy, Stop, all, backend, eventually, get},
    upstream::Application,
};

#[test]
fn a_killed_endpoint_costs_no_get() {
    let proxy = Proxy::start();
    let staying = Application::saying("hello");
    let mut dying = Application::saying("hello");
    let addresses = [staying.address, dying.address];
    let address = proxy.route(all(vec![backend("api@1", 100, &addresses)]));
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    std::thread::scope(|threads| {
        let load_ends = Stop(&stop);
        for number in 0..4 {
            let (stop, sent) = (&stop, &sent);
            threads.spawn(move || {
                let mut caller = Caller::connect(address);
                while !stop.load(SeqCst) {
                    if number == 0 {
                        caller = Caller::connect(address);
                    }
                    let answer = caller.get("/");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    sent.fetch_add(1, SeqCst);
                }
            });
        }
        for _ in 0..5 {
            eventually("both are used", || (dying.seen().len() > 20).then_some(()));
            dying.kill();
            let at = sent.load(SeqCst);
            eventually("requests go on", || (sent.load(SeqCst) > at + 200).then_some(()));
            dying = Application::saying("hello");
            let addresses = [staying.address, dying.address];
            proxy.route(all(vec![backend("api@1", 100, &addresses)]));
        }
        drop(load_ends);
    });
    assert_eq!(proxy.counted("api@1"), (sent.load(SeqCst), 0));
}

#[test]
fn a_post_survives_a_connection_that_was_closed_meanwhile() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    for round in 0..50 {
        assert_eq!(caller.post("/", "something").text(), "hello", "round {round}");
        application.close_connections();
        eventually("it is closed", || (application.open() == 0).then_some(()));
    }
    let seen = application.seen();
    assert_eq!(seen.len(), 50, "each was sent once");
    assert!(seen.iter().all(|seen| seen.body == b"something"));
    assert_eq!(proxy.counted("api@1"), (50, 0));
}

#[test]
fn a_revision_that_cannot_be_reached_is_stood_in_for_and_blamed() {
    let stable = Application::saying("stable");
    let mut candidate = Application::saying("candidate");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![
        backend("api@1", 50, &[stable.address]),
        backend("api@2", 50, &[candidate.address]),
    ]));
    candidate.kill();
    let mut caller = Caller::connect(address);
    for number in 0..40 {
        let answer = if number % 2 == 0 { caller.get("/") } else { caller.post("/", "x") };
        assert_eq!(answer.text(), "stable");
    }
    let (requests, errors) = proxy.counted("api@2");
    assert!(requests > 0);
    assert_eq!(requests, errors);
    assert_eq!(proxy.counted("api@1"), (40, 0));
    // Who asks for it gets nothing else.
    let answer = caller.get_with("/", "Tidegate-Revision: api@2\r\n");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("tidegate-reason"), Some("nobody-ready"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(proxy.counted("api@2"), (requests + 1, errors + 1));
}

#[test]
fn who_served_before_answers_when_nobody_with_a_share_can_be_asked() {
    let former = Application::saying("former");
    let mut latest = Application::saying("latest");
    let proxy = Proxy::start();
    let after_the_shift = |endpoints: &[SocketAddr]| {
        let role = |mut backend: ProxyBackend, role: &str| {
            role.clone_into(&mut backend.role);
            backend
        };
        all(vec![
            role(backend("api@1", 0, &[former.address]), "stable"),
            role(backend("api@2", 100, endpoints), "candidate"),
        ])
    };
    let address = proxy.route(after_the_shift(&[latest.address]));
    let mut caller = Caller::connect(address);
    assert_eq!(caller.get("/").text(), "latest");
    latest.kill();
    // Before the table says that it is gone, and afterwards.
    assert_eq!(caller.get("/").text(), "former");
    assert_eq!(caller.post("/", "x").text(), "former");
    proxy.route(after_the_shift(&[]));
    assert_eq!(caller.get("/").text(), "former");
    assert_eq!(proxy.counted("api@2").1, 2, "the failures are its own");
    assert_eq!(proxy.counted("api@1"), (3, 0));
    // It comes back, and has its share again.
    let latest = Application::saying("latest");
    proxy.route(after_the_shift(&[latest.address]));
    assert_eq!(caller.get("/").text(), "latest");
}

#[test]
fn what_is_new_does_not_stand_in_for_what_serves() {
    let mut stable = Application::saying("stable");
    let candidate = Application::saying("candidate");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![
        backend("api@1", 100, &[stable.address]),
        backend("api@2", 0, &[candidate.address]),
    ]));
    stable.kill();
    for answer in [get(address, "/"), Caller::connect(address).post("/", "x")] {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("tidegate-reason"), Some("nobody-ready"));
    }
    assert!(candidate.seen().is_empty());
}

#[test]
fn failures_are_counted_where_they_belong() {
    let broken = Application::sending("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[broken.address])]));
    assert_eq!(get(address, "/").text(), "oops", "passed as it is");
    assert_eq!(proxy.counted("api@1"), (1, 1));

    let closing = Application::start(|_, _| false);
    proxy.route(all(vec![backend("api@2", 100, &[closing.address])]));
    assert_eq!(Caller::connect(address).post("/", "x").status, 502);
    assert_eq!(closing.seen().len(), 1, "a POST is not repeated");
    assert_eq!(proxy.counted("api@2"), (1, 1));
    assert_eq!(get(address, "/").status, 502);
    assert_eq!(proxy.counted("api@2"), (2, 2));

    let garbage = Application::sending("SSH-2.0-OpenSSH_9.9\r\n");
    proxy.route(all(vec![backend("api@3", 100, &[garbage.address])]));
    assert_eq!(get(address, "/").status, 502);

    let cut_off = Application::start(|_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
        false
    });
    proxy.route(all(vec![backend("api@4", 100, &[cut_off.address])]));
    let mut caller = Caller::connect(address);
    let answer = caller.try_get("/", "");
    assert!(answer.is_err(), "half an answer must not look whole: {answer:?}");
    assert_eq!(proxy.counted("api@4"), (1, 1));

    let switching = Application::sending("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    proxy.route(all(vec![backend("api@5", 100, &[switching.address])]));
    assert_eq!(get(address, "/").status, 502);
    assert_eq!(proxy.counted("api@5"), (1, 1));
}

#[test]
fn an_application_that_hangs_is_given_up() {
    let application = Application::start(|_, stream| {
        use std::io::Read as _;
        let _ = stream.read(&mut [0; 1]);
        false
    });
    let proxy =
        Proxy::start_with(Limits { answer_head: Duration::from_millis(200), ..Limits::default() });
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    let answer = caller.get("/");
    assert_eq!(answer.status, 504);
    assert_eq!(answer.header("tidegate-reason"), Some("timeout"));
    assert_eq!(caller.post("/", "x").status, 504);
    eventually("both came in", || (application.seen().len() >= 2).then_some(()));
    assert_eq!(application.seen().len(), 2, "neither is repeated");
    assert_eq!(proxy.counted("api@1"), (2, 2));
    assert_eq!(proxy.traffic().unanswered.total(), 0);
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let application = Application::start(|_, stream| {
        stream
            .get_mut()
            .write_all(
                b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
            )
            .unwrap();
        // Does not read what is still to come.
        false
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    caller.send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let answer = caller.answer().unwrap();
    assert_eq!((answer.status, answer.text()), (413, "big"));
    assert_eq!(proxy.counted("api@1"), (1, 0));
}

#[test]
fn idle_connections_to_an_application_are_closed() {
    let application = Application::saying("hello");
    let proxy = Proxy::start_with(Limits {
        upstream_idle: Duration::from_millis(100),
        ..Limits::default()
    });
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    assert_eq!(caller.get("/").text(), "hello");
    eventually("it is closed", || (application.open() == 0).then_some(()));
    assert_eq!(caller.get("/").text(), "hello");
}
