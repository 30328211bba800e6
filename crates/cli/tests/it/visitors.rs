//! Visitors who never stop asking, over connections that they keep.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What visitors saw.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Answers with status 200, by the version that gave them.
    pub(crate) answers: Vec<(String, u64)>,
    /// Answers with status 500.
    pub(crate) errors: u64,
    /// No answer, or one of the proxy's own.
    pub(crate) lost: Vec<Lost>,
}

impl Seen {
    /// All requests.
    pub(crate) fn requests(&self) -> u64 {
        let answers: u64 = self.answers.iter().map(|(_, count)| count).sum();
        answers + self.errors + self.lost.len() as u64
    }
}

/// A request that no application answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) method: Method,
    /// When its connection was opened.
    pub(crate) opened: Instant,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) how: How,
}

/// In what way a request was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// The proxy answered, for this reason.
    Refused(u16, String),
    /// There was no answer.
    Broken(String),
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Refused(status, reason) => {
                write!(formatter, "{:?}: {status} {reason}", self.method)
            }
            How::Broken(error) => write!(formatter, "{:?}: {error}", self.method),
        }
    }
}

/// What a visitor does. A `POST` is never sent twice by anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
}

pub(crate) struct Visitors {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Visitors {
    /// Three of them, all of whom only read.
    pub(crate) fn at(address: &str) -> Self {
        Self::who(address, &[Method::Get; 3], Duration::from_millis(5))
    }

    /// One for each method; each waits for `pause` between two requests.
    pub(crate) fn who(address: &str, methods: &[Method], pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let threads = methods
            .iter()
            .map(|method| {
                let (stop, seen) = (stop.clone(), seen.clone());
                let visitor = Visitor {
                    address: address.to_owned(),
                    method: *method,
                    opened: Instant::now(),
                    connection: None,
                };
                std::thread::spawn(move || visitor.visit(pause, &stop, &seen))
            })
            .collect();
        Self { stop, seen, threads }
    }

    pub(crate) fn so_far(&self) -> Seen {
        self.seen.lock().expect("no visitor panics").clone()
    }

    pub(crate) fn leave(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("no visitor panics");
        }
        self.so_far()
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Visitor {
    address: String,
    method: Method,
    opened: Instant,
    connection: Option<BufReader<TcpStream>>,
}

/// An answer as far as it matters here.
#[derive(Default)]
struct Answer {
    status: u16,
    version: String,
    reason: String,
    /// The connection ends with it.
    is_last: bool,
}

impl Visitor {
    fn visit(mut self, pause: Duration, stop: &AtomicBool, seen: &Mutex<Seen>) {
        let mut asked = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            asked += 1;
            // Some come anew, most stay.
            if asked.is_multiple_of(50) {
                self.connection = None;
            }
            let began = Instant::now();
            let answer = self.ask();
            let how = match answer {
                Ok(Answer { status: 200, version, .. }) => {
                    let mut seen = seen.lock().expect("no visitor panics");
                    match seen.answers.iter_mut().find(|(known, _)| *known == version) {
                        Some((_, count)) => *count += 1,
                        None => seen.answers.push((version, 1)),
                    }
                    None
                }
                Ok(Answer { status: 500, .. }) => {
                    seen.lock().expect("no visitor panics").errors += 1;
                    None
                }
                Ok(Answer { status, reason, .. }) => Some(How::Refused(status, reason)),
                Err(error) => {
                    self.connection = None;
                    Some(How::Broken(error.to_string()))
                }
            };
            if let Some(how) = how {
                let (method, opened, ended) = (self.method, self.opened, Instant::now());
                let lost = Lost { method, opened, began, ended, how };
                seen.lock().expect("no visitor panics").lost.push(lost);
            }
            std::thread::sleep(pause);
        }
    }

    fn ask(&mut self) -> std::io::Result<Answer> {
        if self.connection.is_none() {
            self.opened = Instant::now();
            let stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.set_nodelay(true)?;
            self.connection = Some(BufReader::new(stream));
        }
        let Some(reader) = &mut self.connection else { unreachable!("it was just made") };
        let request = match self.method {
            Method::Get => "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            Method::Post => "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\norder",
        };
        reader.get_mut().write_all(request.as_bytes())?;
        let answer = read(reader)?;
        if answer.is_last {
            self.connection = None;
        }
        Ok(answer)
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Answer> {
    let bad = |what: &str| std::io::Error::other(what.to_owned());
    let (mut answer, mut length) = (Answer::default(), 0);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(bad("the connection was closed without an answer"));
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
            answer.status =
                rest.get(..3).and_then(|s| s.parse().ok()).ok_or_else(|| bad("no status"))?;
        } else if let Some((name, value)) = text.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(|_| bad("length"))?,
                "x-version" => value.trim().clone_into(&mut answer.version),
                "connection" => answer.is_last = value.trim().eq_ignore_ascii_case("close"),
                "tidegate-reason" => value.trim().clone_into(&mut answer.reason),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(answer)
}
