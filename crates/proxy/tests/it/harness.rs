//! A proxy in this process, and a client that sends bytes as it is told.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tidegate_proxy::{
    Error, Limits, Options,
    client::{Client, ClientError, Published},
    run_with,
};
use tidegate_types::{
    Buckets, Epoch, Gateway, InstanceId, Mark, Protocol, RevisionId, RouteRule, Scope, Share,
    data_plane::{
        Endpoint, Health, ProxyBackend, ProxyRoute, ProxyTable, ServedTable, Traffic, Upstream,
    },
};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn scope() -> Scope {
    "shop/production".parse().unwrap()
}

/// Ends the load of a test, also when the test fails.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// A proxy that ends with the test.
pub(crate) struct Proxy {
    home: tempfile::TempDir,
    limits: Limits,
    thread: Option<JoinHandle<Result<(), Error>>>,
    runtime: tokio::runtime::Runtime,
    client: Client,
    epoch: AtomicU64,
}

/// A proxy whose place was taken.
pub(crate) struct Former(Option<JoinHandle<Result<(), Error>>>);

impl Former {
    pub(crate) fn has_ended(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has ended.
    pub(crate) fn join(mut self) {
        eventually("the former proxy ends", || self.has_ended().then_some(()));
        self.0.take().unwrap().join().unwrap().unwrap();
    }
}

/// A word with the proxy that is in charge.
pub(crate) struct Word(BufReader<UnixStream>);

impl Word {
    pub(crate) fn with(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }

    /// The next line; empty when the other side has hung up.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            read => drop(read.unwrap()),
        }
        line
    }
}

impl Proxy {
    pub(crate) fn start() -> Self {
        Self::start_with(Limits::default())
    }

    #[expect(clippy::large_types_passed_by_value, reason = "made where it is given, once a test")]
    pub(crate) fn start_with(limits: Limits) -> Self {
        let home = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::new(home.path().join("proxy.sock"));
        let mut proxy =
            Self { home, limits, thread: None, runtime, client, epoch: AtomicU64::new(1) };
        proxy.begin();
        proxy
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("proxy.sock")
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            home: self.home.path().to_owned(),
            socket: self.socket(),
            workers: 2,
            take_over: false,
        }
    }

    /// Starts another proxy that takes this one's place; returns the former one when the new one
    /// is in charge.
    pub(crate) fn succeed(&mut self) -> Former {
        let mut word = Word::with(&self.socket());
        word.say("\"build\"");
        assert!(word.hear().contains("build"), "the proxy listens to us");
        let (options, limits) = (Options { take_over: true, ..self.options() }, self.limits);
        let thread = std::thread::spawn(move || run_with(options, limits));
        let former = self.thread.replace(thread);
        assert_eq!(word.hear(), "", "who has a successor hears nobody else");
        Former(former)
    }

    /// Starts the proxy on its home; returns when it answers.
    pub(crate) fn begin(&mut self) {
        let (options, limits) = (self.options(), self.limits);
        self.thread = Some(std::thread::spawn(move || run_with(options, limits)));
        eventually("the proxy answers", || {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(!ended, "the proxy ended");
            self.runtime.block_on(self.client.tables()).ok()
        });
    }

    /// Tells the proxy to end, without waiting.
    pub(crate) fn shutdown(&self) {
        self.call(Client::shutdown).unwrap();
    }

    /// Calls until there is an answer: a disk under load may keep one waiting for longer than a
    /// call does. Every call is idempotent.
    fn call<'a, T, F>(&'a self, call: impl Fn(&'a Client) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        eventually("an answer on the control socket", || {
            match self.runtime.block_on(call(&self.client)) {
                Err(ClientError::Timeout { .. }) => None,
                answer => Some(answer),
            }
        })
    }

    /// Waits until the proxy has ended.
    pub(crate) fn join(&mut self) {
        let thread = self.thread.take().unwrap();
        eventually("the proxy ends", || thread.is_finished().then_some(()));
        thread.join().unwrap().unwrap();
    }

    pub(crate) fn publish(&self, table: &ProxyTable) -> Result<Published, ClientError> {
        self.call(|client| client.publish(table))
    }

    /// Publishes these routes as a newer table than all before.
    pub(crate) fn route(&self, routes: Vec<ProxyRoute>) -> SocketAddr {
        self.publish(&self.table(routes)).unwrap().address
    }

    /// A newer table than all before.
    pub(crate) fn table(&self, routes: Vec<ProxyRoute>) -> ProxyTable {
        ProxyTable {
            scope: scope(),
            epoch: Epoch(self.epoch.fetch_add(1, Relaxed)),
            membership: 0,
            gateway: Gateway::default(),
            routes,
        }
    }

    pub(crate) fn remove(&self) {
        self.try_remove().unwrap();
    }

    pub(crate) fn try_remove(&self) -> Result<(), ClientError> {
        let scope = scope();
        self.call(|client| client.remove(&scope))
    }

    pub(crate) fn tables(&self) -> Vec<ServedTable> {
        self.call(Client::tables).unwrap()
    }

    pub(crate) fn traffic(&self) -> Traffic {
        {
            let scope = scope();
            self.call(|client| client.traffic(&scope)).unwrap()
        }
    }

    pub(crate) fn health(&self) -> Health {
        let scope = scope();
        self.call(|client| client.health(&scope)).unwrap()
    }

    /// The buckets that were closed after this one.
    pub(crate) fn buckets(&self, after: Option<Mark>) -> Buckets {
        let scope = scope();
        self.call(|client| client.buckets(&scope, after)).unwrap()
    }

    /// Requests and errors of a revision.
    pub(crate) fn counted(&self, revision: &str) -> (u64, u64) {
        let traffic = self.traffic();
        let counters = traffic.revisions.get(&RevisionId::new(revision));
        counters.map_or((0, 0), |counters| (counters.requests(), counters.errors()))
    }

    pub(crate) fn in_flight(&self, revision: &str, number: u32) -> u64 {
        let instance = InstanceId::of(&RevisionId::new(revision), number);
        let traffic = self.traffic();
        traffic.in_flight.get(&instance).copied().unwrap_or(0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A call may get no answer in time on a machine that is busy.
            while !thread.is_finished() && self.runtime.block_on(self.client.shutdown()).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = thread.join();
        }
    }
}

