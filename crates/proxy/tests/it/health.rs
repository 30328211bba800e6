//! Instances that are asked how they are, left alone and taken back.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tidegate_proxy::Limits;
use tidegate_types::{
    Duration as Span, InstanceId, RevisionId, Share,
    data_plane::{Check, Fitness, ProxyBackend, Question, Upstream},
};

use crate::{
    harness::{Caller, Proxy, all, backend, eventually, get},
    upstream::Application,
};

const FOREVER: Duration = Duration::from_hours(1);

/// An application that says so about itself, and answers 503 to its check while it is told to.
fn sick_when(name: &'static str, sick: &Arc<AtomicBool>) -> Application {
    let sick = Arc::clone(sick);
    Application::start(move |seen, stream| {
        let status =
            if seen.target() == "/health" && sick.load(SeqCst) { "503 No" } else { "200 OK" };
        say(stream.get_mut(), status, name)
    })
}

fn say(stream: &mut impl std::io::Write, status: &str, text: &str) -> bool {
    let length = text.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}").is_ok()
}

/// Requests that are no checks.
fn asked(application: &Application) -> usize {
    application.seen().iter().filter(|seen| seen.target() != "/health").count()
}

fn checks(application: &Application) -> usize {
    application.seen().len() - asked(application)
}

fn check(question: Question) -> Check {
    Check {
        question,
        interval: Span::from_millis(10),
        timeout: Span::from_secs(30),
        failures: 2,
        successes: 2,
    }
}

fn by_path() -> Check {
    check(Question::Http { path: "/health".to_owned() })
}

/// With this check at each of its endpoints.
fn checked(mut backend: ProxyBackend, check: &Check) -> ProxyBackend {
    if let Upstream::Endpoints(endpoints) = &mut backend.upstream {
        for endpoint in endpoints {
            endpoint.check = Some(check.clone());
        }
    }
    backend
}

pub(crate) fn fitness(proxy: &Proxy, revision: &str, number: u32) -> Option<Fitness> {
    let instance = InstanceId::of(&RevisionId::new(revision), number);
    proxy.health().instances.get(&instance).copied()
}

fn becomes(proxy: &Proxy, number: u32, wanted: Fitness) {
    eventually("the instance is seen to be so", || {
        (fitness(proxy, "api@1", number) == Some(wanted)).then_some(())
    });
}

/// Nobody is spared for being new.
fn brisk() -> Limits {
    Limits { slow_start: Duration::ZERO, ..Limits::default() }
}

/// So many requests, each on the same connection; how many of them each name answered.
fn names(caller: &mut Caller, count: usize, name: &str) -> usize {
    (0..count).filter(|_| caller.get("/").text() == name).count()
}

#[test]
fn an_instance_that_fails_its_check_gets_no_requests_until_it_is_well() {
    let sick = Arc::new(AtomicBool::new(false));
    let (first, second) = (sick_when("first", &sick), sick_when("second", &Arc::default()));
    let mut proxy = Proxy::start_with(brisk());
    let addresses = [first.address, second.address];
    let address = proxy.route(all(vec![checked(backend("api@1", 100, &addresses), &by_path())]));
    becomes(&proxy, 1, Fitness::Fit);
    becomes(&proxy, 2, Fitness::Fit);
    let mut caller = Caller::connect(address);
    assert_eq!(names(&mut caller, 20, "first"), 10);
    sick.store(true, SeqCst);
    becomes(&proxy, 1, Fitness::Unfit);
    let before = asked(&first);
    assert_eq!(names(&mut caller, 20, "second"), 20);
    assert_eq!(asked(&first), before);
    // A proxy that starts again with nobody to tell it anything asks by itself.
    drop(caller);
    proxy.shutdown();
    proxy.join();
    proxy.begin();
    becomes(&proxy, 1, Fitness::Unfit);
    becomes(&proxy, 2, Fitness::Fit);
    let mut caller = Caller::connect(address);
    assert_eq!(names(&mut caller, 20, "second"), 20);
    // And goes on asking.
    let so_far = checks(&second);
    eventually("it is asked again", || (checks(&second) > so_far + 5).then_some(()));
    sick.store(false, SeqCst);
    becomes(&proxy, 1, Fitness::Fit);
    assert_eq!(names(&mut caller, 20, "first"), 10);
}

#[test]
fn when_all_fail_their_checks_all_are_asked() {
    let sick = Arc::new(AtomicBool::new(true));
    let (first, second) = (sick_when("first", &sick), sick_when("second", &sick));
    let proxy = Proxy::start_with(brisk());
    let addresses = [first.address, second.address];
    let address = proxy.route(all(vec![checked(backend("api@1", 100, &addresses), &by_path())]));
    becomes(&proxy, 1, Fitness::Unfit);
    becomes(&proxy, 2, Fitness::Unfit);
    assert_eq!(names(&mut Caller::connect(address), 20, "first"), 10);
    assert_eq!(proxy.counted("api@1"), (20, 0));
}

