//! Limits on how many requests are in flight, and those who wait.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tidegate_types::{
    Concurrency, Duration as Span, RevisionId,
    data_plane::{ProxyRoute, Queue},
};

use crate::{
    harness::{Answer, Caller, Proxy, all, backend, eventually, get},
    upstream::Application,
};

const LONG: Span = Span::from_hours(1);

/// Answers a request when it is let.
struct Patient {
    application: Application,
    gate: Arc<(Mutex<usize>, Condvar)>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Patient {
    fn start() -> Self {
        let gate = Arc::new((Mutex::new(0), Condvar::new()));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let application = Application::start({
            let (gate, now, most) = (Arc::clone(&gate), Arc::clone(&now), Arc::clone(&most));
            move |seen, stream| {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                let (let_through, changed) = &*gate;
                let mut left = changed
                    .wait_while(let_through.lock().unwrap(), |let_through| *let_through == 0)
                    .unwrap();
                *left -= 1;
                drop(left);
                now.fetch_sub(1, SeqCst);
                let target = seen.target();
                let length = target.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{target}");
                stream.get_mut().write_all(answer.as_bytes()).is_ok()
            }
        });
        Self { application, gate, now, most }
    }

    /// Lets so many more be answered.
    fn answer(&self, count: usize) {
        *self.gate.0.lock().unwrap() += count;
        self.gate.1.notify_all();
    }

    fn busy_with(&self, count: usize) {
        eventually("they have come in", || (self.now.load(SeqCst) == count).then_some(()));
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.answer(1_000);
    }
}

fn limited(addresses: &[SocketAddr], limit: u32, queue: u32, wait: Span) -> Vec<ProxyRoute> {
    let mut routes = all(vec![backend("api@1", 100, addresses)]);
    routes[0].rule.handling.concurrency = Some(Concurrency { limit, queue, wait });
    routes
}

fn queue(proxy: &Proxy) -> Queue {
    proxy.health().queues.remove(&RevisionId::new("api@1")).unwrap()
}

/// Sends without waiting for the answer.
fn sent(address: SocketAddr, path: &str) -> Caller {
    let mut caller = Caller::connect(address);
    caller.send(format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n"));
    caller
}

fn waits_behind(proxy: &Proxy, count: u64) {
    eventually("so many wait", || (queue(proxy).waiting == count).then_some(()));
}

fn is_turned_away(answer: &Answer, reason: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("tidegate-reason"), Some(reason));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.text().contains("try again"), "{}", answer.text());
}

#[test]
fn who_comes_first_is_answered_first_and_the_last_is_turned_away() {
    let patient = Patient::start();
    let proxy = Proxy::start();
    let address = proxy.route(limited(&[patient.application.address], 1, 4, LONG));
    let mut first = sent(address, "/first");
    patient.busy_with(1);
    // On connections of both workers.
    let mut waiting = Vec::new();
    for (number, path) in (1..).zip(["/a", "/b", "/c", "/d"]) {
        waiting.push(sent(address, path));
        waits_behind(&proxy, number);
    }
    is_turned_away(&get(address, "/e"), "queue-full");
    assert_eq!(patient.application.seen().len(), 1);
    patient.answer(5);
    assert_eq!(first.answer().unwrap().text(), "/first");
    for (caller, path) in waiting.iter_mut().zip(["/a", "/b", "/c", "/d"]) {
        assert_eq!(caller.answer().unwrap().text(), path);
    }
    let order: Vec<String> =
        patient.application.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(order, ["/first", "/a", "/b", "/c", "/d"]);
    assert_eq!(patient.most.load(SeqCst), 1);
    let queue = queue(&proxy);
    assert_eq!((queue.waiting, queue.waited, queue.full, queue.late), (0, 4, 1, 0));
    assert!(queue.waited_micros > 0);
    assert_eq!(proxy.counted("api@1"), (6, 1), "it is the revision that had no room");
    assert_eq!(proxy.traffic().unanswered.total(), 0);
}

#[test]
fn nobody_waits_longer_than_is_said() {
    let patient = Patient::start();
    let proxy = Proxy::start();
    let wait = Span::from_millis(50);
    let address = proxy.route(limited(&[patient.application.address], 1, 4, wait));
    let mut first = sent(address, "/first");
    patient.busy_with(1);
    is_turned_away(&get(address, "/late"), "queue-timeout");
    patient.answer(2);
    assert_eq!(first.answer().unwrap().text(), "/first");
    assert_eq!(get(address, "/next").text(), "/next");
    assert_eq!(queue(&proxy).late, 1);
    assert_eq!(patient.application.seen().len(), 2);
}

