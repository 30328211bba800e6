//! Those who come in plain text are sent to where it is encrypted.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tidegate_proxy::Limits;
use tidegate_types::{Gateway, Listen, Tls, data_plane::ProxyTable};

use crate::{
    certificates::{Certificate, caller, encrypted},
    harness::{Caller, Former, Proxy, all, backend, get},
    upstream::Application,
};

fn redirected(table: ProxyTable, from: SocketAddr) -> ProxyTable {
    let tls = table.gateway.tls.map(|tls| Tls { redirect_from: Some(from), ..*tls }.into());
    ProxyTable { gateway: Gateway { tls, ..table.gateway }, ..table }
}

fn automatic() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

struct Place {
    folder: tempfile::TempDir,
    application: Application,
    proxy: Proxy,
}

impl Place {
    fn new() -> Self {
        Self::with(&Limits::default())
    }

    fn with(limits: &Limits) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            application: Application::saying("hello"),
            proxy: Proxy::start_with(*limits),
        }
    }

    /// In plain text.
    fn plain(&self) -> ProxyTable {
        self.proxy.table(all(vec![backend("api@1", 100, &[self.application.address])]))
    }

    /// By HTTPS, and with a redirect.
    fn table(&self) -> ProxyTable {
        let certificate = Certificate::write(self.folder.path(), "shop", "shop");
        redirected(encrypted(self.plain(), &[&certificate]), automatic())
    }

    /// Where it is encrypted, and where it is not.
    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let tables = self.proxy.tables();
        (tables[0].address.unwrap(), tables[0].redirect.unwrap())
    }
}

fn location(from: SocketAddr, path: &str) -> (u16, Option<String>) {
    let answer = get(from, path);
    (answer.status, answer.header("location").map(str::to_owned))
}

