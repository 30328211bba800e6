//! What is counted of each request, and in which step of time.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use tidegate_proxy::Limits;
use tidegate_types::{
    Bucket, Buckets, Concurrency, Counters, Mark, Outcome, RevisionId, Share,
    data_plane::{ProxyBackend, Upstream},
};

use crate::{
    harness::{Caller, Proxy, Stop, all, backend, eventually, get, socket_to},
    upstream::Application,
};

fn counters(proxy: &Proxy, revision: &str) -> Counters {
    let mut traffic = proxy.traffic();
    traffic.revisions.remove(&RevisionId::new(revision)).unwrap_or_default()
}

fn ended(proxy: &Proxy, revision: &str) -> BTreeMap<&'static str, u64> {
    let counters = counters(proxy, revision);
    counters.ended.iter().map(|(outcome, count)| (outcome.name(), count)).collect()
}

/// Waits until one request has ended, and says how.
fn only_end(proxy: &Proxy, revision: &str) -> Outcome {
    let ended = eventually("a request is counted", || {
        let ended: Vec<_> = counters(proxy, revision).ended.iter().collect();
        (!ended.is_empty()).then_some(ended)
    });
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0].1, 1, "{ended:?}");
    ended[0].0
}

/// Waits for the connection to be closed, and does nothing.
fn hanging() -> Application {
    Application::start(|_, stream| {
        let _ = stream.read(&mut [0; 1]);
        false
    })
}

/// Reads nothing and says nothing until the test is over.
fn asleep(over: &Arc<AtomicBool>) -> Application {
    let over = Arc::clone(over);
    Application::start(move |_, _| {
        eventually("the test is over", || over.load(SeqCst).then_some(()));
        false
    })
}

fn impatient() -> Limits {
    let short = Duration::from_millis(200);
    Limits { answer_head: short, connect: short, ..Limits::default() }
}