/// Everything to these backends.
pub(crate) fn all(backends: Vec<ProxyBackend>) -> Vec<ProxyRoute> {
    vec![route("/", backends)]
}

pub(crate) fn route(path: &str, backends: Vec<ProxyBackend>) -> ProxyRoute {
    ProxyRoute {
        rule: RouteRule {
            host: None,
            path: path.to_owned(),
            strip_prefix: false,
            ..RouteRule::everything()
        },
        backends,
    }
}

/// A revision with its endpoints, numbered from 1.
pub(crate) fn backend(revision: &str, percent: u32, addresses: &[SocketAddr]) -> ProxyBackend {
    let revision = RevisionId::new(revision);
    let endpoints = (1..)
        .zip(addresses)
        .map(|(number, address)| Endpoint {
            instance: InstanceId::of(&revision, number),
            address: *address,
            check: None,
            protocol: Protocol::Http1,
            drain: None,
        })
        .collect();
    ProxyBackend {
        revision,
        share: Share::percent(percent),
        role: if percent > 50 { "stable" } else { "candidate" }.to_owned(),
        upstream: Upstream::Endpoints(endpoints),
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A socket that gives up waiting.
pub(crate) fn socket_to(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Plain, or encrypted.
pub(crate) trait Stream: std::io::Read + std::io::Write + Send {}

impl<S: std::io::Read + std::io::Write + Send> Stream for S {}

/// A connection to the proxy.
pub(crate) struct Caller {
    stream: BufReader<Box<dyn Stream>>,
}

impl Caller {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(socket_to(address))
    }

    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.try_get(path, "").unwrap()
    }

    pub(crate) fn get_with(&mut self, path: &str, headers: &str) -> Answer {
        self.try_get(path, headers).unwrap()
    }

    pub(crate) fn try_get(&mut self, path: &str, headers: &str) -> std::io::Result<Answer> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n{headers}\r\n");
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.answer()
    }

    pub(crate) fn head(&mut self, path: &str) -> Answer {
        self.send(format!("HEAD {path} HTTP/1.1\r\nHost: shop\r\n\r\n"));
        self.read_head().unwrap()
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        self.answer().unwrap()
    }

    /// Reads a whole answer.
    pub(crate) fn answer(&mut self) -> std::io::Result<Answer> {
        let mut answer = self.read_head()?;
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk()? {
                answer.body.extend(chunk);
            }
        } else if !matches!(answer.status, 101 | 204 | 304) {
            let length = answer.header("content-length").map(|length| length.parse().unwrap());
            if let Some(length) = length {
                answer.body = self.bytes(length)?;
            } else {
                self.stream.read_to_end(&mut answer.body)?;
            }
        }
        Ok(answer)
    }

    /// Reads the head of an answer.
    pub(crate) fn read_head(&mut self) -> std::io::Result<Answer> {
        let mut head = String::new();
        loop {
            let before = head.len();
            if self.stream.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if head[before..].trim().is_empty() {
                break;
            }
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = Vec::new();
        Ok(Answer { status, head, body })
    }

    /// Reads a chunk; none at the end.
    pub(crate) fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut size = String::new();
        self.stream.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16)
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
        let chunk = self.bytes(size)?;
        self.bytes(2)?;
        Ok((size > 0).then_some(chunk))
    }

    pub(crate) fn bytes(&mut self, count: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the other side has closed the connection without another word.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// One request on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    Caller::connect(address).get(path)
}
