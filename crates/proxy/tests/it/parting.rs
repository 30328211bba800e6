//! `WebSocket`s that end since their instance leaves or the proxy does.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Instant,
};

use tidegate_proxy::Limits;
use tidegate_types::{
    Duration,
    data_plane::{ProxyBackend, Upstream},
};

use crate::{
    harness::{Caller, Proxy, all, backend, eventually},
    upstream::Application,
};

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const GOING_AWAY: [u8; 2] = [3, 0xe9];

/// From leaving to the end.
const DRAIN: Duration = Duration::from_millis(1_400);

/// At least so long nobody is told anything.
const TIME: std::time::Duration = std::time::Duration::from_millis(700);

fn limits() -> Limits {
    Limits {
        farewell: std::time::Duration::from_secs(2),
        // So that it is looked often enough.
        upstream_idle: std::time::Duration::from_millis(40),
        ..Limits::default()
    }
}

/// An application that answers every message with its name.
struct Named {
    application: Application,
    /// How conversations ended that clients closed.
    ends: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Named {
    fn start(name: &'static str) -> Self {
        let ends: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let told = Arc::clone(&ends);
        let application = Application::start(move |_, stream| {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                        Upgrade: websocket\r\n\r\n";
            stream.get_mut().write_all(head.as_bytes()).unwrap();
            while let Ok((kind, content)) = masked(stream) {
                let said = if kind == CLOSE { &content } else { name.as_bytes() };
                let _ = stream.get_mut().write_all(&plain(kind, said));
                if kind == CLOSE {
                    told.lock().unwrap().push(content);
                    break;
                }
            }
            false
        });
        Self { application, ends }
    }

    fn backend(&self) -> ProxyBackend {
        draining(backend("api@1", 100, &[self.application.address]), DRAIN)
    }

    fn ends(&self) -> Vec<Vec<u8>> {
        self.ends.lock().unwrap().clone()
    }
}

fn draining(mut backend: ProxyBackend, drain: Duration) -> ProxyBackend {
    if let Upstream::Endpoints(endpoints) = &mut backend.upstream {
        for endpoint in endpoints {
            endpoint.drain = Some(drain);
        }
    }
    backend
}

/// Reads a frame of a client.
fn masked(stream: &mut BufReader<TcpStream>) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    stream.read_exact(&mut head)?;
    let mut content = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut content)?;
    let mask = head[2..].iter().cycle();
    Ok((head[0], content.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()))
}

/// A frame as a client sends it. The mask is all zeros.
fn masked_frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(content.len()).unwrap();
    [&[kind, length, 0, 0, 0, 0], content].concat()
}

fn plain(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, u8::try_from(content.len()).unwrap()], content].concat()
}

/// A client's end of a `WebSocket`.
struct Talk {
    caller: Caller,
    /// The name of the other side.
    with: String,
}

impl Talk {
    fn open(address: SocketAddr) -> Self {
        let mut caller = Caller::connect(address);
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        assert_eq!(caller.get_with("/", upgrade).status, 101);
        let mut talk = Self { caller, with: String::new() };
        talk.with = talk.asks();
        talk
    }

    fn hear(&mut self) -> (u8, Vec<u8>) {
        let head = self.caller.bytes(2).unwrap();
        (head[0], self.caller.bytes(head[1].into()).unwrap())
    }

    fn asks(&mut self) -> String {
        self.caller.send(masked_frame(TEXT, b"who is there?"));
        let (kind, name) = self.hear();
        assert_eq!(kind, TEXT);
        String::from_utf8(name).unwrap()
    }

    fn goes_on(&mut self) {
        assert_eq!(self.asks(), self.with);
    }

    /// Waits until the other side says that it is going away, and answers as a browser does.
    fn ends(mut self) {
        assert_eq!(self.hear(), (CLOSE, GOING_AWAY.to_vec()));
        // Where that takes too long, it was answered for.
        let _ = self.caller.try_send(masked_frame(CLOSE, &GOING_AWAY));
        assert!(self.caller.is_closed());
    }
}

