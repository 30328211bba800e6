//! Applications that are asked by HTTP/2 and fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tidegate_proxy::Limits;
use tidegate_types::{Concurrency, RevisionId, data_plane::Fitness};

use crate::{
    asking_http2::{answer, h2c},
    frames::{GOAWAY, HEADERS, RST_STREAM},
    harness::{Proxy, all, eventually},
    health::fitness,
    http2_client::{Http2, Told, whole},
    upstream_http2::{FrameApplication, Http2Application},
};

/// An application whose first connection breaks once so many requests are on it.
fn breaking_with(requests: usize) -> FrameApplication {
    FrameApplication::start(move |number, frames| {
        let most = if number == 0 { requests } else { usize::MAX };
        for _ in 0..most {
            let Some(head) = frames.next_of(&[HEADERS]) else {
                return;
            };
            if number > 0 {
                answer(frames, head.stream);
            }
        }
    })
}

#[test]
fn a_connection_that_breaks_is_one_failure_however_many_requests_were_on_it() {
    let proxy = Proxy::start_with(Limits {
        ejection_first: Duration::from_hours(1),
        ejection_longest: Duration::from_hours(1),
        ejection_failures: 2,
        slow_start: Duration::ZERO,
        ..Limits::default()
    });
    let applications = [breaking_with(4), breaking_with(4)];
    let addresses = applications.each_ref().map(|application| application.address);
    let both = h2c("api@1", &addresses);
    let mut client = Http2::plain(proxy.route(all(vec![both])));
    let broken: Vec<_> =
        (0..8).map(|_| client.start(client.request("POST", "/", Told::of([])))).collect();
    for broken in broken {
        let broken = client.wait(broken).unwrap().unwrap();
        assert_eq!(broken.headers()["tidegate-reason"], "no-answer");
    }
    eventually("all are counted", || (proxy.counted("api@1") == (8, 8)).then_some(()));
    for number in [1, 2] {
        assert_eq!(fitness(&proxy, "api@1", number), Some(Fitness::Fit), "{number}");
    }
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn what_an_application_that_goes_took_and_did_not_answer_is_not_asked_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let application = FrameApplication::start({
        let asked = Arc::clone(&asked);
        move |_, frames| {
            if let Some(head) = frames.next_of(&[HEADERS]) {
                asked.fetch_add(1, SeqCst);
                let mut last = head.stream.to_be_bytes().to_vec();
                last.extend([0; 4]);
                frames.send(GOAWAY, 0, 0, &last);
            }
        }
    });
    let proxy = Proxy::start();
    let mut client = Http2::plain(proxy.route(all(vec![h2c("api@1", &[application.address])])));
    let refused = client.call(client.request("POST", "/", Told::of([]))).unwrap();
    assert_eq!(refused.header("tidegate-reason"), Some("no-answer"));
    assert_eq!(asked.load(SeqCst), 1);
    assert_eq!(proxy.counted("api@1"), (1, 1));
}

#[test]
fn what_is_refused_is_asked_again_as_far_as_the_budget_goes() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    let asked = Arc::new(AtomicUsize::new(0));
    let application = FrameApplication::start({
        let asked = Arc::clone(&asked);
        move |_, frames| {
            while let Some(head) = frames.next_of(&[HEADERS]) {
                asked.fetch_add(1, SeqCst);
                frames.send(RST_STREAM, 0, head.stream, &REFUSED_STREAM);
            }
        }
    });
    let limits = Limits { retry_percent: 0, retries: 0, ..Limits::default() };
    let proxy = Proxy::start_with(limits);
    let mut client = Http2::plain(proxy.route(all(vec![h2c("api@1", &[application.address])])));
    for asked_so_far in 1..=3 {
        assert_eq!(client.get("/").header("tidegate-reason"), Some("nobody-ready"));
        assert_eq!(asked.load(SeqCst), asked_so_far);
    }
}

#[test]
fn requests_that_share_a_connection_wait_where_their_number_is_limited() {
    let application = Http2Application::start(100);
    let proxy = Proxy::start();
    let mut routes = all(vec![h2c("api@1", &[application.address])]);
    let wait = tidegate_types::Duration::from_secs(3600);
    routes[0].rule.handling.concurrency = Some(Concurrency { limit: 2, queue: 9, wait });
    let mut client = Http2::plain(proxy.route(routes));
    let started: Vec<_> =
        (0..6).map(|_| client.start(client.request("GET", "/hold", Told::of([])))).collect();
    let api = RevisionId::new("api@1");
    eventually("two are in, the others wait", || {
        client.wait(tokio::task::yield_now());
        let waiting = proxy.health().queues[&api].waiting;
        (application.seen().len() == 2 && waiting == 4).then_some(())
    });
    assert_eq!(proxy.in_flight("api@1", 1), 2);
    application.release(6);
    for held in started {
        let held = client.wait(async { whole(held.await.unwrap().unwrap()).await });
        assert_eq!(held.unwrap().text(), "hello");
    }
    assert_eq!((proxy.in_flight("api@1", 1), proxy.counted("api@1")), (0, (6, 0)));
    assert_eq!(proxy.health().queues[&api].waited, 4);
}
