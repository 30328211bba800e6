//! Connections by TLS.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use rustls::{HandshakeKind, pki_types::ServerName};
use tidegate_proxy::{Limits, client::ClientError};
use tidegate_types::{CertificateFiles, Sticky, data_plane::Refusal};

use crate::{
    certificates::{Certificate, anybody, caller, encrypted, handshake, shown, trusting},
    harness::{Caller, Proxy, all, backend, eventually, get},
    upstream::Application,
};

/// A proxy whose only route says hello, by TLS.
fn greeting(certificates: &[&Certificate]) -> (Proxy, Application, std::net::SocketAddr) {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
    let address = proxy.publish(&encrypted(table, certificates)).unwrap().address;
    (proxy, application, address)
}

#[test]
fn a_client_is_shown_the_certificate_of_the_host_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Certificate::write(folder.path(), "shop", "shop.test");
    let blog = Certificate::write(folder.path(), "blog", "*.blog.test");
    let (_proxy, _application, address) = greeting(&[&shop, &blog]);
    for (host, wanted) in [
        ("shop.test", &shop),
        ("SHOP.TEST", &shop),
        ("a.blog.test", &blog),
        ("a.b.blog.test", &shop),
        ("other.test", &shop),
        ("127.0.0.1", &shop),
    ] {
        assert_eq!(shown(address, host), wanted.der, "{host}");
    }
    // A client that trusts only this certificate takes it.
    let mut roots = rustls::RootCertStore::empty();
    roots.add(blog.der.clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let strict = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = handshake(address, "a.blog.test", &std::sync::Arc::new(strict)).unwrap();
    assert_eq!(Caller::over(stream).get("/").text(), "hello");
}

#[test]
fn both_versions_and_both_protocols_are_offered() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let (_proxy, _application, address) = greeting(&[&certificate]);
    for (version, known) in [
        (&rustls::version::TLS12, rustls::ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, rustls::ProtocolVersion::TLSv1_3),
    ] {
        for (offered, wanted) in [
            (vec![], None),
            (vec!["http/1.1"], Some("http/1.1")),
            (vec!["http/1.1", "h2"], Some("h2")),
        ] {
            let stream = handshake(address, "shop", &trusting(&[version], &offered)).unwrap();
            assert_eq!(stream.conn.protocol_version(), Some(known));
            assert_eq!(stream.conn.alpn_protocol(), wanted.map(str::as_bytes));
            if wanted != Some("h2") {
                assert_eq!(Caller::over(stream).get("/").text(), "hello");
            }
        }
    }
    let unknown = trusting(rustls::ALL_VERSIONS, &["spdy/3"]);
    assert!(handshake(address, "shop", &unknown).is_err(), "it could not be understood");
}

#[test]
fn who_comes_back_needs_no_whole_handshake_at_any_worker() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let (_proxy, _application, address) = greeting(&[&certificate]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = trusting(&[version], &[]);
        let mut open = Vec::new();
        for turn in 0..6 {
            let stream = handshake(address, "shop", &config).unwrap();
            let kind = stream.conn.handshake_kind().unwrap();
            assert_eq!(kind == HandshakeKind::Resumed, turn > 0, "{turn}: {kind:?}");
            // The tickets come with the answer. Connections that stay open are at both workers.
            let mut caller = Caller::over(stream);
            assert_eq!(caller.get("/").text(), "hello");
            open.push(caller);
        }
    }
}

#[test]
fn the_application_and_the_browser_are_told_that_it_is_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let mut routes = all(vec![
        backend("api@1", 90, &[application.address]),
        backend("api@2", 10, &[application.address]),
    ]);
    routes[0].rule.handling.sticky = Some(Sticky::Cookie);
    let table = encrypted(proxy.table(routes), &[&certificate]);
    let address = proxy.publish(&table).unwrap().address;
    let answer = caller(address).get("/");
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.split("; ").any(|part| part == "Secure"), "{cookie}");
    assert_eq!(application.seen()[0].header("x-forwarded-proto"), Some("https"));
}