#[test]
fn every_class_of_answers_is_counted() {
    let application = Application::start(|seen, stream| {
        let status = seen.target().trim_start_matches('/');
        let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 2\r\n\r\nso");
        stream.get_mut().write_all(answer.as_bytes()).is_ok()
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    for status in [200, 201, 302, 400, 404, 429, 500, 503, 999] {
        assert_eq!(caller.get(&format!("/{status}")).status, status);
    }
    let wanted = BTreeMap::from([("2xx", 2), ("3xx", 1), ("4xx", 3), ("5xx", 3)]);
    assert_eq!(ended(&proxy, "api@1"), wanted);
    let counters = counters(&proxy, "api@1");
    assert_eq!((counters.requests(), counters.errors(), counters.sent), (9, 3, 18));
    assert_eq!((counters.latency.count(), counters.first_byte.count()), (9, 9));
}

#[test]
fn bytes_and_times_of_both_halves_are_counted() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let application = Application::start(move |_, stream| {
        let out = stream.get_mut();
        out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
        wait.lock().unwrap().recv().unwrap();
        out.write_all(b"whole").is_ok()
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    caller.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 7\r\n\r\n1234567");
    caller.read_head().unwrap();
    assert_eq!(caller.bytes(4).unwrap(), b"half");
    assert_eq!(counters(&proxy, "api@1"), Counters::default(), "it has not ended");
    let pause = Duration::from_millis(100);
    std::thread::sleep(pause);
    go_on.send(()).unwrap();
    assert_eq!(caller.bytes(5).unwrap(), b"whole");
    let counted = eventually("it has ended", || {
        let counted = counters(&proxy, "api@1");
        (counted.requests() > 0).then_some(counted)
    });
    assert_eq!((counted.received, counted.sent), (7, 9));
    let micros = u64::try_from(pause.as_micros()).unwrap();
    assert!(counted.latency.sum() * 101 / 100 >= counted.first_byte.sum() + micros);
}

#[test]
fn what_endpoints_do_is_blamed_on_them() {
    let proxy = Proxy::start_with(impatient());
    let mut gone = Application::saying("hello");
    gone.kill();
    let silent = hanging();
    let closing = Application::start(|_, _| false);
    let halfway = Application::start(|_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
        false
    });
    let garbage = Application::sending("SSH-2.0-OpenSSH_9.9\r\n");
    let switching = Application::sending("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    let (full, full_address, _filling) = full_backlog();
    for (revision, address, status, outcome) in [
        ("api@1", gone.address, Some(503), Outcome::EndpointConnect),
        ("api@2", full_address, Some(503), Outcome::EndpointConnectTimeout),
        ("api@3", silent.address, Some(504), Outcome::EndpointTimeout),
        ("api@4", closing.address, Some(502), Outcome::EndpointReset),
        ("api@5", halfway.address, None, Outcome::EndpointReset),
        ("api@6", garbage.address, Some(502), Outcome::EndpointMalformed),
        ("api@7", switching.address, Some(502), Outcome::EndpointMalformed),
    ] {
        let gateway = proxy.route(all(vec![backend(revision, 100, &[address])]));
        let mut caller = Caller::connect(gateway);
        caller.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\n\r\nx");
        let answer = caller.answer();
        assert_eq!(answer.ok().map(|answer| answer.status), status, "{outcome:?}");
        assert_eq!(only_end(&proxy, revision), outcome);
        assert_eq!(proxy.counted(revision), (1, 1));
    }
    drop(full);
}

/// An address at which nobody takes connections, and none more can wait to be taken.
pub(crate) fn full_backlog() -> (OwnedFd, SocketAddr, Vec<TcpStream>) {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
    }
    (listener, address, waiting)
}

#[test]
fn an_endpoint_that_takes_no_body_is_blamed_and_not_the_client_that_waits_for_it() {
    let over = Arc::new(AtomicBool::new(false));
    let silent = asleep(&over);
    let proxy = Proxy::start_with(impatient());
    let address = proxy.route(all(vec![backend("api@1", 100, &[silent.address])]));
    let mut stream = socket_to(address);
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    let sending = std::thread::spawn({
        let mut stream = stream.try_clone().unwrap();
        // Until the answer ends the connection.
        move || while stream.write_all(chunk.as_bytes()).is_ok() {}
    });
    assert_eq!(only_end(&proxy, "api@1"), Outcome::EndpointTimeout);
    over.store(true, SeqCst);
    let _ = stream.shutdown(Shutdown::Both);
    sending.join().unwrap();
}

#[test]
fn what_clients_do_is_blamed_on_them_and_not_on_the_revision() {
    let proxy = Proxy::start_with(impatient());
    // It gives up before there is an answer.
    let silent = hanging();
    let patient = Proxy::start();
    let address = patient.route(all(vec![backend("api@1", 100, &[silent.address])]));
    let mut caller = Caller::connect(address);
    caller.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    eventually("it has arrived", || (silent.seen().len() == 1).then_some(()));
    drop(caller);
    assert_eq!(only_end(&patient, "api@1"), Outcome::ClientReset);
    assert_eq!(patient.counted("api@1"), (1, 0));
    assert_eq!(counters(&patient, "api@1").first_byte.count(), 0);

    let over = Arc::new(AtomicBool::new(false));
    let silent = asleep(&over);

    // It gives up in the middle of its own body.
    let address = patient.route(all(vec![backend("api@2", 100, &[silent.address])]));
    let mut caller = Caller::connect(address);
    caller.send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    eventually("it has arrived", || (silent.seen().len() == 1).then_some(()));
    drop(caller);
    assert_eq!(only_end(&patient, "api@2"), Outcome::ClientReset);

    // It gives up in the middle of the answer.
    let endless = Application::start(|_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 1]);
        false
    });
    let address = patient.route(all(vec![backend("api@3", 100, &[endless.address])]));
    let mut caller = Caller::connect(address);
    caller.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(caller.read_head().unwrap().status, 200);
    drop(caller);
    assert_eq!(only_end(&patient, "api@3"), Outcome::ClientReset);
    assert_eq!(counters(&patient, "api@3").first_byte.count(), 1);

    // It falls asleep in the middle of its own body.
    let address = proxy.route(all(vec![backend("api@4", 100, &[silent.address])]));
    let mut caller = Caller::connect(address);
    caller.send("POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let answer = caller.answer().unwrap();
    let told = (answer.status, answer.header("tidegate-reason"), answer.header("connection"));
    assert_eq!(told, (408, Some("request-timeout"), Some("close")));
    assert_eq!(only_end(&proxy, "api@4"), Outcome::ClientTimeout);
    assert_eq!(counters(&proxy, "api@4").received, 3);
    assert_eq!(proxy.counted("api@4"), (1, 0));
    over.store(true, SeqCst);
}