#[test]
fn who_goes_away_while_it_waits_is_not_waited_for() {
    let patient = Patient::start();
    let proxy = Proxy::start();
    let address = proxy.route(limited(&[patient.application.address], 1, 9, LONG));
    let mut first = sent(address, "/first");
    patient.busy_with(1);
    let gone = sent(address, "/gone");
    waits_behind(&proxy, 1);
    let mut next = sent(address, "/next");
    waits_behind(&proxy, 2);
    drop(gone);
    waits_behind(&proxy, 1);
    patient.answer(2);
    assert_eq!(first.answer().unwrap().text(), "/first");
    assert_eq!(next.answer().unwrap().text(), "/next");
    assert_eq!(patient.application.seen().len(), 2);
}

#[test]
fn each_instance_has_its_own_room_over_all_workers() {
    let patients = [Patient::start(), Patient::start()];
    let addresses = [patients[0].application.address, patients[1].application.address];
    let proxy = Proxy::start();
    let address = proxy.route(limited(&addresses, 3, 100, LONG));
    let mut callers: Vec<Caller> = (0..20).map(|_| sent(address, "/")).collect();
    waits_behind(&proxy, 14);
    for patient in &patients {
        patient.busy_with(3);
        patient.answer(1_000);
    }
    for caller in &mut callers {
        assert_eq!(caller.answer().unwrap().status, 200);
    }
    for patient in &patients {
        assert_eq!(patient.most.load(SeqCst), 3);
    }
    assert_eq!(queue(&proxy).waited, 14);
}

#[test]
fn those_who_wait_follow_the_newer_table() {
    let (patient, other) = (Patient::start(), Application::saying("other"));
    let proxy = Proxy::start();
    let mut routes = limited(&[patient.application.address], 1, 9, LONG);
    let address = proxy.route(routes.clone());
    let mut first = sent(address, "/first");
    patient.busy_with(1);
    let mut waiting = [sent(address, "/"), sent(address, "/")];
    waits_behind(&proxy, 2);
    // A second instance is room for those who wait.
    let both = [patient.application.address, other.address];
    routes[0].backends = vec![backend("api@1", 100, &both)];
    proxy.route(routes);
    for caller in &mut waiting {
        assert_eq!(caller.answer().unwrap().text(), "other");
    }
    patient.answer(1);
    assert_eq!(first.answer().unwrap().text(), "/first");
}

#[test]
fn nobody_is_sent_to_a_dead_instance_because_the_other_is_full() {
    let patient = Patient::start();
    let mut dead = Application::saying("dead");
    let addresses = [patient.application.address, dead.address];
    dead.kill();
    let proxy = Proxy::start();
    let address = proxy.route(limited(&addresses, 1, 9, LONG));
    let mut callers: Vec<Caller> = (0..4).map(|_| sent(address, "/")).collect();
    patient.busy_with(1);
    waits_behind(&proxy, 3);
    patient.answer(4);
    for caller in &mut callers {
        assert_eq!(caller.answer().unwrap().text(), "/");
    }
}

#[test]
fn the_whole_scope_has_its_limit() {
    let (patient, other) = (Patient::start(), Application::saying("other"));
    let proxy = Proxy::start();
    let routes = vec![
        crate::harness::route("/", vec![backend("api@1", 100, &[patient.application.address])]),
        crate::harness::route("/other", vec![backend("other@1", 100, &[other.address])]),
    ];
    let mut table = proxy.table(routes);
    table.gateway.concurrency = Some(Concurrency { limit: 2, queue: 1, wait: LONG });
    let address = proxy.publish(&table).unwrap().address;
    let mut inside = [sent(address, "/"), sent(address, "/")];
    patient.busy_with(2);
    let mut waiting = sent(address, "/other");
    let of_gateway = || proxy.health().gateway.unwrap();
    eventually("it waits", || (of_gateway().waiting == 1).then_some(()));
    is_turned_away(&get(address, "/other"), "gateway-full");
    assert_eq!(proxy.traffic().unanswered.total(), 1);
    assert!(other.seen().is_empty());
    patient.answer(2);
    for caller in &mut inside {
        assert_eq!(caller.answer().unwrap().text(), "/");
    }
    assert_eq!(waiting.answer().unwrap().text(), "other");
    assert_eq!(of_gateway().waited, 1);
}
