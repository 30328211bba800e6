//! Connections that begin with a header of the PROXY protocol.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tidegate_proxy::Limits;
use tidegate_types::Network;

use crate::{
    certificates::{Certificate, encrypted, trusting},
    frames::{END_HEADERS, END_STREAM, Frames, GET, HEADERS, PREFACE, SETTINGS, block, frame},
    harness::{Answer, Caller, PATIENCE, Proxy, all, backend, eventually, socket_to},
    upstream::Application,
};

const FIRST: &[u8] = b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n";

/// Of the second version, for 192.0.2.2, with something behind the addresses.
fn second() -> Vec<u8> {
    let content = [192, 0, 2, 2, 10, 0, 0, 1, 0x12, 0x67, 0, 80, 4, 0, 1, 7];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10"[..], &content].concat()
}

/// A proxy that demands the header.
struct Demanding {
    proxy: Proxy,
    application: Application,
    address: SocketAddr,
}

impl Demanding {
    fn start(trusted: &[&str]) -> Self {
        Self::start_with(trusted, Limits::default(), None)
    }

    #[expect(clippy::large_types_passed_by_value, reason = "made where it is given, once a test")]
    fn start_with(trusted: &[&str], limits: Limits, certificate: Option<&Certificate>) -> Self {
        let application = Application::saying("hello");
        let proxy = Proxy::start_with(limits);
        let mut table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
        if let Some(certificate) = certificate {
            table = encrypted(table, &[certificate]);
        }
        table.gateway.proxy_protocol = true;
        table.gateway.trusted_proxies =
            trusted.iter().map(|text| text.parse::<Network>().unwrap()).collect();
        let address = proxy.publish(&table).unwrap().address;
        Self { proxy, application, address }
    }

    /// Asks on a connection that begins so.
    fn ask(&self, beginning: &[u8]) -> Answer {
        let mut caller = Caller::connect(self.address);
        caller.send([beginning, REQUEST].concat());
        caller.answer().unwrap()
    }

    /// From where the application was told that the last request came.
    fn told(&self) -> String {
        let seen = self.application.seen();
        seen.last().unwrap().header("x-forwarded-for").unwrap().to_owned()
    }
}

#[test]
fn the_header_says_for_whom_a_connection_is() {
    let demanding = Demanding::start(&[]);
    let second = second();
    for (header, wanted) in [
        (FIRST, "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "2001:db8::7"),
        (&second, "192.0.2.2"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1"),
    ] {
        let mut caller = Caller::connect(demanding.address);
        caller.send(header);
        for _ in 0..2 {
            assert_eq!(caller.get("/").text(), "hello");
            assert_eq!(demanding.told(), wanted);
        }
        // With the request in one piece.
        assert_eq!(demanding.ask(header).text(), "hello");
        assert_eq!(demanding.told(), wanted);
    }
}

#[test]
fn it_may_come_in_pieces() {
    let demanding = Demanding::start(&[]);
    for header in [FIRST, &second()] {
        let mut socket = socket_to(demanding.address);
        for byte in header {
            socket.write_all(&[*byte]).unwrap();
            // Each of them in a segment of its own, as far as anybody can have that.
            std::thread::yield_now();
        }
        let mut caller = Caller::over(socket);
        assert_eq!(caller.get("/").text(), "hello");
        assert!(demanding.told().starts_with("192.0.2."));
    }
}

#[test]
fn it_comes_before_encryption_and_before_http2() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let demanding = Demanding::start_with(&[], Limits::default(), Some(&certificate));
    let mut socket = socket_to(demanding.address);
    socket.write_all(&second()).unwrap();
    let name = rustls::pki_types::ServerName::try_from("shop").unwrap();
    let config = trusting(rustls::ALL_VERSIONS, &["http/1.1"]);
    let connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut caller = Caller::over(rustls::StreamOwned::new(connection, socket));
    assert_eq!(caller.get("/").text(), "hello");
    assert_eq!(demanding.told(), "192.0.2.2");
    assert_eq!(
        demanding.application.seen()[0].header("forwarded"),
        Some("for=192.0.2.2;host=shop;proto=https")
    );

    let demanding = Demanding::start(&[]);
    let mut socket = socket_to(demanding.address);
    let head = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&GET));
    let sent = [FIRST, PREFACE, &frame(SETTINGS, 0, 0, &[]), &head].concat();
    socket.write_all(&sent).unwrap();
    Frames { socket }.next_of(&[HEADERS]).unwrap();
    assert_eq!(demanding.told(), "192.0.2.1");
}