#[test]
fn a_broken_answer_of_a_failed_revision_stays_its_failure() {
    let endless = Application::start(|_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 999999\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 1]);
        false
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[endless.address])]));
    let mut caller = Caller::connect(address);
    caller.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(caller.read_head().unwrap().status, 500);
    drop(caller);
    assert_eq!(only_end(&proxy, "api@1"), Outcome::ServerError);
}

#[test]
fn files_are_counted_and_one_that_shrinks_is_blamed_on_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("small.txt"), "small").unwrap();
    let large = std::fs::File::create(folder.path().join("large.bin")).unwrap();
    large.set_len(1 << 30).unwrap();
    let site = ProxyBackend {
        revision: RevisionId::new("web@1"),
        share: Share::ALL,
        role: "stable".to_owned(),
        upstream: Upstream::Files {
            root: folder.path().to_owned(),
            single_page: false,
            others: vec![],
        },
    };
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![site]));
    let mut caller = Caller::connect(address);
    assert_eq!(caller.get("/small.txt").text(), "small");
    assert_eq!(caller.head("/small.txt").status, 200);
    assert_eq!(caller.get("/absent.txt").status, 404);
    let sent = eventually("all are counted", || {
        let counted = counters(&proxy, "web@1");
        (counted.requests() == 3).then_some(counted.sent)
    });
    assert_eq!(ended(&proxy, "web@1"), BTreeMap::from([("2xx", 2), ("4xx", 1)]));
    assert_eq!(sent, 5 + "There is no such page.\n".len() as u64);

    caller.send("GET /large.bin HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(caller.read_head().unwrap().status, 200);
    large.set_len(0).unwrap();
    let mut last = Vec::new();
    while let Ok(bytes) = caller.bytes(1 << 16) {
        last = bytes;
    }
    assert!(!last.is_empty());
    eventually("it is counted", || {
        (ended(&proxy, "web@1").get("proxy_failed") == Some(&1)).then_some(())
    });
}

#[test]
fn an_upgraded_connection_is_counted_when_it_begins_and_its_bytes_when_it_ends() {
    let application = Application::start(|_, stream| {
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        stream.get_mut().write_all(b"pong and more").unwrap();
        false
    });
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut caller = Caller::connect(address);
    caller
        .send("GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(caller.read_head().unwrap().status, 101);
    assert_eq!(only_end(&proxy, "api@1"), Outcome::Informational);
    assert_eq!(proxy.in_flight("api@1", 1), 1);
    caller.send("ping");
    assert_eq!(caller.bytes(13).unwrap(), b"pong and more");
    assert!(caller.is_closed());
    drop(caller);
    let counted = eventually("its bytes are counted", || {
        let counted = counters(&proxy, "api@1");
        (counted.sent > 0).then_some(counted)
    });
    assert_eq!((counted.received, counted.sent, counted.requests()), (4, 13, 1));
}

#[test]
fn requests_that_nobody_answers_are_counted_by_reason() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let mut routes = all(vec![backend("api@1", 100, &[application.address])]);
    routes[0].rule.path = "/api".to_owned();
    let address = proxy.route(routes);
    assert_eq!(get(address, "/other").status, 404);
    let mut caller = Caller::connect(address);
    assert_eq!(caller.get_with("/api", "Tidegate-Revision: api@9\r\n").status, 404);
    assert_eq!(get(address, "/api/%zz").status, 400);
    assert_eq!(get(address, "/api/%zz").status, 400);
    let mut routes = all(vec![backend("api@1", 100, &[])]);
    routes[0].rule.path = "/api".to_owned();
    proxy.route(routes);
    assert_eq!(get(address, "/api").status, 503);
    let parts = proxy.traffic().unanswered.parts();
    assert_eq!(
        parts,
        [
            ("no_route", 1),
            ("no_such_revision", 1),
            ("nobody_ready", 1),
            ("overloaded", 0),
            ("maintenance", 0),
            ("malformed", 2)
        ]
    );
    assert_eq!(ended(&proxy, "api@1"), BTreeMap::new());
}

