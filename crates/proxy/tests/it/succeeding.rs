//! A proxy takes the place of another.

use std::{
    io::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
};

use tidegate_proxy::{Error, Limits, Options, run_with};
use tidegate_types::{Concurrency, Duration as Span, RevisionId};

use crate::{
    harness::{Caller, PATIENCE, Proxy, Stop, Word, all, backend, eventually, get},
    upstream::Application,
};

#[test]
fn ten_successions_under_load_lose_nothing() {
    let application = Application::saying("hello");
    let mut proxy = Proxy::start();
    let routes = || all(vec![backend("api@1", 100, &[application.address])]);
    let address = proxy.route(routes());
    let (stop, sent, closed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let load_ends = Stop(&stop);
        for number in 0..4 {
            let (stop, sent, closed) = (&stop, &sent, &closed);
            threads.spawn(move || {
                let mut caller = Caller::connect(address);
                while !stop.load(SeqCst) {
                    if number == 0 {
                        caller = Caller::connect(address);
                    }
                    let answer = match number {
                        1 => caller.post("/", "something"),
                        _ => caller.get("/"),
                    };
                    assert_eq!((answer.status, answer.text()), (200, "hello"));
                    sent.fetch_add(1, SeqCst);
                    // The word of the predecessor: nobody sends into a connection that ends.
                    if answer.header("connection") == Some("close") {
                        assert!(caller.is_closed());
                        caller = Caller::connect(address);
                        closed.fetch_add(1, SeqCst);
                    }
                }
            });
        }
        for _ in 0..10 {
            let before = sent.load(SeqCst);
            eventually("there is load", || (sent.load(SeqCst) > before + 20).then_some(()));
            let counted = proxy.counted("api@1").0;
            let former = proxy.succeed();
            assert!(proxy.counted("api@1").0 >= counted, "nothing is forgotten for a moment");
            assert_eq!(proxy.route(routes()), address);
            former.join();
        }
        drop(load_ends);
    });
    assert!(closed.load(SeqCst) >= 10, "connections went over to the successors");
    let all = (sent.load(SeqCst), 0);
    eventually("all is counted", || (proxy.counted("api@1") == all).then_some(()));
    assert_eq!(proxy.in_flight("api@1", 1), 0);
}

/// An application that answers when it is told to.
fn waiting() -> (Application, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let application = Application::start(move |seen, stream| {
        if seen.target() == "/slow" {
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold").is_ok()
    });
    (application, release)
}

#[test]
fn what_is_in_flight_outlasts_two_successions_and_is_known_of() {
    let (application, release) = waiting();
    let mut proxy = Proxy::start();
    let routes = || all(vec![backend("api@1", 100, &[application.address])]);
    let address = proxy.route(routes());
    let mut slow = Caller::connect(address);
    slow.send("GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n");
    eventually("it is in flight", || (proxy.in_flight("api@1", 1) == 1).then_some(()));
    let first = proxy.succeed();
    assert_eq!(proxy.in_flight("api@1", 1), 1, "in the first");
    let second = proxy.succeed();
    assert_eq!(proxy.in_flight("api@1", 1), 1, "still in the first");
    assert_eq!(get(address, "/").text(), "old");
    proxy.route(all(vec![]));
    assert_eq!(proxy.in_flight("api@1", 1), 1, "no table names it");
    assert!(!first.has_ended() && !second.has_ended());
    release.send(()).unwrap();
    let answer = slow.answer().unwrap();
    assert_eq!((answer.text(), answer.header("connection")), ("old", Some("close")));
    first.join();
    second.join();
    // Its last word comes a moment after its end.
    eventually("all is counted", || (proxy.counted("api@1") == (2, 0)).then_some(()));
    assert_eq!(proxy.in_flight("api@1", 1), 0);
}

#[test]
fn an_old_connection_follows_new_tables_and_then_ends() {
    let (old, new) = (Application::saying("old"), Application::saying("new"));
    let mut proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[old.address])]));
    let mut callers: Vec<Caller> = (0..4).map(|_| Caller::connect(address)).collect();
    for caller in &mut callers {
        assert_eq!(caller.get("/").text(), "old");
    }
    let former = proxy.succeed();
    proxy.route(all(vec![backend("api@2", 100, &[new.address])]));
    for caller in &mut callers {
        let answer = caller.get("/");
        assert_eq!((answer.text(), answer.header("connection")), ("new", Some("close")));
        assert!(caller.is_closed());
    }
    former.join();
}

