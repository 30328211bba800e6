//! Rules for the heads of requests and answers.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};

use crate::{
    origin::{Announcement, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO},
    path,
};

/// Asks for a certain revision.
pub(crate) const REVISION: HeaderName = HeaderName::from_static("tidegate-revision");
/// Tells an endpoint that nobody waits for its answer.
pub(crate) const MIRROR: HeaderName = HeaderName::from_static("tidegate-mirror");
/// Names a request wherever it leaves traces.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names the trace that a request belongs to.
pub(crate) const TRACE: HeaderName = HeaderName::from_static("traceparent");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a request must have exactly one Host header")]
    HostCount,
    #[error("the Host header is not a host with an optional port")]
    HostValue,
    #[error("the request's target names another host than its Host header")]
    OtherHost,
    #[error("the body is encoded for transfer in another way than chunked, once")]
    Encoding,
    #[error("the method CONNECT is not supported")]
    Connect,
    #[error("the path contains a dot segment, a NUL or a broken percent sign")]
    Path,
    #[error("the request's target is not a path that begins with a slash")]
    Target,
    #[error("the Connection header names a header that must not be removed")]
    Nominated,
}

/// Checks what the HTTP library does not, and returns the host with its port.
pub(crate) fn check(
    method: &Method,
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<HeaderValue, Malformed> {
    if method == Method::CONNECT {
        return Err(Malformed::Connect);
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next(), uri.authority()) {
        (Some(host), None, _) => host.clone(),
        // HTTP/2 says it beside the headers.
        (None, _, Some(authority)) if version == Version::HTTP_2 => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| Malformed::HostValue)?
        }
        _ => return Err(Malformed::HostCount),
    };
    if !is_host(host.as_bytes()) {
        return Err(Malformed::HostValue);
    }
    if let Some(authority) = uri.authority()
        && !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes())
    {
        return Err(Malformed::OtherHost);
    }
    if !is_plainly_encoded(headers) {
        return Err(Malformed::Encoding);
    }
    if !uri.path().starts_with('/') && uri.path() != "*" {
        return Err(Malformed::Target);
    }
    if path::is_deceptive(uri.path()) {
        return Err(Malformed::Path);
    }
    for token in connection_tokens(headers) {
        let kept = [
            HOST,
            FORWARDED,
            FORWARDED_FOR,
            FORWARDED_HOST,
            FORWARDED_PROTO,
            CONTENT_LENGTH,
            http::header::AUTHORIZATION,
            COOKIE,
            REVISION,
        ];
        if kept.iter().any(|name| token.eq_ignore_ascii_case(name.as_str())) {
            return Err(Malformed::Nominated);
        }
    }
    Ok(host)
}

/// Whether this can be a host with an optional port.
pub(crate) fn is_host(text: &[u8]) -> bool {
    let may_be = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    };
    !text.is_empty() && text.iter().all(may_be)
}

/// Whether the body is encoded for transfer as `chunked`, once, or not at all: any other encoding
/// would stay on the body while its name is taken away.
pub(crate) fn is_plainly_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Leaves one of the lengths that a head says; false when they are none, or not the same. The HTTP library
/// looks at them only where there is a body.
pub(crate) fn has_one_length(headers: &mut HeaderMap) -> bool {
    let lengths = headers.get_all(CONTENT_LENGTH);
    let mut lengths = lengths.iter();
    let Some(first) = lengths.next() else {
        return true;
    };
    let is_number = !first.is_empty() && first.as_bytes().iter().all(u8::is_ascii_digit);
    if lengths.next().is_none() {
        return is_number;
    }
    let all_the_same = headers.get_all(CONTENT_LENGTH).iter().all(|length| length == first);
    let first = first.clone();
    headers.insert(CONTENT_LENGTH, first);
    is_number && all_the_same
}