#[test]
fn what_nobody_asked_yet_is_not_taken_for_well() {
    // Takes a connection and says nothing.
    let silent = Application::start(|seen, stream| {
        if seen.target() == "/health" {
            let _ = std::io::Read::read(stream, &mut [0; 1]);
            return false;
        }
        say(stream.get_mut(), "200 OK", "silent")
    });
    let well = sick_when("well", &Arc::default());
    let proxy = Proxy::start_with(brisk());
    let addresses = [silent.address, well.address];
    let address = proxy.route(all(vec![checked(backend("api@1", 100, &addresses), &by_path())]));
    becomes(&proxy, 2, Fitness::Fit);
    assert_eq!(fitness(&proxy, "api@1", 1), Some(Fitness::Unknown));
    assert_eq!(names(&mut Caller::connect(address), 20, "well"), 20);
}

#[test]
fn who_has_left_is_not_asked_any_more_and_who_returns_is() {
    let application = sick_when("api", &Arc::default());
    let proxy = Proxy::start_with(brisk());
    let with =
        |addresses: &[SocketAddr]| all(vec![checked(backend("api@1", 100, addresses), &by_path())]);
    proxy.route(with(&[application.address]));
    becomes(&proxy, 1, Fitness::Fit);
    proxy.route(with(&[]));
    assert_eq!(proxy.health().instances.len(), 0);
    eventually("the last check ends", || (application.open() == 0).then_some(()));
    let so_far = checks(&application);
    // As many checks of another one as would be enough for several of this one.
    let other = sick_when("other", &Arc::default());
    proxy.route(with(&[other.address]));
    eventually("the other is asked", || (checks(&other) > 10).then_some(()));
    // One may have been on its way.
    assert!(checks(&application) <= so_far + 1);
    proxy.route(with(&[application.address]));
    eventually("it is asked again", || (checks(&application) > so_far + 1).then_some(()));
    proxy.remove();
    eventually("the last check ends", || (application.open() == 0).then_some(()));
}

#[test]
fn a_port_that_opens_again_ends_the_time_alone() {
    let (mut first, second) = (Application::saying("first"), Application::saying("second"));
    let limits = Limits { ejection_first: FOREVER, ejection_longest: FOREVER, ..brisk() };
    let proxy = Proxy::start_with(limits);
    let addresses = [first.address, second.address];
    // The check would need far too many failures to say anything.
    let check = Check { failures: 1_000_000, ..check(Question::Tcp) };
    let address = proxy.route(all(vec![checked(backend("api@1", 100, &addresses), &check)]));
    becomes(&proxy, 1, Fitness::Fit);
    becomes(&proxy, 2, Fitness::Fit);
    first.kill();
    let mut caller = Caller::connect(address);
    assert_eq!(names(&mut caller, 20, "second"), 20);
    becomes(&proxy, 1, Fitness::Unreachable);
    let _first = Application::saying_at(first.address, "first");
    becomes(&proxy, 1, Fitness::Fit);
    assert_eq!(names(&mut caller, 20, "first"), 10);
}

/// Fails requests in its own way while it is told to.
fn failing(way: &'static str, fails: &Arc<AtomicBool>) -> Application {
    let fails = Arc::clone(fails);
    Application::start(move |_, stream| {
        if !fails.load(SeqCst) {
            return say(stream.get_mut(), "200 OK", "first");
        }
        match way {
            "500" => say(stream.get_mut(), "500 Oops", "oops"),
            "close" => false,
            "half" => {
                let _ =
                    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nha");
                false
            }
            "stall" => {
                let _ = std::io::Read::read(stream, &mut [0; 1]);
                false
            }
            other => panic!("{other}"),
        }
    })
}

#[test]
fn an_instance_that_fails_requests_is_left_alone_and_comes_back() {
    for way in ["500", "close", "half", "stall"] {
        let fails = Arc::new(AtomicBool::new(true));
        let (first, second) = (failing(way, &fails), Application::saying("second"));
        let limits = Limits {
            answer_head: Duration::from_millis(200),
            ejection_first: Duration::from_millis(700),
            ejection_longest: Duration::from_millis(700),
            ejection_failures: 3,
            ..brisk()
        };
        let proxy = Proxy::start_with(limits);
        let addresses = [first.address, second.address];
        let address = proxy.route(all(vec![backend("api@1", 100, &addresses)]));
        // Posted, so that nothing is sent twice.
        let post = || -> Option<String> {
            let mut caller = Caller::connect(address);
            caller.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\n\r\nx");
            Some(caller.answer().ok()?.text().to_owned())
        };
        eventually("it is left alone", || {
            post();
            (fitness(&proxy, "api@1", 1) == Some(Fitness::Ejected)).then_some(())
        });
        fails.store(false, SeqCst);
        let so_far = first.seen().len();
        assert_eq!(so_far % 3, 0, "{way}: three in a row each time, not {so_far}");
        eventually("it takes its part again", || (post()? == "first").then_some(()));
    }
}

