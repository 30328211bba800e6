//! Certificates that the proxy orders by itself, from a real authority.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, pki_types::CertificateDer};
use tidegate_proxy::{Limits, Ordered, ordered};
use tidegate_types::{Acme, Gateway, Tls, data_plane::ProxyTable};

use crate::{
    authority::{Asked, Authority, is_installed, ordering},
    certificates::{Certificate, anybody, encrypted, handshake, shown},
    harness::{Caller, Proxy, all, backend, eventually, get},
    upstream::Application,
};

const SHOP: &str = "shop.example.com";
const BLOG: &str = "blog.example.com";

/// A proxy that answers in plain text.
struct Place {
    proxy: Proxy,
    application: Application,
    address: SocketAddr,
}

impl Place {
    fn new() -> Self {
        let application = Application::saying("hello");
        // Tries follow each other soon.
        let proxy = Proxy::start_with(Limits {
            order_pause: Duration::from_secs(1),
            order_pause_longest: Duration::from_secs(1),
            ..Limits::default()
        });
        let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
        Self { proxy, application, address }
    }

    fn table(&self) -> ProxyTable {
        self.proxy.table(all(vec![backend("api@1", 100, &[self.application.address])]))
    }

    fn order(&self, acme: &Acme) {
        let published = self.proxy.publish(&ordering(self.table(), acme.clone())).unwrap();
        assert_eq!(published.address, self.address);
    }

    fn of_host(&self, acme: &Acme, host: &str) -> Ordered {
        let tls = Tls { acme: Some(acme.clone()), ..Tls::default() };
        let all = ordered(self.proxy.home(), &tls);
        all.into_iter().find(|ordered| ordered.host == host).unwrap()
    }

    /// Why there is no certificate.
    fn problem(&self, acme: &Acme) -> String {
        eventually("it fails", || {
            let problem = self.of_host(acme, SHOP).problem?;
            (!problem.contains("broken off")).then_some(problem)
        })
    }

    /// Waits until somebody who trusts only the authority gets an answer.
    fn is_believed(&self, host: &str, believer: &Arc<ClientConfig>) -> CertificateDer<'static> {
        let stream = eventually("a certificate that is trusted", || {
            handshake(self.address, host, believer).ok()
        });
        let shown = stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
        assert_eq!(Caller::over(stream).get("/").text(), "hello");
        shown
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn certificates_are_ordered_served_and_kept() {
    if !is_installed() {
        return;
    }
    let mut place = Place::new();
    let mut authority = Authority::start(Asked::by_tls(place.address));
    let acme = authority.acme(&[SHOP, BLOG]);
    let mut open = Caller::connect(place.address);
    assert_eq!(open.get("/").text(), "hello", "it has been accepted");
    place.order(&acme);
    let believer = authority.believer();
    let shop = place.is_believed(SHOP, &believer);
    assert_ne!(place.is_believed(BLOG, &believer), shop, "each host has its own");
    assert_eq!(open.get("/").text(), "hello", "who came before notices nothing");
    let state = place.of_host(&acme, SHOP);
    assert!(state.valid_until.is_some() && state.problem.is_none(), "{state:?}");
    let kept = files(&place.proxy.home().join("acme"));
    assert!(kept.len() >= 5, "an account, two certificates, two notes: {kept:?}");
    for path in kept {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    // Nobody is needed for the next start.
    authority.stop();
    place.proxy.shutdown();
    place.proxy.join();
    place.proxy.begin();
    assert_eq!(place.is_believed(SHOP, &believer), shop);
    place.proxy.succeed().join();
    assert_eq!(place.is_believed(SHOP, &believer), shop);
}

#[test]
fn without_a_certificate_nobody_can_connect_and_one_of_the_users_own_comes_first() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let own = Certificate::write(folder.path(), "own", BLOG);
    // Nobody is there.
    let nobody = Authority::new();
    let acme = nobody.acme(&[SHOP]);
    place.order(&acme);
    handshake(place.address, SHOP, &anybody()).unwrap_err();
    let problem = place.problem(&acme);
    assert!(problem.contains("cannot be asked"), "{problem}");
    let answer = get(place.address, "/");
    assert_eq!((answer.status, answer.header("tidegate-reason")), (400, Some("https-only")));
    let acme = nobody.acme(&[BLOG, "later.example.com"]);
    let table = encrypted(place.table(), &[&own]);
    let tls = table.gateway.tls.map(|tls| Tls { acme: Some(acme.clone()), ..*tls }.into());
    let gateway = Gateway { tls, ..table.gateway };
    place.proxy.publish(&ProxyTable { gateway, ..table }).unwrap();
    assert_eq!(shown(place.address, BLOG), own.der);
    eventually("the one after it is ordered", || place.of_host(&acme, "later.example.com").problem);
    assert_eq!(place.of_host(&acme, BLOG).problem, None, "none is ordered");
}

#[test]
fn an_old_certificate_is_served_until_there_is_a_new_one() {
    if !is_installed() {
        return;
    }
    let place = Place::new();
    let mut authority = Authority::new();
    let acme = authority.acme(&[SHOP]);
    // The first try makes the folder.
    place.order(&acme);
    let problem = place.problem(&acme);
    assert!(problem.contains("cannot be asked"), "{problem}");
    let note = files(&place.proxy.home().join("acme"));
    let note = note.iter().find(|path| path.ends_with(format!("{SHOP}.json"))).unwrap();
    let mut params = rcgen::CertificateParams::new(vec![SHOP.to_owned()]).unwrap();
    // Two thirds of it are over.
    params.not_before = rcgen::date_time_ymd(1950, 1, 1);
    params.not_after = rcgen::date_time_ymd(2060, 1, 1);
    params.distinguished_name.push(rcgen::DnType::CommonName, "old");
    let key = rcgen::KeyPair::generate().unwrap();
    let old = params.self_signed(&key).unwrap();
    let path = note.with_extension("pem");
    std::fs::write(&path, old.pem() + &key.serialize_pem()).unwrap();
    eventually("the file is read", || {
        let stream = handshake(place.address, SHOP, &anybody()).ok()?;
        (stream.conn.peer_certificates()?[0] == *old.der()).then_some(())
    });
    let mut open = Caller::over(handshake(place.address, SHOP, &anybody()).unwrap());
    assert_eq!(open.get("/").text(), "hello");
    // It failed, is tried again, and fails again: what is there stays.
    std::fs::remove_file(note).unwrap();
    eventually("it is tried again", || note.exists().then_some(()));
    assert_eq!(shown(place.address, SHOP), *old.der());
    authority.run(Asked::by_tls(place.address), 90 * 86_400);
    let new = place.is_believed(SHOP, &authority.believer());
    assert_ne!(new, *old.der());
    assert_eq!(open.get("/").text(), "hello", "nobody who is connected notices");
    assert_eq!(place.of_host(&acme, SHOP).problem, None);
}

#[test]
fn certificates_are_renewed_before_they_end_also_by_a_successor() {
    if !is_installed() {
        return;
    }
    let mut place = Place::new();
    let mut authority = Authority::new();
    authority.run(Asked::by_tls(place.address), 9);
    place.order(&authority.acme(&[SHOP]));
    let believer = authority.believer();
    let first = place.is_believed(SHOP, &believer);
    let mut open = Caller::over(handshake(place.address, SHOP, &anybody()).unwrap());
    let other_than = |place: &Place, before: &CertificateDer<'_>| {
        eventually("another certificate", || {
            let stream = handshake(place.address, SHOP, &believer).ok()?;
            let shown = stream.conn.peer_certificates()?[0].clone().into_owned();
            (shown != *before).then_some(shown)
        })
    };
    let second = other_than(&place, &first);
    assert_eq!(open.get("/").text(), "hello", "nobody who is connected notices");
    let former = place.proxy.succeed();
    other_than(&place, &second);
    drop(open);
    former.join();
}

