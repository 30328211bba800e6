//! An application with real sockets, a thread for each connection.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
};

/// A request as the application saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What an application does with a connection whose request's head has been read. Says whether the
/// connection goes on.
type Handler = dyn Fn(&Seen, &mut BufReader<TcpStream>) -> bool + Send + Sync;

/// A running application; ends when dropped, as by `kill -9`.
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

struct State {
    handler: Box<Handler>,
    ending: AtomicBool,
    connections: Mutex<HashMap<u64, TcpStream>>,
    seen: Mutex<Vec<Seen>>,
    next: AtomicU64,
}

impl Application {
    /// Answers every request with this text.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::saying_at(SocketAddr::from(([127, 0, 0, 1], 0)), text)
    }

    /// The same at this address, where another one may have been.
    pub(crate) fn saying_at(address: SocketAddr, text: &'static str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        Self::start_on(listener, move |_, stream| {
            let length = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
            stream.get_mut().write_all(answer.as_bytes()).is_ok()
        })
    }

    /// Answers every request with these bytes.
    pub(crate) fn sending(bytes: &'static str) -> Self {
        Self::start(move |_, stream| stream.get_mut().write_all(bytes.as_bytes()).is_ok())
    }

    /// Does what it is told. Bodies with a length have been read; chunked ones have not.
    pub(crate) fn start(
        handler: impl Fn(&Seen, &mut BufReader<TcpStream>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), handler)
    }

    fn start_on(
        listener: TcpListener,
        handler: impl Fn(&Seen, &mut BufReader<TcpStream>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            handler: Box::new(handler),
            ending: AtomicBool::new(false),
            connections: Mutex::default(),
            seen: Mutex::default(),
            next: AtomicU64::new(0),
        });
        let accepting = std::thread::spawn({
            let state = Arc::clone(&state);
            move || accept(&state, &listener)
        });
        Self { address, state, accepting: Some(accepting) }
    }

    /// What came in so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.state.connections.lock().unwrap().len()
    }

    /// Closes all connections and goes on listening.
    pub(crate) fn close_connections(&self) {
        for stream in self.state.connections.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends at once.
    pub(crate) fn kill(&mut self) {
        self.state.ending.store(true, SeqCst);
        // Wakes the one that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        self.close_connections();
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.kill();
    }
}

fn accept(state: &Arc<State>, listener: &TcpListener) {
    for stream in listener.incoming() {
        if state.ending.load(SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = state.next.fetch_add(1, SeqCst);
        let kept = stream.try_clone().unwrap();
        state.connections.lock().unwrap().insert(number, kept);
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let mut stream = BufReader::new(stream);
            while let Some(seen) = read(&mut stream) {
                state.seen.lock().unwrap().push(seen.clone());
                if !(state.handler)(&seen, &mut stream) {
                    break;
                }
            }
            let _ = stream.get_ref().shutdown(Shutdown::Both);
            state.connections.lock().unwrap().remove(&number);
        });
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if head[before..].trim().is_empty() {
            break;
        }
    }
    let mut seen = Seen { head, body: Vec::new() };
    if let Some(length) = seen.header("content-length") {
        seen.body = vec![0; length.parse().ok()?];
        stream.read_exact(&mut seen.body).ok()?;
    }
    Some(seen)
}