#[test]
fn who_comes_in_plain_text_is_sent_to_https() {
    let place = Place::new();
    let address = place.proxy.publish(&place.table()).unwrap().address;
    let (to, from) = place.addresses();
    assert_eq!(to, address);
    let mut plain = Caller::connect(from);
    for _ in 0..2 {
        let host = format!("shop.test:{}", from.port());
        plain.send(format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = plain.answer().unwrap();
        let wanted = format!("https://shop.test:{}/a?b=c", to.port());
        assert_eq!((answer.status, answer.header("location")), (308, Some(wanted.as_str())));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let answer = plain.post("/", "a body that nobody reads");
    assert_eq!((answer.status, answer.header("location")), (308, Some("https://shop/")));
    let answer = Caller::connect(from).head("/x");
    assert_eq!((answer.status, answer.header("location")), (308, Some("https://shop/x")));
    assert_eq!(caller(to).get("/").text(), "hello");
    assert_eq!(place.application.seen().len(), 1);
}

#[test]
fn a_request_that_names_no_host_is_sent_nowhere() {
    let place = Place::new();
    place.proxy.publish(&place.table()).unwrap();
    let (_, from) = place.addresses();
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: shop@evil\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: shop/evil\r\n\r\n",
        "GET http://evil/ HTTP/1.1\r\nHost: shop\r\n\r\n",
        "GET /../x HTTP/1.1\r\nHost: shop\r\n\r\n",
        "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut caller = Caller::connect(from);
        caller.send(bad);
        match caller.answer() {
            Ok(answer) => {
                assert_eq!((answer.status, answer.header("location")), (400, None), "{bad}");
            }
            // What is no HTTP/1 at all is not answered.
            Err(_) => assert!(bad.starts_with("PRI"), "{bad}"),
        }
    }
    // A question that nobody has prepared an answer for is nothing special.
    let (status, location) = location(from, "/.well-known/acme-challenge/x");
    assert_eq!(status, 308);
    assert_eq!(location.as_deref(), Some("https://shop/.well-known/acme-challenge/x"));
}

#[test]
fn silence_and_slow_heads_are_ended_as_elsewhere() {
    let limits = Limits {
        client_idle: Duration::from_millis(200),
        request_head: Duration::from_millis(300),
        ..Limits::default()
    };
    let place = Place::with(&limits);
    place.proxy.publish(&place.table()).unwrap();
    let (_, from) = place.addresses();
    assert!(Caller::connect(from).is_closed(), "who says nothing");
    let mut slow = Caller::connect(from);
    slow.send("GET / HTTP/1.1\r\nHost: sh");
    assert!(slow.is_closed(), "who does not end");
    let place = Place::new();
    place.proxy.publish(&place.table()).unwrap();
    let mut large = Caller::connect(place.addresses().1);
    large.send(format!("GET / HTTP/1.1\r\nHost: shop\r\nX: {}", "x".repeat(64 * 1024)));
    assert_eq!(large.answer().unwrap().status, 431);
}

#[test]
fn it_survives_restarts_and_successions() {
    let mut place = Place::new();
    place.proxy.publish(&place.table()).unwrap();
    let (to, from) = place.addresses();
    let check = |place: &Place| {
        assert_eq!(place.addresses(), (to, from));
        assert_eq!(location(from, "/").0, 308);
        assert_eq!(caller(to).get("/").text(), "hello");
    };
    // Another table leaves the sockets alone.
    place.proxy.publish(&place.table()).unwrap();
    check(&place);
    let mut open = Caller::connect(from);
    assert_eq!(open.get("/").status, 308);
    let former: Former = place.proxy.succeed();
    check(&place);
    // The former proxy ends the connection with its next answer.
    let answer = open.get("/");
    assert_eq!((answer.status, answer.header("connection")), (308, Some("close")));
    former.join();
    place.proxy.shutdown();
    place.proxy.join();
    place.proxy.begin();
    check(&place);
}

#[test]
fn an_address_becomes_that_of_the_redirect_and_back() {
    let place = Place::new();
    let plain = place.proxy.publish(&place.plain()).unwrap().address;
    assert_eq!(get(plain, "/").text(), "hello");
    let mut open = Caller::connect(plain);
    assert_eq!(open.get("/").text(), "hello");
    // The former address of the environment leads to the encrypted one.
    let table = place.table();
    let tls =
        table.gateway.tls.clone().map(|tls| Tls { redirect_from: Some(plain), ..*tls }.into());
    let [to, _] = crate::authority::free();
    let gateway = Gateway { listen: Listen::Address(to), tls, ..table.gateway.clone() };
    assert_eq!(place.proxy.publish(&ProxyTable { gateway, ..table }).unwrap().address, to);
    assert_eq!(location(plain, "/").0, 308);
    assert_eq!(caller(to).get("/").text(), "hello");
    // Who came before is served to the end.
    assert_eq!(open.get("/").text(), "hello");
    // And back.
    let table = place.plain();
    let gateway = Gateway { listen: Listen::Address(plain), ..table.gateway.clone() };
    assert_eq!(place.proxy.publish(&ProxyTable { gateway, ..table }).unwrap().address, plain);
    assert_eq!(get(plain, "/").text(), "hello");
    assert_eq!(place.proxy.tables()[0].redirect, None);
    assert!(std::net::TcpStream::connect(to).is_err(), "nobody listens there any more");
}

#[test]
fn addresses_that_cannot_be_had_are_refused() {
    let place = Place::new();
    let address = place.proxy.publish(&place.plain()).unwrap().address;
    let taken = std::net::TcpListener::bind(automatic()).unwrap();
    let refused = |listen, from| {
        let table = redirected(place.table(), from);
        let gateway = Gateway { listen, ..table.gateway.clone() };
        place.proxy.publish(&ProxyTable { gateway, ..table }).unwrap_err().to_string()
    };
    let error = refused(Listen::Automatic, taken.local_addr().unwrap());
    assert!(error.contains("cannot listen on"), "{error}");
    let error = refused(Listen::Address(address), address);
    assert!(error.contains("cannot lead to itself"), "{error}");
    assert_eq!(get(address, "/").text(), "hello");
}