#[test]
fn those_of_an_instance_that_has_left_are_told_before_it_is_stopped() {
    let (one, other) = (Named::start("one"), Named::start("other"));
    let proxy = Proxy::start_with(limits());
    let address = proxy.route(all(vec![one.backend()]));
    let talks: Vec<Talk> = (0..4).map(|_| Talk::open(address)).collect();
    let before = Instant::now();
    proxy.route(all(vec![draining(backend("api@2", 100, &[other.application.address]), DRAIN)]));
    let mut new = Talk::open(address);
    talks.into_iter().for_each(Talk::ends);
    assert!(before.elapsed() >= TIME, "they had their time");
    eventually("nothing is in flight", || (proxy.in_flight("api@1", 1) == 0).then_some(()));
    eventually("all have ended", || (one.ends().len() == 4).then_some(()));
    assert_eq!(one.ends(), vec![GOING_AWAY.to_vec(); 4]);
    new.goes_on();
    assert_eq!(proxy.in_flight("api@2", 1), 1);
    assert!(other.ends().is_empty());
}

#[test]
fn those_of_an_instance_that_comes_back_go_on() {
    let (one, other) = (Named::start("one"), Named::start("other"));
    let proxy = Proxy::start_with(limits());
    let addresses = [one.application.address, other.application.address];
    let mut both = draining(backend("api@1", 100, &addresses), DRAIN);
    let Upstream::Endpoints(endpoints) = &mut both.upstream else { unreachable!() };
    // However long it takes until it is back.
    endpoints[0].drain = Some(Duration::from_hours(1));
    let address = proxy.route(all(vec![both]));
    // Each of the workers has some with each of the instances.
    let mut talks: Vec<Talk> = (0..12).map(|_| Talk::open(address)).collect();
    proxy.route(all(vec![]));
    proxy.route(all(vec![one.backend()]));
    let left = talks.extract_if(.., |talk| talk.with == "other").collect::<Vec<_>>();
    assert!(!left.is_empty() && !talks.is_empty());
    left.into_iter().for_each(Talk::ends);
    talks.iter_mut().for_each(Talk::goes_on);
    assert_eq!(proxy.in_flight("api@1", 1), talks.len() as u64);
    assert!(one.ends().is_empty());
}

#[test]
fn those_of_a_proxy_that_ends_are_told() {
    let one = Named::start("one");
    let mut proxy = Proxy::start_with(Limits { drain: 4 * TIME, ..limits() });
    let address = proxy.route(all(vec![one.backend()]));
    let (answering, silent) = (Talk::open(address), Talk::open(address));
    let before = Instant::now();
    proxy.shutdown();
    answering.ends();
    assert!(before.elapsed() >= TIME, "it had its time");
    proxy.join();
    eventually("both have ended", || (one.ends().len() == 2).then_some(()));
    assert_eq!(one.ends(), vec![GOING_AWAY.to_vec(); 2]);
    drop(silent);
}

#[test]
fn those_of_a_former_proxy_follow_its_successor() {
    let one = Named::start("one");
    let mut proxy = Proxy::start_with(limits());
    let address = proxy.route(all(vec![one.backend()]));
    let mut talk = Talk::open(address);
    let former = proxy.succeed();
    talk.goes_on();
    proxy.route(all(vec![]));
    talk.ends();
    former.join();
    eventually("it has ended", || (!one.ends().is_empty()).then_some(()));
    assert_eq!(one.ends(), vec![GOING_AWAY.to_vec()]);
}

#[test]
fn those_of_a_scope_that_is_removed_are_told() {
    let one = Named::start("one");
    let proxy = Proxy::start_with(limits());
    let address = proxy.route(all(vec![one.backend()]));
    let talk = Talk::open(address);
    proxy.remove();
    talk.ends();
}
