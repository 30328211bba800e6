//! Recognises plain requests.

use std::mem::MaybeUninit;

use http::{HeaderName, Request};
use httparse::{Header, Status};
use memchr::memchr_iter;

use crate::{path, visitor::Headers};

/// A request with more headers is not plain.
pub(crate) const MOST_HEADERS: usize = 64;

/// Room for the headers of a request.
pub(crate) type Room<'b> = [MaybeUninit<Header<'b>>; MOST_HEADERS];

/// What the beginning of a client's bytes is.
#[derive(Debug)]
pub(crate) enum Read<'h, 'b> {
    /// More has to come before it can be told.
    Partial,
    /// Not a plain request.
    Unusual,
    Plain(Asked<'h, 'b>),
}

/// A plain request.
#[derive(Debug)]
pub(crate) struct Asked<'h, 'b> {
    pub(crate) method: &'b str,
    /// The path with the query.
    pub(crate) target: &'b str,
    pub(crate) path: &'b str,
    /// With its port.
    pub(crate) host: &'b str,
    /// The revision that is to answer.
    pub(crate) revision: Option<&'b str>,
    /// The client wants no other answer on this connection.
    pub(crate) last: bool,
    /// It has a name that the client gave it.
    pub(crate) named: bool,
    /// In which form the client wants to read what the proxy says itself.
    pub(crate) accept: Option<&'b [u8]>,
    /// Bytes of its head.
    pub(crate) length: usize,
    headers: &'h [Header<'b>],
}

/// What becomes of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// It goes on to the endpoint.
    Passes,
    /// The proxy says it itself.
    Replaced,
    Host,
    Connection,
    Cookie,
    Revision,
    RequestId,
    Accept,
    /// Whoever sends it wants something that is not plain.
    Unusual,
}

fn field(name: &str) -> Field {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is("te") => Field::Unusual,
        4 if is("host") => Field::Host,
        6 if is("cookie") => Field::Cookie,
        6 if is("accept") => Field::Accept,
        6 if is("expect") => Field::Unusual,
        7 if is("upgrade") || is("trailer") => Field::Unusual,
        9 if is("forwarded") => Field::Replaced,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::Replaced,
        12 if is("x-request-id") => Field::RequestId,
        14 if is("content-length") || is("http2-settings") => Field::Unusual,
        15 if is("x-forwarded-for") || is("tidegate-mirror") => Field::Replaced,
        16 if is("x-forwarded-host") => Field::Replaced,
        16 if is("proxy-connection") => Field::Unusual,
        17 if is("x-forwarded-proto") => Field::Replaced,
        17 if is("tidegate-revision") => Field::Revision,
        17 if is("transfer-encoding") => Field::Unusual,
        18 if is("proxy-authenticate") => Field::Unusual,
        19 if is("proxy-authorization") => Field::Unusual,
        _ => Field::Passes,
    }
}

/// The bytes of which plain targets are made; the HTTP library decides about all others.
const fn is_plain_in_target(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'?'
                | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

const PLAIN_IN_TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = is_plain_in_target(byte);
        byte += 1;
    }
    table
};

fn is_plain_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
}

/// Whether each line of a head ends in CR LF. The parser would also take LF alone.
fn has_whole_line_ends(head: &[u8]) -> bool {
    memchr_iter(b'\n', head).all(|index| index > 0 && head[index - 1] == b'\r')
}

impl<'h, 'b> Asked<'h, 'b> {
    /// Looks at the first bytes that were not answered yet.
    pub(crate) fn read(bytes: &'b [u8], room: &'h mut Room<'b>) -> Read<'h, 'b> {
        // Empty lines before a request are allowed, and never sent.
        if bytes.first().is_some_and(|first| !first.is_ascii_uppercase()) {
            return Read::Unusual;
        }
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(bytes, room) {
            Ok(Status::Partial) => return Read::Partial,
            Ok(Status::Complete(length)) => length,
            Err(_) => return Read::Unusual,
        };
        let (Some(method), Some(target), Some(1)) = (parsed.method, parsed.path, parsed.version)
        else {
            return Read::Unusual;
        };
        Self::check(method, target, parsed.headers, &bytes[..length])
            .map_or(Read::Unusual, Read::Plain)
    }

