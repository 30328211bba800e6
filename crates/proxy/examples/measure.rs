//! Prints what a request costs: `cargo run --release -p tidegate-proxy --example measure`.
//!
//! The proxy is a process of its own with one worker; the application and the clients are threads
//! of this one. CPU time per request is the figure to look at: it depends little on what else the
//! machine does.

use std::{
    error::Error,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use tidegate_proxy::{Options, client::Client, run};
use tidegate_types::{
    Epoch, Gateway, InstanceId, Protocol, RevisionId, RouteRule, Share,
    data_plane::{Endpoint, ProxyBackend, ProxyRoute, ProxyTable, Upstream},
};

const CONNECTIONS: usize = 32;
const SPAN: Duration = Duration::from_secs(4);
/// Of the clock in `/proc`: the kernel's `USER_HZ`, which is 100 on every Linux.
const TICK_MICROS: u64 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(home) = std::env::args_os().nth(1) {
        let home = Path::new(&home).to_owned();
        let socket = home.join("proxy.sock");
        let workers = 1;
        return Ok(run(Options { home, socket, workers, take_over: false })?);
    }
    let home = tempfile::tempdir()?;
    let mut proxy = Running(Command::new(std::env::current_exe()?).arg(home.path()).spawn()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(home.path().join("proxy.sock"));
    while runtime.block_on(client.tables()).is_err() {
        if let Some(status) = proxy.0.try_wait()? {
            return Err(format!("the proxy ended: {status}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    println!("resident memory, idle         {:>10} KiB", memory(&proxy)?);

    println!("body   connections   requests/s   CPU/request   resident");
    for size in [1_024, 102_400] {
        let application = serve(size)?;
        let published = runtime.block_on(client.publish(&table(size as u64, application)))?;
        let before = cpu(&proxy)?;
        let started = Instant::now();
        let requests = load(published.address, size);
        let rate = requests * 1_000 / u64::try_from(started.elapsed().as_millis())?.max(1);
        let micros = (cpu(&proxy)? - before) * TICK_MICROS;
        println!(
            "{size:>6} {CONNECTIONS:>12} {rate:>12} {:>9}.{} µs {:>6} KiB",
            micros / requests.max(1),
            micros * 10 / requests.max(1) % 10,
            memory(&proxy)?
        );
    }
    runtime.block_on(client.shutdown())?;
    proxy.0.wait()?;
    Ok(())
}

/// A child that does not outlive this process's interest in it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn table(epoch: u64, application: SocketAddr) -> ProxyTable {
    let backend = |name: &str, percent| ProxyBackend {
        revision: RevisionId::new(name),
        share: Share::percent(percent),
        role: "stable".into(),
        upstream: Upstream::Endpoints(vec![Endpoint {
            protocol: Protocol::Http1,
            drain: None,
            instance: InstanceId::new(format!("{name}.1")),
            address: application,
            check: None,
        }]),
    };
    ProxyTable {
        scope: "bench/local".parse().expect("a scope"),
        epoch: Epoch(epoch),
        membership: 0,
        gateway: Gateway::default(),
        routes: vec![ProxyRoute {
            rule: RouteRule::everything(),
            backends: vec![backend("a@1", 90), backend("a@2", 10)],
        }],
    }
}

fn serve(size: usize) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream, size));
        }
    });
    Ok(address)
}

fn answer(stream: TcpStream, size: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + size, b'x');
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            stream.get_mut().write_all(&answer)?;
        }
    }
}

/// How many requests were answered in the span.
fn load(address: SocketAddr, size: usize) -> u64 {
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..CONNECTIONS {
            threads.spawn(|| {
                if let Err(error) = ask(address, size, &stop, &answered) {
                    eprintln!("a client failed: {error}");
                }
            });
        }
        std::thread::sleep(SPAN);
        stop.store(true, Relaxed);
    });
    answered.load(Relaxed)
}

fn ask(
    address: SocketAddr,
    size: usize,
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> std::io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), vec![0; size]);
    while !stop.load(Relaxed) {
        stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        line.clear();
        stream.read_exact(&mut body)?;
        answered.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// User and system time in ticks.
fn cpu(proxy: &Running) -> Result<u64, Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.0.id()))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || -> Result<u64, Box<dyn Error>> {
        Ok(fields.next().ok_or("/proc/PID/stat is too short")?.parse()?)
    };
    Ok(next()? + next()?)
}

/// Resident memory in KiB.
fn memory(proxy: &Running) -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.0.id()))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("/proc/PID/status has no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").to_owned())
}