fn short_steps() -> Limits {
    Limits { bucket: Duration::from_millis(50), ..Limits::default() }
}

fn requests(buckets: &[Bucket], revision: &str) -> u64 {
    let revision = RevisionId::new(revision);
    let of = |bucket: &Bucket| bucket.revisions.get(&revision).map(|it| it.counters.requests());
    buckets.iter().filter_map(of).sum()
}

/// Buckets follow each other without a gap, in number and in time.
fn assert_gapless(buckets: &[Bucket]) {
    for pair in buckets.windows(2) {
        assert_eq!(pair[1].number, pair[0].number + 1);
        assert_eq!(pair[1].from, pair[0].to);
        assert!(pair[1].to >= pair[1].from);
    }
}

#[test]
fn every_request_is_in_exactly_one_bucket_whenever_they_are_read() {
    let application = Application::saying("hello");
    let proxy = Proxy::start_with(short_steps());
    let address = proxy.route(all(vec![
        backend("api@1", 50, &[application.address]),
        backend("api@2", 50, &[application.address]),
    ]));
    let mut often: Vec<Bucket> = Vec::new();
    let mut mark = None;
    let mut read_on = |often: &mut Vec<Bucket>| {
        let new: Buckets = proxy.buckets(mark);
        mark = Some(new.mark(mark));
        often.extend(new.closed);
    };
    std::thread::scope(|threads| {
        let load: Vec<_> = (0..3)
            .map(|_| {
                threads.spawn(|| {
                    let mut caller = Caller::connect(address);
                    for _ in 0..300 {
                        assert_eq!(caller.get("/").status, 200);
                    }
                })
            })
            .collect();
        while !load.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            read_on(&mut often);
        }
    });
    eventually("all are in a bucket", || {
        read_on(&mut often);
        (requests(&often, "api@1") + requests(&often, "api@2") >= 900).then_some(())
    });
    assert_gapless(&often);
    assert_eq!(often[0].number, 1);
    assert_eq!(often[0].from, tidegate_types::Duration::ZERO);
    // A reader that comes late is told the same.
    let late = proxy.buckets(None);
    assert_eq!(late.closed[..often.len()], often);
    assert!(late.now >= late.closed.last().unwrap().to);
    // And all of them together are the counters.
    for revision in ["api@1", "api@2"] {
        let mut all = Counters::default();
        for bucket in &late.closed {
            if let Some(counted) = bucket.revisions.get(&RevisionId::new(revision)) {
                all.merge(&counted.counters);
            }
        }
        assert_eq!(all, counters(&proxy, revision));
    }
    assert!(requests(&often, "api@1") > 300 && requests(&often, "api@2") > 300);
}

#[test]
fn a_restart_is_another_run_and_no_fall_of_the_counters() {
    let application = Application::saying("hello");
    let mut proxy = Proxy::start_with(short_steps());
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    for _ in 0..5 {
        assert_eq!(get(address, "/").status, 200);
    }
    let before = eventually("all are in a bucket", || {
        let buckets = proxy.buckets(None);
        (requests(&buckets.closed, "api@1") == 5).then_some(buckets)
    });
    assert_eq!(proxy.traffic().run, before.run);
    let mark = before.mark(None);
    proxy.shutdown();
    proxy.join();
    proxy.begin();
    assert_eq!(get(address, "/").status, 200);
    let after = eventually("it is in a bucket", || {
        let buckets = proxy.buckets(Some(mark));
        (requests(&buckets.closed, "api@1") > 0).then_some(buckets)
    });
    assert_ne!(after.run, before.run);
    assert_eq!(proxy.traffic().run, after.run);
    assert_eq!((after.closed[0].number, requests(&after.closed, "api@1")), (1, 1));
    assert_gapless(&after.closed);
    assert_eq!(proxy.buckets(Some(Mark { run: after.run, number: u64::MAX })).closed, []);
}