/// The host without its port.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// Whether the request asks for a WebSocket.
pub(crate) fn is_websocket(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    method == Method::GET
        && version == Version::HTTP_11
        && headers
            .get(UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && connection_tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

/// What becomes of a request on its way to the endpoint.
#[derive(Debug)]
pub(crate) struct Passage {
    pub(crate) host: HeaderValue,
    /// What the endpoint is told of where the request comes from.
    pub(crate) announcement: Announcement,
    pub(crate) websocket: bool,
    /// The request has a body whose length is not known.
    pub(crate) chunked: bool,
}

/// Makes a client's headers those of the request to the endpoint. What it says in forwarding headers
/// is replaced, since anybody can say anything there; who is believed was heard before.
pub(crate) fn to_endpoint(
    headers: &mut HeaderMap,
    passage: Passage,
    request_id: impl FnOnce() -> u128,
) {
    remove_hop_by_hop(headers);
    for name in [EXPECT, TRAILER, REVISION, MIRROR] {
        headers.remove(name);
    }
    if !headers.contains_key(HOST) {
        headers.insert(HOST, passage.host);
    }
    passage.announcement.write(headers);
    if !headers.contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::from_bytes(&in_hexadecimal(request_id()))
    {
        headers.insert(REQUEST_ID, id);
    }
    if passage.websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    if passage.chunked {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// A number as a request is named by it.
pub(crate) fn in_hexadecimal(number: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    text
}

/// Joins the parts in which HTTP/2 may send the cookies: HTTP/1 has them in one header.
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Makes an endpoint's headers those of the answer to the client.
pub(crate) fn to_client(headers: &mut HeaderMap, switching: bool) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // The length that is said beside it is not the body's.
        headers.remove(CONTENT_LENGTH);
    }
    let upgrade = if switching { headers.remove(UPGRADE) } else { None };
    remove_hop_by_hop(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let nominated: Vec<HeaderName> = connection_tokens(headers)
            .filter(|token| !token.eq_ignore_ascii_case("close"))
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .collect();
        for name in nominated {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Announcements, Origin};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn appended(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn malformed_requests_are_told_apart() {
        for (target, pairs, wanted) in [
            ("/", vec![("host", "a")], Ok("a")),
            ("/", vec![("host", "[::1]:80")], Ok("[::1]:80")),
            ("http://A:80/x", vec![("host", "a:80")], Ok("a:80")),
            ("/", vec![], Err(Malformed::HostCount)),
            ("/", vec![("host", "a"), ("host", "a")], Err(Malformed::HostCount)),
            ("/", vec![("host", "a/b")], Err(Malformed::HostValue)),
            ("/", vec![("host", "u@a")], Err(Malformed::HostValue)),
            ("/", vec![("host", "a, b")], Err(Malformed::HostValue)),
            ("/", vec![("host", "")], Err(Malformed::HostValue)),
            ("http://b/x", vec![("host", "a")], Err(Malformed::OtherHost)),
            ("/a/../b", vec![("host", "a")], Err(Malformed::Path)),
            ("a", vec![("host", "a")], Err(Malformed::Target)),
            ("*", vec![("host", "a")], Ok("a")),
            ("/", vec![("host", "a"), ("transfer-encoding", "Chunked")], Ok("a")),
            (
                "/",
                vec![("host", "a"), ("transfer-encoding", "gzip, chunked")],
                Err(Malformed::Encoding),
            ),
            (
                "/",
                vec![
                    ("host", "a"),
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                Err(Malformed::Encoding),
            ),
            (
                "/",
                vec![("host", "a"), ("connection", "close, X-Forwarded-For")],
                Err(Malformed::Nominated),
            ),
        ] {
            let found =
                check(&Method::GET, Version::HTTP_11, &target.parse().unwrap(), &appended(&pairs));
            assert_eq!(
                found.as_ref().map(|host| host.to_str().unwrap()),
                wanted.as_ref().copied(),
                "{target} {pairs:?}"
            );
        }
    }

    #[test]
    fn http2_names_the_host_beside_the_headers() {
        for (target, pairs, wanted) in [
            ("https://a:1/x", vec![], Ok("a:1")),
            ("https://a/", vec![("host", "A")], Ok("A")),
            ("https://a/", vec![("host", "b")], Err(Malformed::OtherHost)),
            ("https://a/", vec![("host", "a"), ("host", "a")], Err(Malformed::HostCount)),
            ("https://u@a/", vec![], Err(Malformed::HostValue)),
            ("/", vec![], Err(Malformed::HostCount)),
            ("/", vec![("host", "a")], Ok("a")),
        ] {
            let found =
                check(&Method::GET, Version::HTTP_2, &target.parse().unwrap(), &appended(&pairs));
            assert_eq!(
                found.as_ref().map(|host| host.to_str().unwrap()),
                wanted.as_ref().copied(),
                "{target} {pairs:?}"
            );
        }
    }

    #[test]
    fn cookies_in_parts_are_joined() {
        let mut map = appended(&[("cookie", "a=1"), ("cookie", "b=2; c=3"), ("x", "y")]);
        join_cookies(&mut map);
        assert_eq!(map, headers(&[("cookie", "a=1; b=2; c=3"), ("x", "y")]));
    }

    #[test]
    fn ports_are_no_part_of_a_host() {
        for (given, wanted) in
            [("a", "a"), ("a:80", "a"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]")]
        {
            assert_eq!(without_port(given), wanted);
        }
    }

    #[test]
    fn the_endpoint_sees_what_is_meant_for_it() {
        let mut map = headers(&[
            ("host", "a"),
            ("connection", "keep-alive, x-mine, close"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("tidegate-revision", "candidate"),
            ("tidegate-mirror", "1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-request-id", "mine"),
            ("x-other", "2"),
        ]);
        let host = HeaderValue::from_static("a");
        let origin = Origin::of(&map, "127.0.0.1".parse().unwrap(), false, &[]);
        let announcement = Announcements::default().of(&origin, &host, false);
        let passage = Passage { host, announcement, websocket: false, chunked: true };
        to_endpoint(&mut map, passage, || 7);
        assert_eq!(
            map,
            headers(&[
                ("host", "a"),
                ("transfer-encoding", "chunked"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-host", "a"),
                ("x-forwarded-proto", "http"),
                ("forwarded", "for=127.0.0.1;host=a;proto=http"),
                ("x-request-id", "mine"),
                ("x-other", "2"),
            ])
        );
    }

    #[test]
    fn the_client_sees_what_is_meant_for_it() {
        let given = [
            ("connection", "x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "websocket"),
            ("content-length", "3"),
        ];
        let mut map = headers(&given);
        to_client(&mut map, false);
        assert_eq!(map, headers(&[("content-length", "3")]));
        let mut map = headers(&given);
        to_client(&mut map, true);
        assert_eq!(
            map,
            headers(&[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("content-length", "3")
            ])
        );
    }

    #[test]
    fn only_websockets_are_upgraded() {
        let asked = |connection, upgrade| {
            let map = headers(&[("connection", connection), ("upgrade", upgrade)]);
            is_websocket(&Method::GET, Version::HTTP_11, &map)
        };
        assert!(asked("keep-alive, Upgrade", "WebSocket"));
        assert!(!asked("keep-alive", "websocket"));
        assert!(!asked("upgrade", "h2c"));
    }
}