#[test]
fn a_successor_that_vanishes_changes_nothing() {
    let application = Application::saying("hello");
    let mut proxy = Proxy::start();
    let routes = || all(vec![backend("api@1", 100, &[application.address])]);
    let address = proxy.route(routes());
    let mut idle = Caller::connect(address);
    assert_eq!(idle.get("/").text(), "hello");
    for words in [None, Some("{\"traffic\":\"shop/production\"}"), Some("nonsense")] {
        let mut asking = Word::with(&proxy.socket());
        asking.say("\"hand_over\"");
        let answer = asking.hear();
        assert!(answer.contains("handed_over"), "{answer}");
        if let Some(words) = words {
            asking.say(words);
            assert_eq!(asking.hear(), "", "it hangs up on who does not take over");
        }
    }
    assert_eq!(proxy.route(routes()), address);
    let answer = idle.get("/");
    assert_eq!((answer.text(), answer.header("connection")), ("hello", None));
    drop(idle);
    // Whoever means it is still welcome.
    proxy.succeed().join();
    assert_eq!(get(address, "/").text(), "hello");
}

#[test]
fn a_predecessor_ends_when_its_successor_does() {
    let (application, release) = waiting();
    let mut proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut slow = Caller::connect(address);
    slow.send("GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n");
    eventually("it is in flight", || (proxy.in_flight("api@1", 1) == 1).then_some(()));
    let mut idle = Caller::connect(address);
    assert_eq!(idle.get("/").text(), "old");
    let former = proxy.succeed();
    proxy.shutdown();
    // By then the workers have been told more than once to close what is idle.
    assert!(idle.is_closed());
    assert!(!former.has_ended());
    release.send(()).unwrap();
    assert_eq!(slow.answer().unwrap().text(), "old");
    former.join();
    proxy.join();
}

#[test]
fn who_would_take_over_from_nobody_does_not_start() {
    let mut proxy = Proxy::start();
    proxy.shutdown();
    proxy.join();
    let noted = || std::fs::read_to_string(proxy.options().home.join("proxy.lock")).unwrap();
    let before = noted();
    let outcome = run_with(Options { take_over: true, ..proxy.options() }, Limits::default());
    assert!(matches!(outcome, Err(Error::NobodyRuns { .. })), "{outcome:?}");
    assert_eq!(noted(), before, "nobody takes it for the proxy in charge");
    proxy.begin();
}

#[test]
fn who_waits_in_the_queue_of_the_former_proxy_is_answered_by_it() {
    let (application, release) = waiting();
    let mut proxy = Proxy::start();
    let mut routes = all(vec![backend("api@1", 100, &[application.address])]);
    let wait = Span::from_hours(1);
    routes[0].rule.handling.concurrency = Some(Concurrency { limit: 1, queue: 1, wait });
    let address = proxy.route(routes);
    let mut slow = Caller::connect(address);
    slow.send("GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n");
    eventually("it is in flight", || (proxy.in_flight("api@1", 1) == 1).then_some(()));
    let mut queued = Caller::connect(address);
    queued.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    let waiting = || proxy.health().queues[&RevisionId::new("api@1")].waiting;
    eventually("it waits", || (waiting() == 1).then_some(()));
    let former = proxy.succeed();
    assert!(!former.has_ended());
    assert_eq!(get(address, "/").status, 200, "the successor counts its own");
    release.send(()).unwrap();
    for mut caller in [slow, queued] {
        let answer = caller.answer().unwrap();
        assert_eq!((answer.text(), answer.header("connection")), ("old", Some("close")));
    }
    former.join();
}
