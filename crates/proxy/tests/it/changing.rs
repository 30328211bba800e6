//! What happens to requests while tables change.

use std::{
    io::Write as _,
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
};

use tidegate_proxy::{Limits, client::ClientError};
use tidegate_types::{Epoch, Listen, data_plane::Refusal};

use crate::{
    harness::{Caller, PATIENCE, Proxy, Stop, all, backend, eventually, get},
    upstream::Application,
};

#[test]
fn two_hundred_changes_under_load_lose_nothing() {
    let stable = Application::saying("stable");
    let candidate = Application::saying("candidate");
    let proxy = Proxy::start();
    let split = |percent: u32| {
        all(vec![
            backend("api@1", 100 - percent, &[stable.address]),
            backend("api@2", percent, &[candidate.address]),
        ])
    };
    let address = proxy.route(split(0));
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
                    let answer = match number {
                        1 => caller.post("/", "something"),
                        _ => caller.get("/"),
                    };
                    assert_eq!(answer.status, 200);
                    assert!(matches!(answer.text(), "stable" | "candidate"));
                    sent.fetch_add(1, SeqCst);
                }
            });
        }
        // A connection that was there before any change follows each at once.
        let mut old = Caller::connect(address);
        old.get("/");
        for round in 0..200 {
            let (percent, wanted) = [(0, "stable"), (100, "candidate"), (50, "")][round % 3];
            proxy.route(split(percent));
            let answer = old.get("/");
            assert!(wanted.is_empty() || answer.text() == wanted, "round {round}");
            sent.fetch_add(1, SeqCst);
        }
        drop(load_ends);
    });
    let (first, second) = (proxy.counted("api@1"), proxy.counted("api@2"));
    assert_eq!(first.0 + second.0, sent.load(SeqCst) + 1, "every request is counted once");
    assert_eq!((first.1, second.1), (0, 0));
}

#[test]
fn after_an_answer_to_publish_nobody_new_goes_to_a_removed_endpoint() {
    // The endpoint stops the moment the table without it is in force and nothing is in flight,
    // as a control plane would do it.
    let proxy = Proxy::start();
    let staying = Application::saying("staying");
    let address = proxy.route(all(vec![backend("api@1", 100, &[staying.address])]));
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let load_ends = Stop(&stop);
        for _ in 0..3 {
            threads.spawn(|| {
                let mut caller = Caller::connect(address);
                while !stop.load(SeqCst) {
                    assert_eq!(caller.post("/", "x").status, 200);
                }
            });
        }
        for _ in 0..20 {
            let leaving = Application::saying("leaving");
            proxy.route(all(vec![backend("api@1", 100, &[staying.address, leaving.address])]));
            eventually("the new endpoint is used", || (!leaving.seen().is_empty()).then_some(()));
            proxy.route(all(vec![backend("api@1", 100, &[staying.address])]));
            eventually("it drains", || (proxy.in_flight("api@1", 2) == 0).then_some(()));
            drop(leaving);
        }
        drop(load_ends);
    });
    assert_eq!(proxy.counted("api@1").1, 0);
}

#[test]
fn a_removed_endpoint_is_seen_to_drain() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let slow = Application::start(move |_, stream| {
        released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow").is_ok()
    });
    let new = Application::saying("new");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[slow.address])]));
    let mut caller = Caller::connect(address);
    caller.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    eventually("it is in flight", || (proxy.in_flight("api@1", 1) == 1).then_some(()));
    proxy.route(all(vec![backend("api@2", 100, &[new.address])]));
    assert_eq!(get(address, "/").text(), "new");
    assert_eq!(proxy.in_flight("api@1", 1), 1);
    assert_eq!(proxy.counted("api@1"), (0, 0));
    release.send(()).unwrap();
    assert_eq!(caller.answer().unwrap().text(), "slow");
    assert_eq!(proxy.in_flight("api@1", 1), 0);
    assert_eq!(proxy.counted("api@1"), (1, 0), "counted though no table names it");
    eventually("its connection is closed", || (slow.open() == 0).then_some(()));
}

#[test]
fn older_tables_are_refused_and_the_same_one_is_taken_again() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let mut table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
    table.epoch = Epoch(5);
    table.membership = 3;
    let first = proxy.publish(&table).unwrap();
    assert_eq!((first.epoch, first.membership), (Epoch(5), 3));
    assert_eq!(proxy.publish(&table).unwrap(), first);
    let mut older = table.clone();
    older.membership = 2;
    let refused = proxy.publish(&older);
    assert!(
        matches!(
            refused,
            Err(ClientError::Refused(Refusal::Stale { epoch: Epoch(5), membership: 3 }))
        ),
        "{refused:?}"
    );
    let mut different = table.clone();
    different.routes.clear();
    let refused = proxy.publish(&different);
    assert!(matches!(refused, Err(ClientError::Refused(Refusal::Invalid { .. }))), "{refused:?}");
    assert_eq!(proxy.tables()[0].table, table);
    assert_eq!(get(first.address, "/").text(), "hello");
}

#[test]
fn a_taken_port_is_refused_and_the_old_table_stays() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut table = proxy.table(vec![]);
    table.gateway.listen = Listen::Address(taken.local_addr().unwrap());
    let refused = proxy.publish(&table);
    let Err(ClientError::Refused(Refusal::Address { address: named, reason })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(named, taken.local_addr().unwrap());
    assert!(reason.contains("in use"), "{reason}");
    assert_eq!(get(address, "/").text(), "hello");

    // The port becomes free: the same table is taken, and the former address is given up.
    drop(taken);
    assert_eq!(proxy.publish(&table).unwrap().address, named);
    assert_eq!(get(named, "/").status, 404);
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_removed_scope_is_no_longer_listened_for() {
    let proxy = Proxy::start();
    let address = proxy.route(vec![]);
    assert_eq!(get(address, "/").status, 404);
    proxy.remove();
    assert!(std::net::TcpStream::connect(address).is_err());
    assert!(proxy.tables().is_empty());
    // The address is free again at once.
    let mut table = proxy.table(vec![]);
    table.epoch = Epoch(0);
    table.gateway.listen = Listen::Address(address);
    assert_eq!(proxy.publish(&table).unwrap().address, address);
}

#[test]
fn what_is_in_flight_at_the_end_is_answered() {
    let started = Arc::new(AtomicBool::new(false));
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let application = Application::start({
        let started = Arc::clone(&started);
        move |_, stream| {
            started.store(true, SeqCst);
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").is_ok()
        }
    });
    let mut proxy = Proxy::start_with(Limits { drain: PATIENCE, ..Limits::default() });
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut idle = Caller::connect(address);
    assert_eq!(idle.try_get("/..", "").unwrap().status, 400);
    let mut idle = Caller::connect(address);
    let mut busy = Caller::connect(address);
    busy.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    eventually("it is in flight", || started.load(SeqCst).then_some(()));
    proxy.shutdown();
    assert!(std::net::TcpStream::connect(address).is_err(), "no longer listening");
    assert_eq!(proxy.in_flight("api@1", 1), 1, "what drains can still be asked");
    release.send(()).unwrap();
    let answer = busy.answer().unwrap();
    assert_eq!(answer.text(), "late");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(busy.is_closed());
    assert!(idle.is_closed());
    proxy.join();
}
