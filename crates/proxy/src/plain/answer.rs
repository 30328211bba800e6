//! Understands the head of an endpoint's answer, and writes the one that the client gets.

use std::{mem::MaybeUninit, time::SystemTime};

use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH},
};
use httparse::{Header, Status};
use hyper::ext::ReasonPhrase;

use super::{chunks::Chunks, request::write_header};
use crate::visitor::{self, Headers};

/// An answer with more headers is none.
const MOST_HEADERS: usize = 100;

/// What the answer to a client has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// Without a body, whatever its head says.
    pub(crate) head_only: bool,
    /// To be known by again, if not everybody gets the same answer.
    pub(crate) cookie: Option<&'a HeaderValue>,
    /// The last one on the client's connection.
    pub(crate) last: bool,
}

/// What the beginning of an endpoint's bytes is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Partial,
    /// A word before the answer, of so many bytes.
    Interim(usize),
    /// No answer to a plain request.
    Malformed,
    Answer(Answer),
}

/// An answer whose head was read, and written for the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Bytes of its head.
    pub(crate) length: usize,
    pub(crate) body: Framing,
    /// The endpoint takes another request on the connection when this body has ended.
    pub(crate) reusable: bool,
}

/// How the end of a body is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunks(Chunks),
    /// The connection ends with it.
    Close,
}

struct Received<'h, 'b>(&'h [Header<'b>]);

impl Headers for Received<'_, '_> {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let is_it = |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name.as_str());
        self.0.iter().filter(is_it).map(|header| header.value)
    }
}

/// What becomes of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Passes,
    /// It is about the connection, or written anew.
    Stays,
    Connection,
    Encoding,
    Length,
    Date,
}

fn field(name: &str) -> Field {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is("te") => Field::Stays,
        4 if is("date") => Field::Date,
        7 if is("upgrade") => Field::Stays,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::Stays,
        14 if is("content-length") => Field::Length,
        16 if is("proxy-connection") => Field::Stays,
        17 if is("transfer-encoding") => Field::Encoding,
        18 if is("proxy-authenticate") => Field::Stays,
        19 if is("proxy-authorization") => Field::Stays,
        _ => Field::Passes,
    }
}

/// What an answer's headers say about its connection and its body.
#[derive(Debug, Default)]
struct Terms<'b> {
    close: bool,
    keep_alive: bool,
    /// Values of `Connection` that name other headers.
    nominations: Vec<&'b str>,
    encoded: bool,
    length: Option<u64>,
    dated: bool,
}

