//! A real authority that issues certificates by ACME: Pebble, and names that all lead here.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tidegate_types::{Acme, Gateway, Tls, data_plane::ProxyTable};

use crate::{
    certificates::{anybody, handshake},
    harness::{Caller, eventually},
};

/// Says whether Pebble is here, and if not so that the test is skipped or fails.
pub(crate) fn is_installed() -> bool {
    let found =
        Command::new("pebble").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    assert!(std::env::var_os("TIDEGATE_TEST_REQUIRE").is_none(), "pebble is missing");
    eprintln!("SKIPPED: pebble is missing (apt-get install pebble)");
    false
}

/// Where the authority asks whether a host leads to us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) tls: u16,
    pub(crate) http: u16,
}

impl Asked {
    /// By TLS at this address, and in plain text where nobody listens.
    pub(crate) fn by_tls(address: SocketAddr) -> Self {
        Self { tls: address.port(), http: 9 }
    }
}

/// An authority, which ends with the test.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    names: Names,
    address: SocketAddr,
    management: SocketAddr,
    process: Option<Child>,
}

impl Authority {
    /// One that does not run yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("server.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("server.key"), made.signing_key.serialize_pem()).unwrap();
        let [address, management] = free();
        Self { folder, names: Names::start(), address, management, process: None }
    }

    /// One that runs and asks there.
    pub(crate) fn start(asked: Asked) -> Self {
        let mut authority = Self::new();
        authority.run(asked, 90 * 86_400);
        authority
    }

    /// What it issues is valid for so many seconds.
    pub(crate) fn run(&mut self, asked: Asked, validity: u64) {
        let settings = format!(
            "{{\"pebble\": {{ \"listenAddress\": \"{}\", \"managementListenAddress\": \"{}\", \
             \"certificate\": \"server.crt\", \"privateKey\": \"server.key\", \"httpPort\": {}, \
             \"tlsPort\": {}, \"certificateValidityPeriod\": {validity} }}}}",
            self.address, self.management, asked.http, asked.tls
        );
        std::fs::write(self.folder.path().join("settings.json"), settings).unwrap();
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let process = Command::new("pebble")
            .args(["-config", "settings.json", "-dnsserver", &self.names.address.to_string()])
            .current_dir(self.folder.path())
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        for address in [self.address, self.management] {
            eventually("the authority listens", || {
                let ended = self.process.as_mut().unwrap().try_wait().unwrap();
                assert!(ended.is_none(), "the authority ended: {}", self.log());
                TcpStream::connect(address).ok()
            });
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How certificates for these hosts are ordered from it.
    pub(crate) fn acme(&self, hosts: &[&str]) -> Acme {
        Acme {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            email: Some("ops@example.com".to_owned()),
            directory: format!("https://localhost:{}/dir", self.address.port()),
            root: Some(self.root()),
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("server.crt")
    }

    /// A client that trusts what this authority issues, and nobody else.
    pub(crate) fn believer(&self) -> Arc<ClientConfig> {
        let mut caller = Caller::over(handshake(self.management, "localhost", &anybody()).unwrap());
        let answer = caller.get("/roots/0");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(answer.text().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// Addresses that nobody has, and that nobody is given who asks for any: they are to be bound a
/// while later.
pub(crate) fn free() -> [SocketAddr; 2] {
    let random = || 20_000 + u16::try_from(RandomState::new().hash_one(0) % 10_000).unwrap();
    // Taken at the same time, so that they are two.
    let taken = [(); 2].map(|()| {
        let try_one = || TcpListener::bind((Ipv4Addr::LOCALHOST, random())).ok();
        eventually("a free port", try_one)
    });
    taken.map(|listener| listener.local_addr().unwrap())
}

/// A table whose certificates are ordered.
pub(crate) fn ordering(table: ProxyTable, acme: Acme) -> ProxyTable {
    let tls = Some(Tls { acme: Some(acme), ..Tls::default() }.into());
    ProxyTable { gateway: Gateway { tls, ..table.gateway }, ..table }
}

/// A server of names by which all of them lead to this machine.
struct Names {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut question = [0; 512];
            while !stopped.load(SeqCst) {
                if let Ok((length, from)) = socket.recv_from(&mut question)
                    && let Some(answer) = answer(&question[..length])
                {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let _ = self.thread.take().unwrap().join();
    }
}

/// To one question: 127.0.0.1 for an address of IPv4, and nothing for all else.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    const HEAD: usize = 12;
    const ADDRESS: [u8; 2] = [0, 1];
    let name = question.get(HEAD..)?.iter().position(|byte| *byte == 0)?;
    let end = HEAD + name + 5;
    let is_for_address = question.get(end - 4..end - 2)? == ADDRESS;
    let found = u8::from(is_for_address);
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, found, 0, 0, 0, 0]);
    answer.extend(question.get(HEAD..end)?);
    if is_for_address {
        // The name of the question, an address, of the Internet, for a second, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
