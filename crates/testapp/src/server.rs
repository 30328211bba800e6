//! A small HTTP/1.1 server: a thread for each connection.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use signal_hook::consts::SIGTERM;

use crate::options::Options;

struct App {
    options: Options,
    started: Instant,
    /// Requests other than those about its health.
    requests: AtomicU64,
    in_flight: AtomicU64,
}

/// How often files and signals are looked at.
const TICK: Duration = Duration::from_millis(5);

pub(crate) fn run(options: Options) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let terminate = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&terminate)).map_err(text)?;
    let app = Arc::new(App {
        options,
        started: Instant::now(),
        requests: AtomicU64::new(0),
        in_flight: AtomicU64::new(0),
    });
    app.report("started");
    println!("version {} starts", app.version());
    if app.options.text("fork").is_some() {
        let child = Command::new("sleep").arg("600").spawn().map_err(text)?;
        app.report_process("forked", child.id());
    }
    if app.options.text("flood").is_some() {
        std::thread::spawn(|| {
            let block = "flood of output\n".repeat(4_096);
            while std::io::stdout().write_all(block.as_bytes()).is_ok() {}
        });
    }
    if let Some(delay) = app.options.time("start_delay") {
        std::thread::sleep(delay);
    }
    if let Ok(port) = std::env::var("PORT") {
        let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
        let listener = TcpListener::bind(format!("{host}:{port}"))
            .map_err(|error| format!("cannot listen on {host}:{port}: {error}"))?;
        let app = Arc::clone(&app);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let app = Arc::clone(&app);
                std::thread::spawn(move || app.converse(stream));
            }
        });
    }
    println!("listening");
    loop {
        if app.options.time("die_after").is_some_and(|after| app.started.elapsed() >= after) {
            return Err("dying as told".to_owned());
        }
        // Whoever removes the file is the one that dies.
        if app.options.path("die_when").is_some_and(|file| std::fs::remove_file(file).is_ok()) {
            return Err("dying as told by a file".to_owned());
        }
        if terminate.load(Ordering::Relaxed)
            && app.options.text("on_term") != Some("ignore")
            && app.in_flight.load(Ordering::SeqCst) == 0
        {
            app.report("stopped");
            return Ok(());
        }
        std::thread::sleep(TICK);
    }
}

impl App {
    fn version(&self) -> &str {
        self.options.text("version").unwrap_or("none")
    }

    fn report(&self, what: &str) {
        self.report_process(what, std::process::id());
    }

    fn report_process(&self, what: &str, pid: u32) {
        if let Some(path) = self.options.path("report") {
            let instance = std::env::var("TIDEGATE_INSTANCE").unwrap_or_default();
            let line = format!("{what} {instance} {pid}\n");
            let file = OpenOptions::new().create(true).append(true).open(path);
            if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
                eprintln!("cannot report: {error}");
            }
        }
    }

    /// Answers requests until the client has no more.
    fn converse(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(mut writer) = stream.try_clone() else {
            return;
        };
        let mut reader = BufReader::new(stream);
        while let Some((target, close)) = read_request(&mut reader) {
            // A health check that hangs does not keep the app from ending.
            let counted = u64::from(target != "/health" && target != "/ready");
            self.in_flight.fetch_add(counted, Ordering::SeqCst);
            let answered = self.answer(&target, close, &mut writer);
            self.in_flight.fetch_sub(counted, Ordering::SeqCst);
            if answered.is_err() || close {
                return;
            }
        }
    }

    fn answer(&self, target: &str, close: bool, writer: &mut TcpStream) -> std::io::Result<()> {
        let path = target.split('?').next().unwrap_or_default();
        let status = match path {
            "/health" | "/ready" => {
                while self.options.exists("hang_while")
                    || (path == "/health" && self.options.exists("hang_when"))
                {
                    std::thread::sleep(TICK);
                }
                self.health()
            }
            _ => {
                if let Some((_, millis)) = target.split_once("ms=") {
                    std::thread::sleep(Duration::from_millis(millis.parse().unwrap_or(0)));
                }
                self.fate()
            }
        };
        let instance = std::env::var("TIDEGATE_INSTANCE").unwrap_or_default();
        let body = format!("{} {instance} {target}\n", self.version());
        let connection = if close { "close" } else { "keep-alive" };
        write!(
            writer,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: text/plain\r\nX-Version: {}\r\n\
             Connection: {connection}\r\n\r\n{body}",
            body.len(),
            self.version(),
        )
    }

    fn health(&self) -> &'static str {
        let early =
            self.options.time("ready_after").is_some_and(|after| self.started.elapsed() < after);
        if early
            || self.options.text("ready") == Some("never")
            || self.options.exists("unready_while")
        {
            "503 Service Unavailable"
        } else {
            "200 OK"
        }
    }

    /// Of every hundred requests so many fail, evenly spread.
    fn fate(&self) -> &'static str {
        let percent = self.options.number("error_percent").unwrap_or(0);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if (number + 1) * percent / 100 > number * percent / 100 {
            "500 Internal Server Error"
        } else {
            "200 OK"
        }
    }
}

/// The target of the next request and whether it is the connection's last.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, bool)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let target = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    let mut close = line.trim_end().ends_with("HTTP/1.0");
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        match header.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(("connection", value)) if value.trim() == "close" => close = true,
            // Bodies in chunks are not read: the connection ends after the answer.
            Some(("transfer-encoding", _)) => close = true,
            _ => {}
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some((target, close))
}
