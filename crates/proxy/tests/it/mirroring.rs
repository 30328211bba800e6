//! Copies for a candidate to practise on (invariant 23).

use std::{
    io::Write as _,
    sync::{Mutex, mpsc},
};

use tidegate_types::Share;

use crate::{
    harness::{Caller, PATIENCE, Proxy, backend, eventually, route},
    upstream::Application,
};

/// Everything to the stable one, and this share of copies to the other.
fn mirrored(
    proxy: &Proxy,
    stable: &Application,
    candidate: &Application,
    percent: u32,
) -> std::net::SocketAddr {
    let mut route = route(
        "/",
        vec![backend("api@1", 100, &[stable.address]), backend("api@2", 0, &[candidate.address])],
    );
    route.rule.handling.mirror = Share::percent(percent);
    proxy.route(vec![route])
}

#[test]
fn a_candidate_sees_copies_and_nobody_sees_its_answers() {
    let stable = Application::saying("stable");
    let candidate = Application::sending(
        "HTTP/1.1 500 Oops\r\nSet-Cookie: bad=1\r\nContent-Length: 3\r\n\r\nbad",
    );
    let proxy = Proxy::start();
    let mut caller = Caller::connect(mirrored(&proxy, &stable, &candidate, 100));
    for number in 0..20 {
        let answer = caller
            .get_with(&format!("/{number}"), "X-Request-Id: mine\r\nTidegate-Mirror: forged\r\n");
        assert_eq!((answer.status, answer.text()), (200, "stable"));
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(caller.head("/head").status, 200);
    // What has a body or changes something is not sent twice.
    assert_eq!(caller.post("/post", "body").text(), "stable");
    caller.send("DELETE /delete HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!(caller.answer().unwrap().text(), "stable");
    // Nor is what the candidate is asked itself.
    let asked = caller.get_with("/asked", "Tidegate-Revision: candidate\r\n");
    assert_eq!(asked.status, 500);
    let seen = eventually("all copies have come", || {
        let seen = candidate.seen();
        (seen.len() >= 22).then_some(seen)
    });
    let (copies, own): (Vec<_>, Vec<_>) =
        seen.iter().partition(|seen| seen.header("tidegate-mirror") == Some("1"));
    assert_eq!((copies.len(), own.len()), (21, 1), "{seen:?}");
    assert!(own[0].target() == "/asked" && own[0].header("tidegate-mirror").is_none());
    assert!(copies.iter().all(|copy| !["/post", "/delete"].contains(&copy.target())));
    assert_eq!(copies[0].header("x-request-id"), Some("mine"));
    assert!(stable.seen().iter().all(|seen| seen.header("tidegate-mirror").is_none()));
    assert_eq!(proxy.counted("api@1"), (23, 0));
    assert_eq!(proxy.counted("api@2"), (1, 1), "copies are not counted");
}

#[test]
fn about_the_share_is_mirrored_and_without_one_nothing() {
    let (stable, candidate) = (Application::saying("stable"), Application::saying("candidate"));
    let proxy = Proxy::start();
    let mut caller = Caller::connect(mirrored(&proxy, &stable, &candidate, 25));
    for _ in 0..400 {
        caller.get("/");
    }
    mirrored(&proxy, &stable, &candidate, 0);
    for _ in 0..20 {
        caller.get("/none");
    }
    // The last one to come is asked for, so that those before it are there.
    mirrored(&proxy, &stable, &candidate, 100);
    let last = || candidate.seen().iter().any(|seen| seen.target() == "/last").then_some(());
    eventually("the last copy", || {
        caller.get("/last");
        last()
    });
    let seen = candidate.seen();
    let count = |path| seen.iter().filter(|seen| seen.target() == path).count();
    assert_eq!(count("/none"), 0);
    // A hundred; sigma is below nine.
    assert!((50..=150).contains(&count("/")), "{}", count("/"));
}

#[test]
fn a_candidate_that_hangs_harms_nobody() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let stable = Application::saying("stable");
    let candidate = Application::start(move |seen, stream| {
        if seen.header("tidegate-mirror").is_some() {
            let _ = released.lock().unwrap().recv_timeout(PATIENCE);
            return false;
        }
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew").is_ok()
    });
    let mut proxy = Proxy::start();
    let mut caller = Caller::connect(mirrored(&proxy, &stable, &candidate, 100));
    // Many more than may be in flight.
    for _ in 0..400 {
        assert_eq!(caller.get("/").text(), "stable");
    }
    assert!(candidate.open() <= 2 * 64, "{}", candidate.open());
    assert_eq!(proxy.in_flight("api@2", 1), 0, "nobody waits for a copy");
    let asked = caller.get_with("/", "Tidegate-Revision: candidate\r\n");
    assert_eq!(asked.text(), "new");
    assert_eq!(proxy.counted("api@1"), (400, 0));
    assert_eq!(proxy.counted("api@2"), (1, 0));
    // Nor does the proxy wait for them at its end.
    proxy.shutdown();
    proxy.join();
    drop(release);
}

#[test]
fn a_candidate_that_cannot_be_reached_harms_nobody() {
    let stable = Application::saying("stable");
    let mut candidate = Application::saying("candidate");
    candidate.kill();
    let proxy = Proxy::start();
    let mut caller = Caller::connect(mirrored(&proxy, &stable, &candidate, 100));
    for _ in 0..50 {
        assert_eq!(caller.get("/").text(), "stable");
    }
    assert_eq!(proxy.counted("api@1"), (50, 0));
    assert_eq!(proxy.counted("api@2"), (0, 0));
}