#[test]
fn a_new_certificate_is_shown_when_its_files_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let first = Certificate::write(folder.path(), "shop", "shop");
    let (_proxy, _application, address) = greeting(&[&first]);
    let mut open = caller(address);
    assert_eq!(shown(address, "shop"), first.der);
    let other = tempfile::tempdir().unwrap();
    let second = Certificate::write(other.path(), "shop", "shop");
    // The way certificates are renewed by most: a new file in the place of the old one.
    for (from, to) in [
        (&second.files.certificate, &first.files.certificate),
        (&second.files.key, &first.files.key),
    ] {
        let new = to.with_extension("new");
        std::fs::copy(from, &new).unwrap();
        std::fs::rename(&new, to).unwrap();
    }
    eventually("the new one is shown", || (shown(address, "shop") == second.der).then_some(()));
    assert_eq!(open.get("/").text(), "hello", "what was open stays open");
}

#[test]
fn a_table_with_bad_files_is_refused_and_what_serves_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let good = Certificate::write(folder.path(), "good", "shop");
    let other = Certificate::write(folder.path(), "other", "shop");
    let mut old = rcgen::CertificateParams::new(vec!["shop".to_owned()]).unwrap();
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = Certificate::write_from(folder.path(), "expired", &old);
    let mut new = rcgen::CertificateParams::new(vec!["shop".to_owned()]).unwrap();
    new.not_before = rcgen::date_time_ymd(2095, 1, 1);
    let early = Certificate::write_from(folder.path(), "early", &new);
    let (proxy, application, address) = greeting(&[&good]);
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty"), "").unwrap();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(path("garbage"), garbage).unwrap();
    for (certificate, key, words) in [
        (path("absent"), path("good.key"), ["absent", "No such file"]),
        (path("good.crt"), path("absent"), ["absent", "No such file"]),
        (path("empty"), path("good.key"), ["empty", "no certificate"]),
        (path("garbage"), path("good.key"), ["garbage", "damaged"]),
        (path("good.crt"), path("empty"), ["empty", "no private key"]),
        (path("good.crt"), other.files.key.clone(), ["other.key", "good.crt"]),
        (
            expired.files.certificate.clone(),
            expired.files.key.clone(),
            ["expired.crt", "2020-01-01"],
        ),
        (early.files.certificate.clone(), early.files.key.clone(), ["early.crt", "2095-01-01"]),
        ("relative".into(), path("good.key"), ["relative", "absolute"]),
    ] {
        let mut table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
        table = encrypted(table, &[&good]);
        let files = CertificateFiles { certificate, key };
        table.gateway.tls.as_mut().unwrap().certificates.push(files.clone());
        match proxy.publish(&table) {
            Err(ClientError::Refused(Refusal::Invalid { reason })) => {
                let told = words.iter().all(|word| reason.contains(word));
                assert!(told && reason.contains("shop/production"), "{reason}");
            }
            other => panic!("{files:?}: {other:?}"),
        }
        assert_eq!(caller(address).get("/").text(), "hello");
    }
    let mut none = encrypted(proxy.table(vec![]), &[]);
    assert!(proxy.publish(&none).is_err(), "nothing to show");
    none.gateway.tls = None;
}

#[test]
fn going_back_needs_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let first = Certificate::write(folder.path(), "first", "shop");
    let second = Certificate::write(folder.path(), "second", "shop");
    let (proxy, application, address) = greeting(&[&first]);
    let routes = || all(vec![backend("api@1", 100, &[application.address])]);
    proxy.publish(&encrypted(proxy.table(routes()), &[&second])).unwrap();
    assert_eq!(shown(address, "shop"), second.der);
    std::fs::remove_dir_all(folder.path()).unwrap();
    // The same certificate and other shares, then the former certificate, then none, and back.
    proxy.publish(&encrypted(proxy.table(routes()), &[&second])).unwrap();
    proxy.publish(&encrypted(proxy.table(routes()), &[&first])).unwrap();
    assert_eq!(shown(address, "shop"), first.der);
    proxy.publish(&proxy.table(routes())).unwrap();
    assert_eq!(get(address, "/").text(), "hello");
    proxy.publish(&encrypted(proxy.table(routes()), &[&second, &first])).unwrap();
    assert_eq!(shown(address, "shop"), second.der);
}