    fn check(
        method: &'b str,
        target: &'b str,
        headers: &'h [Header<'b>],
        head: &[u8],
    ) -> Option<Self> {
        if !matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE")
            || !has_whole_line_ends(head)
            || !target.starts_with('/')
            || !target.bytes().all(|byte| PLAIN_IN_TARGET[usize::from(byte)])
        {
            return None;
        }
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        if path::is_deceptive(path) {
            return None;
        }
        let (mut host, mut revision) = (None, None);
        let (mut last, mut named, mut accept) = (false, false, None);
        for header in headers {
            match field(header.name) {
                Field::Passes | Field::Replaced | Field::Cookie => {}
                Field::Unusual => return None,
                Field::RequestId => named = true,
                Field::Accept => {
                    accept.get_or_insert(header.value);
                }
                Field::Host => {
                    let value = std::str::from_utf8(header.value).ok()?;
                    let is_host = !value.is_empty() && value.bytes().all(is_plain_in_host);
                    if !is_host || host.replace(value).is_some() {
                        return None;
                    }
                }
                Field::Revision => {
                    let value = std::str::from_utf8(header.value).ok()?;
                    if revision.replace(value).is_some() {
                        return None;
                    }
                }
                Field::Connection => match header.value {
                    value if value.eq_ignore_ascii_case(b"keep-alive") => {}
                    value if value.eq_ignore_ascii_case(b"close") => last = true,
                    _ => return None,
                },
            }
        }
        let (host, length) = (host?, head.len());
        Some(Self { method, target, path, host, revision, last, named, accept, length, headers })
    }

    /// Writes the headers that go on to the endpoint. A cookie passes through `others`, which takes
    /// away what is not the endpoint's to see; none when nothing is left.
    pub(crate) fn write_headers(
        &self,
        out: &mut Vec<u8>,
        others: impl Fn(&[u8], &mut Vec<u8>) -> bool,
    ) {
        for header in self.headers {
            match field(header.name) {
                Field::Replaced | Field::Connection | Field::Revision | Field::Unusual => {}
                Field::Cookie => {
                    let before = out.len();
                    out.extend_from_slice(b"cookie: ");
                    if others(header.value, out) {
                        out.extend_from_slice(b"\r\n");
                    } else {
                        out.truncate(before);
                    }
                }
                Field::Passes | Field::Host | Field::RequestId | Field::Accept => {
                    write_header(out, header.name, header.value);
                }
            }
        }
    }
}

impl Asked<'_, '_> {
    /// The request as the library has it, with these of its headers.
    pub(crate) fn with_headers(&self, names: &[HeaderName]) -> Option<Request<()>> {
        let mut request = Request::builder().method(self.method).uri(self.target);
        for name in names {
            for value in self.named(name) {
                request = request.header(name, value);
            }
        }
        request.body(()).ok()
    }
}

impl Headers for Asked<'_, '_> {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let is_it = |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name.as_str());
        self.headers.iter().filter(is_it).map(|header| header.value)
    }
}

/// Writes a header.
pub(crate) fn write_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Empty room for headers.
pub(crate) const fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; MOST_HEADERS]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> &'static str {
        match Asked::read(text.as_bytes(), &mut room()) {
            Read::Partial => "partial",
            Read::Unusual => "unusual",
            Read::Plain(_) => "plain",
        }
    }

    #[test]
    fn plain_requests_are_told_from_all_others() {
        for (head, wanted) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "plain"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /", "plain"),
            ("HEAD /x?y=/../z HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "plain"),
            ("OPTIONS /x HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", "plain"),
            ("DELETE /x HTTP/1.1\r\nHost: a\r\nconnection: close\r\n\r\n", "plain"),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade-Insecure-Requests: 1\r\n\r\n", "plain"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", "plain"),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\r\n", "plain"),
            ("", "partial"),
            ("G", "partial"),
            ("GET / HTTP/1.1\r\nHost: a\r\n", "partial"),
            ("PRI", "partial"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "unusual"),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", "unusual"),
            ("GET / HTTP/1.1\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "unusual"),
            ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("GET /%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\n\r\n", "unusual"),
            ("GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: x\r\n\r\n", "unusual"),
            (
                "GET / HTTP/1.1\r\nHost: a\r\ntidegate-revision: a\r\nTidegate-Revision: b\r\n\r\n",
                "unusual",
            ),
        ] {
            assert_eq!(kind(head), wanted, "{head:?}");
        }
        let many = "X: y\r\n".repeat(MOST_HEADERS);
        assert_eq!(kind(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), "unusual");
    }

    #[test]
    fn what_was_asked_is_known_and_what_the_proxy_says_is_not_passed_on() {
        let text = "GET /a/b?c=d HTTP/1.1\r\nhOst: shop:80\r\nAccept: text/html, application/json\r\n\
            Cookie: a=1\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=x\r\nKeep-Alive: 5\r\n\
            Tidegate-Mirror: 1\r\nX-Forwarded-Host: x\r\nX-Forwarded-Proto: https\r\n\
            Tidegate-Revision: candidate\r\nX-Request-Id:  name \r\nCookie: ours\r\n\
            Connection: close\r\n\r\nnext";
        let mut room = room();
        let Read::Plain(asked) = Asked::read(text.as_bytes(), &mut room) else {
            panic!("it is plain");
        };
        let Asked { method, target, path, host, revision, last, named, accept, length, .. } = asked;
        assert_eq!((method, target, path, host), ("GET", "/a/b?c=d", "/a/b", "shop:80"));
        assert_eq!((revision, last, named), (Some("candidate"), true, true));
        assert_eq!(accept, Some(&b"text/html, application/json"[..]));
        assert_eq!(length, text.len() - 4);
        let mut out = Vec::new();
        asked.write_headers(&mut out, |value, out| {
            out.extend_from_slice(value);
            value != b"ours"
        });
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "hOst: shop:80\r\nAccept: text/html, application/json\r\ncookie: a=1\r\n\
             X-Request-Id: name\r\n"
        );
        let cookies: Vec<&[u8]> = asked.named(&http::header::COOKIE).collect();
        assert_eq!(cookies, [&b"a=1"[..], b"ours"]);
    }
}