impl<'b> Terms<'b> {
    /// None when they contradict each other.
    fn of(headers: &[Header<'b>]) -> Option<Self> {
        let mut terms = Self::default();
        for header in headers {
            match field(header.name) {
                Field::Passes | Field::Stays => {}
                Field::Date => terms.dated = true,
                Field::Connection => terms.connection(header.value),
                Field::Encoding => {
                    let is_chunked = header.value.eq_ignore_ascii_case(b"chunked");
                    if !is_chunked || std::mem::replace(&mut terms.encoded, true) {
                        return None;
                    }
                }
                Field::Length => {
                    let length = digits(header.value)?;
                    if terms.length.replace(length).is_some_and(|former| former != length) {
                        return None;
                    }
                }
            }
        }
        Some(terms)
    }

    fn connection(&mut self, value: &'b [u8]) {
        for token in std::str::from_utf8(value).unwrap_or_default().split(',').map(str::trim) {
            if token.eq_ignore_ascii_case("close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case("keep-alive") {
                self.keep_alive = true;
            } else {
                self.nominations.push(token);
            }
        }
    }

    fn stays(&self, name: &str) -> bool {
        self.nominations.iter().any(|nominated| nominated.eq_ignore_ascii_case(name))
    }
}

/// A number in decimal digits and nothing else.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Where the head for the client is written.
pub(crate) trait Output {
    fn begin(&mut self, status: StatusCode, reason: &str);
    fn header(&mut self, name: &str, value: &[u8]);
    /// The body has so many bytes.
    fn length(&mut self, length: u64);
    /// Nobody knows how long the body is.
    fn unknown_length(&mut self);
    /// `dated` says whether the endpoint has said when it answered.
    fn end(&mut self, dated: bool, last: bool);
}

/// Reads the head of an answer, if it is whole, and writes the head for the client to `out`.
pub(crate) fn read(bytes: &[u8], wish: Wish<'_>, out: &mut impl Output) -> Read {
    let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut room) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Read::Partial,
        Err(_) => return Read::Malformed,
    };
    let (Some(version), Some(code)) = (parsed.version, parsed.code) else {
        return Read::Malformed;
    };
    let Ok(status) = StatusCode::from_u16(code) else {
        return Read::Malformed;
    };
    if status.is_informational() {
        // Nobody asked for another protocol.
        let other = status == StatusCode::SWITCHING_PROTOCOLS;
        return if other { Read::Malformed } else { Read::Interim(length) };
    }
    let headers = &*parsed.headers;
    let Some(terms) = Terms::of(headers) else {
        return Read::Malformed;
    };
    if version == 0 && terms.encoded {
        return Read::Malformed;
    }
    let never =
        wish.head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = match terms.length {
        _ if never => Framing::Length(0),
        _ if terms.encoded => Framing::Chunks(Chunks::new()),
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    };
    out.begin(status, parsed.reason.unwrap_or_default());
    for header in headers {
        if matches!(field(header.name), Field::Passes | Field::Date) && !terms.stays(header.name) {
            out.header(header.name, header.value);
        }
    }
    match body {
        // What it would be if it were there.
        Framing::Length(_) if never => {
            let length = terms.length.filter(|_| status != StatusCode::NO_CONTENT);
            if let Some(length) = length.filter(|_| !terms.encoded) {
                out.length(length);
            }
        }
        Framing::Length(length) => out.length(length),
        Framing::Chunks(_) | Framing::Close => out.unknown_length(),
    }
    if let Some(cookie) = wish.cookie
        && !visitor::is_for_everybody(Received(headers).named(&CACHE_CONTROL))
    {
        out.header("set-cookie", cookie.as_bytes());
    }
    out.end(terms.dated, wish.last);
    let keeps = if version == 0 { terms.keep_alive } else { true };
    let reusable = keeps && !terms.close && body != Framing::Close;
    Read::Answer(Answer { status, length, body, reusable })
}

/// As bytes.
impl Output for Vec<u8> {
    fn begin(&mut self, status: StatusCode, reason: &str) {
        self.extend_from_slice(b"HTTP/1.1 ");
        self.extend_from_slice(status.as_str().as_bytes());
        self.push(b' ');
        self.extend_from_slice(reason.as_bytes());
        self.extend_from_slice(b"\r\n");
    }

    fn header(&mut self, name: &str, value: &[u8]) {
        write_header(self, name, value);
    }

    fn length(&mut self, length: u64) {
        let mut digits = [0; 20];
        let mut first = digits.len();
        let mut left = length;
        loop {
            first -= 1;
            digits[first] = b'0' + u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
            if left == 0 {
                break;
            }
        }
        write_header(self, "content-length", &digits[first..]);
    }

    fn unknown_length(&mut self) {
        write_header(self, "transfer-encoding", b"chunked");
    }

    fn end(&mut self, dated: bool, last: bool) {
        if !dated {
            let now = httpdate::fmt_http_date(SystemTime::now());
            write_header(self, "date", now.as_bytes());
        }
        if last {
            write_header(self, "connection", b"close");
        }
        self.extend_from_slice(b"\r\n");
    }
}

/// As the library has it, which dates answers itself and says how long they are when nobody does.
impl Output for Response<()> {
    fn begin(&mut self, status: StatusCode, reason: &str) {
        *self.status_mut() = status;
        if status.canonical_reason() != Some(reason)
            && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
        {
            self.extensions_mut().insert(reason);
        }
    }

    fn header(&mut self, name: &str, value: &[u8]) {
        // The parser takes no others.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
        {
            self.headers_mut().append(name, value);
        }
    }

    fn length(&mut self, length: u64) {
        self.headers_mut().insert(CONTENT_LENGTH, length.into());
    }

    fn unknown_length(&mut self) {}