#[test]
fn a_connection_without_it_is_closed() {
    let demanding = Demanding::start(&[]);
    let mut newer = second();
    newer[12] = 0x31;
    for sent in [REQUEST, b"PROXY TCP4 192.0.2.1\r\nGET / HTTP/1.1\r\n", PREFACE, &newer] {
        let mut caller = Caller::connect(demanding.address);
        caller.send(sent);
        assert!(caller.is_closed(), "{sent:?}");
    }
    let socket = socket_to(demanding.address);
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(Caller::over(socket).is_closed());
    assert!(demanding.application.seen().is_empty());
    assert_eq!(demanding.ask(FIRST).text(), "hello", "and nothing else has changed");
}

#[test]
fn it_has_to_come_in_time() {
    let limits = Limits { handshake: Duration::from_millis(100), ..Limits::default() };
    let demanding = Demanding::start_with(&[], limits, None);
    let mut silent = Caller::connect(demanding.address);
    let mut slow = Caller::connect(demanding.address);
    slow.send(&FIRST[..20]);
    assert!(silent.is_closed());
    assert!(slow.is_closed());
}

#[test]
fn who_is_named_as_trusted_is_the_only_one_who_may_say_it() {
    let demanding = Demanding::start(&["127.0.0.1", "192.0.2.0/24"]);
    assert_eq!(demanding.ask(FIRST).text(), "hello");
    assert_eq!(demanding.told(), "192.0.2.1");
    // Who is named may be a proxy itself, and then what it says is believed.
    let mut caller = Caller::connect(demanding.address);
    caller.send(FIRST);
    caller.get_with("/", "X-Forwarded-For: 203.0.113.9\r\n");
    assert_eq!(demanding.told(), "203.0.113.9, 192.0.2.1");

    let mut other = Caller::over(from(Ipv4Addr::new(127, 0, 0, 2), demanding.address));
    other.send([FIRST, REQUEST].concat());
    assert!(other.is_closed());
    assert_eq!(demanding.application.seen().len(), 2);
}

#[test]
fn open_connections_go_on_when_it_is_demanded() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let routes = || all(vec![backend("api@1", 100, &[application.address])]);
    let address = proxy.route(routes());
    let mut open = Caller::connect(address);
    assert_eq!(open.get("/").text(), "hello");
    let mut table = proxy.table(routes());
    table.gateway.proxy_protocol = true;
    proxy.publish(&table).unwrap();
    assert_eq!(open.get("/").text(), "hello");
    let mut new = Caller::connect(address);
    new.send(REQUEST);
    assert!(new.is_closed());
}

#[test]
fn a_proxy_that_ends_does_not_wait_for_it() {
    let mut demanding = Demanding::start(&[]);
    let mut silent = Caller::connect(demanding.address);
    silent.send(&FIRST[..20]);
    assert_eq!(demanding.ask(FIRST).text(), "hello");
    demanding.proxy.shutdown();
    demanding.proxy.join();
    assert!(silent.is_closed());
}

#[test]
fn haproxy_is_understood() {
    let Some(executable) = haproxy() else {
        assert!(std::env::var_os("TIDEGATE_TEST_REQUIRE").is_none(), "there is no HAProxy here");
        return eprintln!("skipped: there is no HAProxy here");
    };
    let demanding = Demanding::start(&["127.0.0.1"]);
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"]
    {
        let front = Front::start(&executable, demanding.address, option);
        // From another address than HAProxy itself has.
        let mut caller = Caller::over(from(Ipv4Addr::new(127, 0, 0, 3), front.address));
        assert_eq!(caller.get("/").text(), "hello", "{option}");
        assert_eq!(demanding.told(), "127.0.0.3", "{option}");
    }
}

fn haproxy() -> Option<std::path::PathBuf> {
    ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"]
        .map(std::path::PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
}

/// A connection from this address of the machine.
fn from(address: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A running `HAProxy`; ends with the test.
struct Front {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Front {
    fn start(executable: &std::path::Path, to: SocketAddr, option: &str) -> Self {
        // Another may take the port before HAProxy does.
        eventually("HAProxy listens", || Self::try_start(executable, to, option))
    }

    fn try_start(executable: &std::path::Path, to: SocketAddr, option: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 30s\n timeout client 30s\n timeout server 30s\n\
             frontend in\n bind {address}\n default_backend out\n\
             backend out\n server proxy {to} {option}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(executable);
        command.arg("-db").arg("-f").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut front = Self { process: command.spawn().unwrap(), address, _folder: folder };
        let listens = eventually("HAProxy starts or ends", || {
            if front.process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            TcpStream::connect(address).is_ok().then_some(true)
        });
        if !listens {
            let mut said = String::new();
            front.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(said.contains("cannot bind"), "{said}");
        }
        listens.then_some(front)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
