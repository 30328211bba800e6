//! Limits that a scope has of its own, beside one that has none.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use tidegate_proxy::Limits;
use tidegate_types::{Duration as Span, GatewayLimits, data_plane::ProxyTable};

use crate::{
    counting::full_backlog,
    frames::{Frames, SETTINGS},
    harness::{Caller, Proxy, all, backend, eventually, get},
    upstream::Application,
};

const SHORT: Option<Span> = Some(Span::from_millis(100));

/// A table of a scope with limits of its own.
fn tight(proxy: &Proxy, application: &Application, limits: GatewayLimits) -> SocketAddr {
    tight_at(proxy, application.address, limits)
}

fn tight_at(proxy: &Proxy, instance: SocketAddr, limits: GatewayLimits) -> SocketAddr {
    let mut table = proxy.table(all(vec![backend("api@1", 100, &[instance])]));
    table.gateway.limits = Some(limits.into());
    proxy.publish(&table).unwrap().address
}

/// Another scope, which has none.
fn loose(proxy: &Proxy, application: &Application) -> SocketAddr {
    let table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
    let table = ProxyTable { scope: "shop/staging".parse().unwrap(), ..table };
    proxy.publish(&table).unwrap().address
}

#[test]
fn an_answer_is_waited_for_as_long_as_the_scope_says() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let slow = Application::start({
        let gate = Arc::clone(&gate);
        move |seen, stream| {
            if seen.target() == "/slow" {
                let is_open = gate.0.lock().unwrap();
                drop(gate.1.wait_while(is_open, |is_open| !*is_open).unwrap());
            }
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
        }
    });
    let silent = Application::start(|seen, stream| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        if seen.target() == "/at-once" {
            return stream.get_mut().write_all(answer).is_ok();
        }
        let _ = stream.read(&mut [0; 1]);
        false
    });
    let proxy = Proxy::start();
    let mut patient = Caller::connect(loose(&proxy, &slow));
    patient.send("GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n");
    let mut posting = Caller::connect(loose(&proxy, &slow));
    posting.send("POST /slow HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\n\r\nx");
    eventually("both are asked", || (slow.seen().len() == 2).then_some(()));

    // A connection that was there before the limit was.
    let address = tight(&proxy, &silent, GatewayLimits::default());
    let mut former = Caller::connect(address);
    assert_eq!(former.get("/at-once").status, 200);
    tight(&proxy, &silent, GatewayLimits { answer_timeout: SHORT, ..GatewayLimits::default() });
    let answer = former.get("/");
    assert_eq!((answer.status, answer.header("tidegate-reason")), (504, Some("timeout")));
    assert_eq!(former.post("/", "x").status, 504);

    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    assert_eq!(patient.answer().unwrap().status, 200);
    assert_eq!(posting.answer().unwrap().status, 200);
}

#[test]
fn a_connection_is_waited_for_as_long_as_the_scope_says() {
    let (_full, address, _filling) = full_backlog();
    let proxy = Proxy::start_with(Limits { connect: Duration::from_hours(1), ..Limits::default() });
    let limits = GatewayLimits { connect_timeout: SHORT, ..GatewayLimits::default() };
    let mut caller = Caller::connect(tight_at(&proxy, address, limits));
    assert_eq!(caller.get("/").status, 503);
    assert_eq!(caller.post("/", "x").status, 503);
}

#[test]
fn heads_and_silence_may_last_as_long_as_the_scope_says() {
    let application = Application::saying("hello");
    // Longer than the test waits: it is not the default that ends a connection.
    let long = Duration::from_hours(1);
    let proxy =
        Proxy::start_with(Limits { request_head: long, client_idle: long, ..Limits::default() });
    let patient = loose(&proxy, &application);
    let mut silent = Caller::connect(patient);
    assert_eq!(silent.get("/").status, 200);
    let mut slow = Caller::connect(patient);
    slow.send("GET / HTTP/1.1\r\nHost: sh");

    let head_timeout = GatewayLimits { head_timeout: SHORT, ..GatewayLimits::default() };
    let mut cut_off = Caller::connect(tight(&proxy, &application, head_timeout));
    cut_off.send("GET / HTTP/1.1\r\nHost: sh");
    assert!(cut_off.is_closed());
    let idle_timeout = GatewayLimits { idle_timeout: SHORT, ..GatewayLimits::default() };
    let address = tight(&proxy, &application, idle_timeout);
    assert!(Caller::connect(address).is_closed());

    slow.send("op\r\n\r\n");
    assert_eq!(slow.answer().unwrap().status, 200);
    assert_eq!(silent.get("/").status, 200);
}

#[test]
fn heads_may_be_as_large_as_the_scope_says() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let larger = format!("GET / HTTP/1.1\r\nHost: shop\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let limits = GatewayLimits { head_size: Some(8 * 1024), ..GatewayLimits::default() };
    for (address, wanted) in
        [(loose(&proxy, &application), 200), (tight(&proxy, &application, limits), 431)]
    {
        let mut caller = Caller::connect(address);
        // The connection may be closed before all of it was sent.
        let _ = caller.try_send(&larger);
        assert_eq!(caller.read_head().unwrap().status, wanted);
        assert_eq!(get(address, "/").status, 200);
    }
}

#[test]
fn streams_of_http2_are_as_many_as_the_scope_says() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let limits = GatewayLimits { http2_streams: Some(4), ..GatewayLimits::default() };
    for (address, wanted) in
        [(loose(&proxy, &application), 128), (tight(&proxy, &application, limits), 4)]
    {
        let settings = Frames::open(address).next_of(&[SETTINGS]).unwrap();
        let most = [0, 3, 0, 0, 0, wanted];
        assert!(settings.payload.chunks(6).any(|pair| pair == most), "{settings:?}");
    }
}