    fn end(&mut self, _: bool, _: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Wish<'_> = Wish { head_only: false, cookie: None, last: false };
    const DATE: &str = "Date: Sat, 21 Nov 2026 18:00:00 GMT\r\n";

    fn answer(text: &str, wish: Wish<'_>) -> (Read, String) {
        let mut out = Vec::new();
        let read = read(text.as_bytes(), wish, &mut out);
        (read, String::from_utf8(out).unwrap())
    }

    fn framing(head: &str, wish: Wish<'_>) -> Option<(Framing, bool)> {
        match answer(&format!("{head}\r\n\r\n"), wish).0 {
            Read::Answer(answer) => Some((answer.body, answer.reusable)),
            Read::Malformed => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_end_of_a_body_is_known_as_it_is_written() {
        let chunks = || Framing::Chunks(Chunks::new());
        let nothing = || Some((Framing::Length(0), true));
        for (head, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5", Some((Framing::Length(5), true))),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5",
                Some((Framing::Length(5), true)),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close",
                Some((Framing::Length(5), false)),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0", nothing()),
            ("HTTP/1.1 200\r\nTransfer-Encoding: Chunked", Some((chunks(), true))),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3",
                Some((chunks(), true)),
            ),
            ("HTTP/1.1 200 OK", Some((Framing::Close, false))),
            ("HTTP/1.1 204 No Content", nothing()),
            ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked", nothing()),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9", nothing()),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5", Some((Framing::Length(5), false))),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive",
                Some((Framing::Length(5), true)),
            ),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5", None),
            ("HTTP/1.1 200 OK\r\nContent-Length:", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", None),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x", None),
            ("HTTP/1.1 099 No", None),
            ("HTTP/2.0 200 OK", None),
            ("nonsense", None),
            ("HTTP/1.1 200 OK\r\nA B: x", None),
        ] {
            assert_eq!(framing(head, PLAIN), wanted, "{head:?}");
        }
        let head_only = Wish { head_only: true, ..PLAIN };
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5", head_only), nothing());
        assert_eq!(framing("HTTP/1.1 200 OK", head_only), nothing());
    }

    #[test]
    fn words_before_an_answer_are_skipped_and_what_is_not_whole_is_waited_for() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        assert_eq!(answer(early, PLAIN), (Read::Interim(early.len()), String::new()));
        for partial in ["", "HTTP/1.1", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
            assert_eq!(answer(partial, PLAIN), (Read::Partial, String::new()));
        }
    }

    #[test]
    fn what_is_about_the_endpoints_connection_does_not_reach_the_client() {
        let text = format!(
            "HTTP/1.1 200 Fine\r\nConnection: x-hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n{DATE}\
             Upgrade: h2c\r\nTE: x\r\nProxy-Connection: x\r\nProxy-Authenticate: x\r\nX-Own: y\r\n\
             Set-Cookie: a=b\r\nContent-Length: 007\r\n\r\nabcdefg"
        );
        let (read, head) = answer(&text, PLAIN);
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 200 Fine\r\n{DATE}X-Own: y\r\nSet-Cookie: a=b\r\ncontent-length: 7\r\n\r\n"
            )
        );
        let Read::Answer(answer) = read else { panic!("{read:?}") };
        assert_eq!((answer.status, answer.length), (StatusCode::OK, text.len() - 7));
    }

    #[test]
    fn the_head_says_how_the_body_comes_and_whether_it_is_the_last() {
        let cookie = HeaderValue::from_static("v=1");
        let last = Wish { last: true, ..PLAIN };
        let known = Wish { cookie: Some(&cookie), ..PLAIN };
        let head_only = Wish { head_only: true, ..PLAIN };
        for (lines, wish, wanted) in [
            ("", PLAIN, "transfer-encoding: chunked\r\n"),
            ("Content-Length: 1234567890\r\n", PLAIN, "content-length: 1234567890\r\n"),
            ("Content-Length: 3\r\n", last, "content-length: 3\r\nconnection: close\r\n"),
            ("Content-Length: 3\r\n", known, "content-length: 3\r\nset-cookie: v=1\r\n"),
            ("Content-Length: 3\r\n", head_only, "content-length: 3\r\n"),
            ("Transfer-Encoding: chunked\r\n", head_only, ""),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{DATE}{lines}\r\n");
            let (_, head) = answer(&text, wish);
            assert_eq!(head, format!("HTTP/1.1 200 OK\r\n{DATE}{wanted}\r\n"), "{lines:?}");
        }
        let shared = format!(
            "HTTP/1.1 200 OK\r\n{DATE}Cache-Control: max-age=1, public\r\nContent-Length: 0\r\n\r\n"
        );
        assert!(!answer(&shared, known).1.contains("set-cookie"), "everybody would have it");
        let undated = "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
        let (_, head) = answer(undated, PLAIN);
        let date = head.strip_prefix("HTTP/1.1 204 No Content\r\ndate: ").unwrap();
        assert!(httpdate::parse_http_date(date.trim_end()).is_ok(), "{date}");
    }
}