#[test]
fn a_good_answer_between_failures_forgives_them() {
    let count = AtomicUsize::new(0);
    let flaky = Application::start(move |_, stream| {
        let bad = count.fetch_add(1, SeqCst) % 3 != 2;
        say(stream.get_mut(), if bad { "500 Oops" } else { "200 OK" }, "flaky")
    });
    let other = Application::saying("other");
    let proxy = Proxy::start_with(Limits { ejection_failures: 3, ..brisk() });
    let addresses = [flaky.address, other.address];
    let address = proxy.route(all(vec![backend("api@1", 100, &addresses)]));
    assert_eq!(names(&mut Caller::connect(address), 60, "flaky"), 30);
}

#[test]
fn what_all_fail_is_no_reason_to_leave_any_of_them_alone_but_a_part() {
    let all_fail = Arc::new(AtomicBool::new(true));
    let applications = [(); 4].map(|()| failing("500", &all_fail));
    let addresses = [0, 1, 2, 3].map(|index| applications[index].address);
    let limits = Limits {
        ejection_first: FOREVER,
        ejection_longest: FOREVER,
        ejection_failures: 2,
        ejection_percent: 50,
        ..brisk()
    };
    let proxy = Proxy::start_with(limits);
    let address = proxy.route(all(vec![backend("api@1", 100, &addresses)]));
    let out = || {
        let health = proxy.health();
        health.instances.values().filter(|fitness| **fitness == Fitness::Ejected).count()
    };
    let mut caller = Caller::connect(address);
    for _ in 0..100 {
        assert_eq!(caller.get("/").text(), "oops", "passed as it is");
        assert!(out() <= 2);
    }
    assert_eq!(out(), 2);
    // A single one is never left alone.
    proxy.route(all(vec![backend("api@2", 100, &addresses[..1])]));
    for _ in 0..10 {
        caller.get("/");
    }
    assert_eq!(out(), 0);
}

#[test]
fn who_returns_takes_a_smaller_part_at_first() {
    let (first, second) = (Application::saying("first"), Application::saying("second"));
    let proxy = Proxy::start_with(Limits { slow_start: FOREVER, ..Limits::default() });
    let address = proxy.route(all(vec![backend("api@1", 100, &[first.address])]));
    let mut caller = Caller::connect(address);
    // Both are new: nobody is spared at the cost of the other.
    let both = [first.address, second.address];
    proxy.route(all(vec![backend("api@2", 100, &both)]));
    let share = names(&mut caller, 400, "first");
    assert!((150..=250).contains(&share), "{share}");
    // Warm by the word of a route; then the second comes again, and is new.
    let mut routes = all(vec![backend("api@2", 100, &both)]);
    routes[0].rule.handling.slow_start = Some(Span::ZERO);
    proxy.route(routes);
    assert_eq!(names(&mut caller, 20, "first"), 10);
    proxy.route(all(vec![backend("api@2", 100, &both[..1])]));
    proxy.route(all(vec![backend("api@2", 100, &both)]));
    let share = names(&mut caller, 400, "second");
    // A tenth of what would be its part. Five sigma above 20: 42.
    assert!((1..=42).contains(&share), "{share}");
    // Nobody but it: it takes all.
    drop(first);
    assert_eq!(names(&mut caller, 20, "second"), 20);
}

#[test]
fn an_outage_of_one_instance_does_not_shift_the_split() {
    let (mut dying, staying) = (Application::saying("stable"), Application::saying("stable"));
    let candidate = Application::saying("candidate");
    let proxy = Proxy::start();
    let mut stable = backend("api@1", 90, &[dying.address, staying.address]);
    stable.share = Share::percent(90);
    let address = proxy.route(all(vec![stable, backend("api@2", 10, &[candidate.address])]));
    let mut caller = Caller::connect(address);
    let candidates_of_2000 = |caller: &mut Caller| names(caller, 2_000, "candidate");
    // Five sigma around 200: 67.
    let whole = candidates_of_2000(&mut caller);
    assert!((133..=267).contains(&whole), "{whole}");
    dying.kill();
    let during = candidates_of_2000(&mut caller);
    assert!((133..=267).contains(&during), "{during}");
    assert_eq!(asked(&staying) + asked(&dying) + asked(&candidate), 4_000);
    assert_eq!(proxy.counted("api@1").1, 0);
}

#[test]
fn an_outage_of_all_is_not_met_with_more_requests_than_the_budget() {
    // Takes each request and breaks off.
    let broken = [(); 2].map(|()| Application::start(|_, _| false));
    let addresses = [broken[0].address, broken[1].address];
    let limits = Limits { retry_percent: 20, retries: 0, ..brisk() };
    let proxy = Proxy::start_with(limits);
    let address = proxy.route(all(vec![backend("api@1", 100, &addresses)]));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(get(address, "/").status, 502);
                }
            });
        }
    });
    let sent: usize = broken.iter().map(|broken| broken.seen().len()).sum();
    assert!((400..=480).contains(&sent), "{sent} instead of 400 and a fifth at most");
    assert!(sent > 400, "some are sent again");
    assert_eq!(proxy.counted("api@1"), (400, 400));
}