#[test]
fn plain_text_is_never_spoken_where_it_was_encrypted_before_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let (mut proxy, _application, address) = greeting(&[&certificate]);
    proxy.shutdown();
    proxy.join();
    let away = folder.path().join("away");
    std::fs::rename(&certificate.files.key, &away).unwrap();
    proxy.begin();
    assert_eq!(proxy.tables()[0].address, None, "it does not listen");
    std::net::TcpStream::connect(address).unwrap_err();
    std::fs::rename(&away, &certificate.files.key).unwrap();
    eventually("it listens again", || proxy.tables()[0].address);
    assert_eq!(shown(address, "shop"), certificate.der);
    assert_eq!(caller(address).get("/").text(), "hello");
}

#[test]
fn one_of_several_certificates_may_be_missing_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Certificate::write(folder.path(), "shop", "shop");
    let blog = Certificate::write(folder.path(), "blog", "blog");
    let (mut proxy, _application, address) = greeting(&[&shop, &blog]);
    proxy.shutdown();
    proxy.join();
    let away = folder.path().join("away");
    std::fs::rename(&shop.files.key, &away).unwrap();
    proxy.begin();
    assert_eq!(shown(address, "shop"), blog.der);
    std::fs::rename(&away, &shop.files.key).unwrap();
    eventually("it is read", || (shown(address, "shop") == shop.der).then_some(()));
}

#[test]
fn a_request_in_plain_text_is_answered_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let (_proxy, application, address) = greeting(&[&certificate]);
    let mut caller = Caller::connect(address);
    caller.send(format!("POST / HTTP/1.1\r\nHost: shop\r\nX: {}\r\n\r\n", "x".repeat(10_000)));
    let answer = caller.answer().unwrap();
    assert_eq!((answer.status, answer.header("tidegate-reason")), (400, Some("https-only")));
    assert!(answer.text().contains("https://"), "{}", answer.text());
    assert!(caller.is_closed());
    let mut garbage = Caller::connect(address);
    garbage.send([0x80; 100]);
    eventually("it is closed", || garbage.is_closed().then_some(()));
    assert_eq!(application.seen().len(), 0);
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let proxy =
        Proxy::start_with(Limits { handshake: Duration::from_millis(200), ..Limits::default() });
    let table = encrypted(proxy.table(vec![]), &[&certificate]);
    let address = proxy.publish(&table).unwrap().address;
    let mut silent = Caller::connect(address);
    assert!(silent.is_closed());
    // The beginning of a greeting that goes on for ever.
    let mut slow = Caller::connect(address);
    slow.send([0x16, 3, 1, 2, 0, 1, 0]);
    assert!(slow.is_closed());
}

#[test]
fn a_websocket_goes_through_and_the_end_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let application = Application::start(|_, stream| {
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        stream.get_mut().write_all(&word).unwrap();
        false
    });
    let proxy = Proxy::start();
    let table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
    let address = proxy.publish(&encrypted(table, &[&certificate])).unwrap().address;
    let mut caller = caller(address);
    caller
        .send("GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(caller.read_head().unwrap().status, 101);
    caller.send("ping");
    assert_eq!(caller.bytes(4).unwrap(), b"ping");
    // Without the word that ends an encrypted connection, this would be an error.
    assert!(caller.is_closed());
}

#[test]
fn an_encrypted_connection_ends_with_its_last_answer() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), "shop", "shop");
    let (mut proxy, _application, address) = greeting(&[&certificate]);
    let mut first = caller(address);
    assert_eq!(first.get("/").header("connection"), None);
    // In the middle of its handshake.
    let name = ServerName::try_from("shop").unwrap();
    let mut begun = rustls::ClientConnection::new(anybody(), name).unwrap();
    let mut socket = crate::harness::socket_to(address);
    begun.write_tls(&mut socket).unwrap();
    proxy.shutdown();
    assert_eq!(first.get("/").header("connection"), Some("close"));
    assert!(first.is_closed());
    proxy.join();
}
