//! What proxies in front say of where a request comes from.

use std::net::SocketAddr;

use tidegate_types::{AccessLog, Network, QueryLogging, Share, Sticky};

use crate::{
    frames::{END_HEADERS, END_STREAM, Frames, GET, HEADERS, block},
    harness::{Answer, Caller, Proxy, all, backend, eventually},
    upstream::Application,
};

const SAID: &str = "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Host: shop.test\r\nForwarded: for=6.6.6.6\r\n";

/// A proxy that believes these.
struct Trusting {
    proxy: Proxy,
    application: Application,
    address: SocketAddr,
}

impl Trusting {
    fn start(trusted: &[&str]) -> Self {
        let application = Application::saying("hello");
        let proxy = Proxy::start();
        let mut trusting = Self { proxy, application, address: ([0, 0, 0, 0], 0).into() };
        trusting.trust(trusted);
        trusting
    }

    fn trust(&mut self, trusted: &[&str]) {
        let mut routes = all(vec![
            backend("api@1", 90, &[self.application.address]),
            backend("api@2", 10, &[self.application.address]),
        ]);
        routes[0].rule.handling.sticky = Some(Sticky::Cookie);
        let mut table = self.proxy.table(routes);
        table.gateway.trusted_proxies =
            trusted.iter().map(|text| text.parse::<Network>().unwrap()).collect();
        self.address = self.proxy.publish(&table).unwrap().address;
    }

    /// What the application was told of the last request.
    fn told(&self) -> [String; 4] {
        let seen = self.application.seen();
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"]
            .map(|name| seen.last().unwrap().header(name).unwrap_or_default().to_owned())
    }
}

fn is_secure(answer: &Answer) -> bool {
    answer.header("set-cookie").unwrap().split("; ").any(|part| part == "Secure")
}

#[test]
fn what_a_trusted_proxy_says_is_believed_and_continued() {
    let trusting = Trusting::start(&["192.168.0.0/16", "127.0.0.0/8"]);
    let answer = Caller::connect(trusting.address).get_with("/", SAID);
    assert!(is_secure(&answer), "the browser came by TLS");
    let wanted = [
        "192.0.2.1, 127.0.0.1",
        "https",
        "shop.test",
        "for=192.0.2.1;host=shop.test;proto=https, for=127.0.0.1;host=shop;proto=http",
    ];
    assert_eq!(trusting.told(), wanted);

    let mut http2 = Frames::open(trusting.address);
    let said = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")];
    let head = block(&[GET.as_slice(), &said].concat());
    assert!(http2.send(HEADERS, END_STREAM | END_HEADERS, 1, &head));
    http2.next_of(&[HEADERS]).unwrap();
    assert_eq!(trusting.told()[..2], ["192.0.2.7, 127.0.0.1", "https"]);
}

#[test]
fn what_anybody_says_is_removed() {
    let mut trusting = Trusting::start(&["10.0.0.0/8"]);
    let wanted = ["127.0.0.1", "http", "shop", "for=127.0.0.1;host=shop;proto=http"];
    let mut caller = Caller::connect(trusting.address);
    for _ in 0..2 {
        assert!(!is_secure(&caller.get_with("/", SAID)));
        assert_eq!(trusting.told(), wanted);
    }
    trusting.trust(&[]);
    caller.get_with("/", SAID);
    assert_eq!(trusting.told(), wanted);
    // From now on, also on connections that are open.
    trusting.trust(&["127.0.0.1"]);
    assert!(is_secure(&caller.get_with("/", SAID)));
    assert_eq!(trusting.told()[0], "192.0.2.1, 127.0.0.1");
}

#[test]
fn nobody_can_have_the_headers_removed_on_the_way() {
    let trusting = Trusting::start(&["127.0.0.1"]);
    for name in ["Forwarded", "X-Forwarded-For"] {
        let said = format!("{SAID}Connection: {name}\r\n");
        let answer = Caller::connect(trusting.address).get_with("/", &said);
        assert_eq!(answer.status, 400, "{name}");
    }
}

#[test]
fn the_access_log_names_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let mut table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
    table.gateway.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let log = AccessLog { path: path.clone(), sample: Share::ALL, query: QueryLogging::Drop };
    table.gateway.access_log = Some(log.into());
    let address = proxy.publish(&table).unwrap().address;
    Caller::connect(address).get_with("/", SAID);
    let line = eventually("a line", || {
        std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))
    });
    assert!(line.contains("\"192.0.2.1\"") && !line.contains("6.6.6.6"), "{line}");
}
