//! Visitors who never stop asking, over connections that they keep.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// What visitors saw.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Answers with status 200, by the version that gave them.
    pub(crate) answers: Vec<(String, u64)>,
    /// Answers with status 500.
    pub(crate) errors: u64,
    /// No answer, or one of the proxy's own.
    pub(crate) lost: Vec<String>,
}

pub(crate) struct Visitors {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Visitors {
    pub(crate) fn at(address: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let threads = (0..3)
            .map(|_| {
                let (stop, seen, address) = (stop.clone(), seen.clone(), address.to_owned());
                std::thread::spawn(move || visit(&address, &stop, &seen))
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

fn visit(address: &str, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let mut connection = None;
    let mut asked = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        asked += 1;
        // Some come anew, most stay.
        if asked.is_multiple_of(50) {
            connection = None;
        }
        let answer = ask(address, &mut connection);
        let mut seen = seen.lock().expect("no visitor panics");
        match answer {
            Ok((200, version)) => match seen.answers.iter_mut().find(|(v, _)| *v == version) {
                Some((_, count)) => *count += 1,
                None => seen.answers.push((version, 1)),
            },
            Ok((500, _)) => seen.errors += 1,
            Ok((status, version)) => seen.lost.push(format!("{status} of {version:?}")),
            Err(error) => {
                seen.lost.push(error.to_string());
                connection = None;
            }
        }
        drop(seen);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ask(
    address: &str,
    connection: &mut Option<BufReader<TcpStream>>,
) -> std::io::Result<(u16, String)> {
    if connection.is_none() {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        *connection = Some(BufReader::new(stream));
    }
    let Some(reader) = connection else { unreachable!("it was just made") };
    reader.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let bad = |what: &str| std::io::Error::other(what.to_owned());
    let (mut status, mut version, mut length) = (0, String::new(), 0);
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
            status = rest.get(..3).and_then(|s| s.parse().ok()).ok_or_else(|| bad("no status"))?;
        } else if let Some((name, value)) = text.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(|_| bad("length"))?,
                "x-version" => value.trim().clone_into(&mut version),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((status, version))
}
