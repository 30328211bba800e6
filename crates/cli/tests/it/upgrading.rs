//! The proxy is replaced while visitors never stop asking.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use tidegate_proxy::client::Client;
use tidegate_types::Scope;

use crate::{
    sandbox::{Sandbox, runs, wait_until},
    visitors::{Method, Visitors},
};

const APP: &str = "
project: shop
components:
  api:
    command: exec TESTAPP serve version=v1
    port: auto
    replicas: 2
    health: { path: /health, interval: 100ms }
    route: /
environments:
  production: { strategy: { recreate: {} } }
";

fn serving() -> (Sandbox, String) {
    let app = APP.replace("TESTAPP", &tidegate_testapp::executable().display().to_string());
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app)]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let address = sandbox.status()["address"].as_str().expect("an address").to_owned();
    (sandbox, address)
}

/// The process that has the proxy's lock.
fn proxy(sandbox: &Sandbox) -> u32 {
    let text = fs::read_to_string(sandbox.home().join("proxy/proxy.lock")).expect("a proxy runs");
    text.trim().parse().expect("a process id")
}

/// Goes on in a thread until it is told to stop.
struct Ongoing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Ongoing {
    /// Does it again and again; what it says at the end is the last result.
    fn begin(mut once: impl FnMut() -> u64 + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut last = 0;
            while !told.load(SeqCst) {
                last = once();
                std::thread::sleep(Duration::from_millis(2));
            }
            last
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.stop.store(true, SeqCst);
        self.thread.take().expect("it runs").join().expect("nothing was wrong")
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

/// Visitors who come anew for each request.
fn newcomers(address: &str) -> Ongoing {
    let (address, mut answered) = (address.to_owned(), 0);
    Ongoing::begin(move || {
        let mut connection = TcpStream::connect(&address).expect("the port is never closed");
        connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit can be set");
        connection
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("a request is taken");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("no connection is reset");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answered += 1;
        answered
    })
}

/// What the judge reads, which never goes down. The last number is of requests.
fn judge(sandbox: &Sandbox, highest: Arc<AtomicU64>) -> Ongoing {
    let client = Client::new(sandbox.home().join("proxy/control.sock"));
    let scope: Scope = "shop/production".parse().expect("a scope");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    Ongoing::begin(move || {
        let before = highest.load(SeqCst);
        // Who is hung up on asks again.
        let Ok(traffic) = runtime.block_on(client.traffic(&scope)) else { return before };
        assert_eq!(traffic.unanswered.total(), 0);
        let counters = traffic.revisions.values();
        assert!(counters.clone().all(|counters| counters.errors() == 0));
        let now = counters.map(tidegate_types::Counters::requests).sum();
        assert!(now >= before, "{now} requests after {before}");
        highest.store(now, SeqCst);
        now
    })
}

/// Replaces the proxy so many times while visitors ask; nothing is lost.
fn lose_nothing(sandbox: &Sandbox, address: &str, times: u32, mut replace: impl FnMut(u32)) {
    let highest = Arc::new(AtomicU64::new(0));
    let judge = judge(sandbox, Arc::clone(&highest));
    let methods = [Method::Get, Method::Get, Method::Post, Method::Post];
    let visitors = Visitors::who(address, &methods, Duration::from_millis(1));
    let newcomers = newcomers(address);
    let mut former = Vec::new();
    for time in 0..times {
        let counted = highest.load(SeqCst);
        wait_until("there is load", || highest.load(SeqCst) > counted + 50);
        let before = proxy(sandbox);
        replace(time);
        wait_until("another proxy is in charge", || proxy(sandbox) != before);
        former.push(before);
    }
    wait_until("the former proxies have ended", || !former.iter().any(|pid| runs(*pid)));
    let seen = visitors.leave();
    let answered = newcomers.end();
    assert!(
        seen.lost.is_empty(),
        "{:?}",
        seen.lost.iter().map(ToString::to_string).collect::<Vec<_>>()
    );
    assert_eq!(seen.errors, 0);
    let all = seen.requests() + answered;
    wait_until("all is counted", || highest.load(SeqCst) >= all);
    assert_eq!(judge.end(), all, "each is counted once");
}

#[test]
fn restarts_of_the_proxy_lose_nothing() {
    let (sandbox, address) = serving();
    lose_nothing(&sandbox, &address, 5, |_| {
        let before = proxy(&sandbox);
        let answer = sandbox.tidegate(&["proxy", "restart", "--json"]).expect(0).json();
        assert_eq!(answer["restarted"]["former"], before);
        assert_eq!(answer["restarted"]["process"], proxy(&sandbox));
    });
    assert!(sandbox.get("/").starts_with("v1 "));
}

#[test]
fn a_new_executable_takes_over_from_the_old_one_and_loses_nothing() {
    let (sandbox, address) = serving();
    let program: PathBuf = sandbox.project().join("tidegate");
    let tidegate = |arguments: &[&str]| {
        let status = sandbox.command_of(&program, arguments).status().expect("tidegate runs");
        assert!(status.success());
    };
    lose_nothing(&sandbox, &address, 3, |time| {
        let new = program.with_extension(time.to_string());
        fs::copy(env!("CARGO_BIN_EXE_tidegate"), &new).expect("a copy");
        fs::rename(&new, &program).expect("it is installed");
        tidegate(&["down", "--keep-serving"]);
        tidegate(&["up"]);
    });
    let before = proxy(&sandbox);
    tidegate(&["down", "--keep-serving"]);
    tidegate(&["up"]);
    assert!(sandbox.get("/").starts_with("v1 "));
    assert_eq!(proxy(&sandbox), before, "the same build stays");
}

#[test]
fn a_new_executable_that_takes_all_down_leaves_no_proxy_behind() {
    let (sandbox, _) = serving();
    let program: PathBuf = sandbox.project().join("tidegate");
    for time in 0..3 {
        let new = program.with_extension(time.to_string());
        fs::copy(env!("CARGO_BIN_EXE_tidegate"), &new).expect("a copy");
        fs::rename(&new, &program).expect("it is installed");
        // A successor may be under way while the proxy is told to end.
        let down = sandbox.command_of(&program, &["down"]).status().expect("tidegate runs");
        assert!(down.success());
        wait_until("nothing is left", || sandbox.processes().is_empty());
        let up = sandbox.command_of(&program, &["up"]).status().expect("tidegate runs");
        assert!(up.success());
        wait_until("it serves again", || runs(proxy(&sandbox)));
    }
}

#[test]
fn without_a_proxy_there_is_nothing_to_restart() {
    let sandbox = Sandbox::bare();
    let answer = sandbox.tidegate(&["proxy", "restart"]).expect(6);
    assert!(answer.stderr.contains("no proxy runs here"), "{}", answer.stderr);
}
