//! HTTP/1.1 as far as the shop needs it: connections that stay open, bodies of a known length.

use std::{
    io::{self, BufRead, BufReader, Read as _, Write},
    net::{TcpListener, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

/// A connection may be silent for this long. Whoever is in front closes theirs long before.
const SILENCE: Duration = Duration::from_secs(300);
const LONGEST_HEAD: u64 = 16 * 1024;
const LONGEST_BODY: u64 = 64 * 1024;

/// What somebody asks.
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    stays: bool,
}

impl Request {
    /// The value of a header; `name` in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A field of the form in the body.
    pub fn form(&self, name: &str) -> Option<&str> {
        let body = std::str::from_utf8(&self.body).ok()?;
        body.split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// What it gets.
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    pub fn json(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub fn error(status: u16, why: &str) -> Self {
        Self::json(status, format!(r#"{{"error":"{why}"}}"#))
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn write(&self, to: &mut impl Write, without_body: bool, stays: bool) -> io::Result<()> {
        let reason = match self.status {
            200 => "OK",
            201 => "Created",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            411 => "Length Required",
            413 => "Content Too Large",
            422 => "Unprocessable Content",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let mut text = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            self.status,
            self.body.len(),
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(if stays { "\r\n" } else { "Connection: close\r\n\r\n" });
        if !without_body {
            text.push_str(&self.body);
        }
        to.write_all(text.as_bytes())
    }
}

/// A fault in one request is an answer, too, and no other request's affair.
pub fn or_fault(answer: impl FnOnce() -> Answer) -> Answer {
    catch_unwind(AssertUnwindSafe(answer))
        .unwrap_or_else(|_| Answer::error(500, "the shop is out of order"))
}

/// Answers for as long as the process lives, one thread for each connection.
pub fn serve<H>(listener: &TcpListener, handle: Arc<H>)
where
    H: Fn(&Request) -> Answer + Send + Sync + 'static,
{
    for stream in listener.incoming() {
        let handle = Arc::clone(&handle);
        let begun = stream.and_then(|stream| {
            thread::Builder::new().spawn(move || {
                // A connection that breaks is the other side's affair.
                let _ = connection(&stream, &*handle);
            })
        });
        if let Err(error) = begun {
            eprintln!("cannot take a connection: {error}");
            // Out of files or threads: some will end.
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn connection(stream: &TcpStream, handle: &impl Fn(&Request) -> Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    converse(&mut BufReader::new(stream), &mut { stream }, handle)
}

fn converse(
    from: &mut impl BufRead,
    to: &mut impl Write,
    handle: &impl Fn(&Request) -> Answer,
) -> io::Result<()> {
    loop {
        let request = match read(from, to)? {
            Read::Request(request) => request,
            Read::Refused(answer) => return answer.write(to, false, false),
            Read::End => return Ok(()),
        };
        handle(&request).write(to, request.method == "HEAD", request.stays)?;
        if !request.stays {
            return Ok(());
        }
    }
}

enum Read {
    Request(Request),
    Refused(Answer),
    End,
}

fn refuse(status: u16, why: &str) -> io::Result<Read> {
    Ok(Read::Refused(Answer::error(status, why)))
}

fn read(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<Read> {
    let mut lines = Vec::new();
    let mut rest = from.by_ref().take(LONGEST_HEAD);
    loop {
        let mut line = Vec::new();
        if rest.read_until(b'\n', &mut line)? == 0 {
            return match (lines.is_empty(), rest.limit()) {
                (true, _) => Ok(Read::End),
                (false, 0) => refuse(431, "too many headers"),
                (false, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        if !line.ends_with(b"\n") {
            return refuse(431, "too many headers");
        }
        let Ok(line) = String::from_utf8(line) else {
            return refuse(400, "not a request");
        };
        let line = line.trim_end_matches(['\r', '\n']);
        match (line.is_empty(), lines.is_empty()) {
            (true, false) => break,
            // Some clients send an empty line after a body.
            (true, true) => {}
            (false, _) => lines.push(line.to_owned()),
        }
    }
    let first: Vec<&str> = lines[0].split(' ').collect();
    let [method, target, version @ ("HTTP/1.0" | "HTTP/1.1")] = first[..] else {
        return refuse(400, "not a request");
    };
    let mut headers = Vec::new();
    for line in &lines[1..] {
        let Some((name, value)) = line.split_once(':') else {
            return refuse(400, "not a header");
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        method: method.to_owned(),
        path: target.split('?').next().unwrap_or(target).to_owned(),
        headers,
        body: Vec::new(),
        stays: false,
    };
    let connection = request.header("connection").unwrap_or_default().to_ascii_lowercase();
    let says = |word: &str| connection.split(',').any(|said| said.trim() == word);
    request.stays = !says("close") && (version == "HTTP/1.1" || says("keep-alive"));
    if request.header("transfer-encoding").is_some() {
        return refuse(411, "say how long the body is");
    }
    let length = match request.header("content-length").map(str::parse::<u64>) {
        None => 0,
        Some(Ok(length @ 0..=LONGEST_BODY)) => length,
        Some(Ok(_)) => return refuse(413, "the body is too long"),
        Some(Err(_)) => return refuse(400, "not a length"),
    };
    if request
        .header("expect")
        .is_some_and(|expected| expected.eq_ignore_ascii_case("100-continue"))
    {
        to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    request.body = vec![0; usize::try_from(length).unwrap_or_default()];
    from.read_exact(&mut request.body)?;
    Ok(Read::Request(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(requests: &str) -> String {
        let mut answers = Vec::new();
        let handle = |request: &Request| {
            or_fault(|| {
                assert_ne!(request.path, "/fault", "as it was asked for");
                let product = request.form("product").unwrap_or("none");
                Answer::json(200, format!("{} {} {product}", request.method, request.path))
            })
        };
        converse(&mut requests.as_bytes(), &mut answers, &handle).unwrap();
        String::from_utf8(answers).unwrap()
    }

    #[test]
    fn a_connection_takes_one_request_after_the_other() {
        let answers = conversation(
            "POST /a?b=c HTTP/1.1\r\nContent-Length: 9\r\n\r\nproduct=7HEAD /d HTTP/1.1\r\n\r\n\
             GET /e HTTP/1.1\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n",
        );
        let parts: Vec<&str> = answers.split("HTTP/1.1 200 OK\r\n").collect();
        assert_eq!(parts.len(), 4, "{answers}");
        assert!(parts[1].ends_with("Content-Length: 9\r\n\r\nPOST /a 7"), "{answers}");
        assert!(parts[2].ends_with("Content-Length: 12\r\n\r\n"), "{answers}");
        assert!(parts[3].ends_with("Connection: close\r\n\r\nGET /e none"), "{answers}");
    }

    #[test]
    fn a_fault_is_an_answer_and_the_connection_goes_on() {
        let answers = conversation("GET /fault HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n");
        assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
        assert!(answers.ends_with("GET /next none"), "{answers}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (request, status) in [
            ("hello\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
            (&format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(20_000)), 431),
        ] {
            let answers = conversation(request);
            assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{answers}");
        }
    }
}