#[test]
fn buckets_go_on_when_a_proxy_takes_the_place_of_another() {
    let application = Application::saying("hello");
    let mut proxy = Proxy::start_with(short_steps());
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let (mut read, mut mark) = (Vec::new(), None);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let load_ends = Stop(&stop);
        for _ in 0..2 {
            threads.spawn(|| {
                while !stop.load(SeqCst) {
                    assert_eq!(get(address, "/").status, 200);
                    sent.fetch_add(1, SeqCst);
                }
            });
        }
        for _ in 0..4 {
            let before = sent.load(SeqCst);
            eventually("there is load", || (sent.load(SeqCst) > before + 20).then_some(()));
            // The next reader has not read what was closed just before it was succeeded.
            let new = proxy.buckets(mark);
            mark = Some(new.mark(mark));
            read.extend(new.closed);
            proxy.succeed().join();
        }
        drop(load_ends);
    });
    let all = sent.load(SeqCst);
    eventually("all are in a bucket", || {
        let new = proxy.buckets(mark);
        mark = Some(new.mark(mark));
        read.extend(new.closed);
        (requests(&read, "api@1") >= all).then_some(())
    });
    assert_eq!(requests(&read, "api@1"), all, "each in one bucket");
    assert_eq!(read[0].number, 1);
    assert_gapless(&read);
    assert_eq!(proxy.buckets(None).closed[..read.len()], read);
    assert_eq!(proxy.traffic().run, mark.unwrap().run);
}

#[test]
fn a_bucket_says_who_waits_at_its_end() {
    let silent = hanging();
    let proxy = Proxy::start_with(short_steps());
    let mut routes = all(vec![backend("api@1", 100, &[silent.address])]);
    let wait = tidegate_types::Duration::from_secs(60);
    routes[0].rule.handling.concurrency = Some(Concurrency { limit: 1, queue: 5, wait });
    let address = proxy.route(routes);
    let _callers: Vec<Caller> = (0..3)
        .map(|_| {
            let mut caller = Caller::connect(address);
            caller.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
            caller
        })
        .collect();
    eventually("one is answered and two wait", || {
        let buckets = proxy.buckets(None);
        let last = buckets.closed.last()?.revisions.get(&RevisionId::new("api@1"))?;
        ((last.in_flight, last.queued) == (1, 2)).then_some(())
    });
}

#[test]
fn a_bucket_says_what_is_in_flight_at_its_end_and_what_nobody_answered() {
    let silent = hanging();
    let proxy = Proxy::start_with(short_steps());
    let mut routes = all(vec![backend("api@1", 100, &[silent.address])]);
    routes[0].rule.path = "/api".to_owned();
    let address = proxy.route(routes);
    assert_eq!(get(address, "/").status, 404);
    let mut caller = Caller::connect(address);
    caller.send("GET /api HTTP/1.1\r\nHost: shop\r\n\r\n");
    let revision = RevisionId::new("api@1");
    let buckets = eventually("one is in flight at the end of a bucket", || {
        let buckets = proxy.buckets(None);
        let last = buckets.closed.last()?.revisions.get(&revision)?.in_flight;
        (last == 1).then_some(buckets)
    });
    let unanswered: u64 = buckets.closed.iter().map(|bucket| bucket.unanswered.total()).sum();
    assert_eq!((unanswered, requests(&buckets.closed, "api@1")), (1, 0));
    drop(caller);
    eventually("none is", || {
        let buckets = proxy.buckets(None);
        buckets.closed.last()?.revisions.is_empty().then_some(())
    });
}