#[test]
fn whoever_has_a_successor_lets_go_of_an_order_under_way() {
    let mut place = Place::new();
    // It takes connections and says nothing.
    let authority = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = format!("https://{}/dir", authority.local_addr().unwrap());
    let mut open = Caller::connect(place.address);
    assert_eq!(open.get("/").text(), "hello");
    authority.set_nonblocking(true).unwrap();
    let asked = || {
        let (stream, _) = eventually("somebody asks", || authority.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let other = Authority::new();
    place.order(&Acme { directory, ..other.acme(&[SHOP]) });
    let mut of_the_former = asked();
    // Somebody who came before keeps it from ending.
    let former = place.proxy.succeed();
    let said = of_the_former.read_to_end(&mut Vec::new());
    assert!(said.is_ok(), "the former proxy still waits for the authority: {said:?}");
    assert!(!former.has_ended());
    // Its successor tries after the pause, as after any try that failed.
    let _of_the_successor = asked();
    drop(open);
    former.join();
}

#[test]
fn a_host_that_leads_elsewhere_has_no_certificate_and_says_why() {
    if !is_installed() {
        return;
    }
    let place = Place::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let authority = Authority::start(Asked::by_tls(nobody));
    let acme = authority.acme(&[SHOP]);
    place.order(&acme);
    let problem = place.problem(&acme);
    assert!(
        problem.contains("is not convinced that the host leads here (tls-alpn-01"),
        "{problem}"
    );
    assert!(problem.len() > 100, "it says what the authority found: {problem}");
}

#[test]
fn an_authority_that_is_not_trusted_is_not_asked() {
    if !is_installed() {
        return;
    }
    let place = Place::new();
    let (authority, other) = (Authority::start(Asked::by_tls(place.address)), Authority::new());
    let acme = Acme { root: other.acme(&[]).root, ..authority.acme(&[SHOP]) };
    place.order(&acme);
    let problem = place.problem(&acme);
    assert!(problem.contains("invalid peer certificate"), "{problem}");
}

#[test]
fn an_authority_can_ask_in_plain_text() {
    if !is_installed() {
        return;
    }
    let place = Place::new();
    let mut authority = Authority::new();
    let acme = authority.acme(&[SHOP]);
    let table = ordering(place.table(), acme.clone());
    let from = Some("127.0.0.1:0".parse().unwrap());
    let tls = table.gateway.tls.map(|tls| Tls { redirect_from: from, ..*tls }.into());
    let gateway = Gateway { tls, ..table.gateway };
    place.proxy.publish(&ProxyTable { gateway, ..table }).unwrap();
    let from = place.proxy.tables()[0].redirect.unwrap();
    // By TLS it finds nobody: after that it is asked the other way.
    authority.run(Asked { tls: 9, http: from.port() }, 90 * 86_400);
    place.is_believed(SHOP, &authority.believer());
    assert_eq!(get(from, "/").status, 308);
}
