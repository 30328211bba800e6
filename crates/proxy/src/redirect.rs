//! What a client is told that comes in plain text where it could come encrypted.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SERVER},
};

use crate::{
    acme::Challenges,
    answer::{AnswerKind, Own},
    connection::Client,
    format::Format,
    head,
};

/// Below this an authority reads what proves that a host is ours.
const QUESTIONS: &str = "/.well-known/acme-challenge/";

const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// Where a scope listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// In plain text.
    pub(crate) from: u16,
    /// Encrypted.
    pub(crate) to: u16,
}

/// Where clients are sent, and what authorities are answered.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) ports: Ports,
    pub(crate) challenges: Arc<Challenges>,
}

/// The answer to a request.
pub(crate) fn answer<B>(client: &Client, request: &Request<B>) -> Response<AnswerKind> {
    let table = client.scope.table();
    let format = Format::of(request);
    let Some(redirect) = &table.redirect else {
        return Own::NoRoute.answer(format, None);
    };
    if let Some(fault) = client.activity.fault() {
        return Own::BadRequest.answer(format, Some(&fault.to_string()));
    }
    if let Some(text) = request
        .uri()
        .path()
        .strip_prefix(QUESTIONS)
        .filter(|_| matches!(*request.method(), Method::GET | Method::HEAD))
        .and_then(|name| redirect.challenges.text(name))
    {
        return plain(StatusCode::OK, text);
    }
    let (method, version) = (request.method(), request.version());
    match location(method, version, request.uri(), request.headers(), redirect.ports) {
        Ok(location) => {
            let mut response = plain(
                StatusCode::PERMANENT_REDIRECT,
                "Tidegate: 308: this is reached by https:// only.\n".to_owned(),
            );
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(malformed) => Own::BadRequest.answer(format, Some(&malformed.to_string())),
    }
}

fn plain(status: StatusCode, text: String) -> Response<AnswerKind> {
    let mut response = Response::new(AnswerKind::Fixed(Some(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A browser that keeps it would not find the way back when an environment is not encrypted any
    // more.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SERVER, HeaderValue::from_static("tidegate"));
    response
}

/// The same by HTTPS. The host is what the client says, and nothing but a host: a client cannot be
/// sent elsewhere by a link that somebody else gave it.
fn location(
    method: &Method,
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    ports: Ports,
) -> Result<HeaderValue, head::Malformed> {
    let host = head::check(method, version, uri, headers)?;
    let host = host.to_str().map_err(|_| head::Malformed::HostValue)?;
    let name = head::without_port(host);
    let asked = match &host[name.len()..] {
        "" => HTTP,
        port => port[1..].parse().map_err(|_| head::Malformed::HostValue)?,
    };
    let is_bracketed = name.starts_with('[') && name.ends_with(']');
    if name.is_empty() || (!is_bracketed && name.contains(['[', ']', ':'])) {
        return Err(head::Malformed::HostValue);
    }
    // Where the client did not ask at the port that is listened on, somebody before us leads to it
    // from another one, and then to the encrypted one as well.
    let port = if asked == ports.from { ports.to } else { HTTPS };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path == "*" { "/" } else { path };
    let location = match port {
        HTTPS => format!("https://{name}{path}"),
        port => format!("https://{name}:{port}{path}"),
    };
    HeaderValue::from_str(&location).map_err(|_| head::Malformed::Target)
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;

    fn told(host: &str, target: &str, from: u16, to: u16) -> Option<String> {
        let headers = [(HOST, HeaderValue::from_str(host).unwrap())].into_iter().collect();
        let uri: Uri = target.parse().unwrap();
        let ports = Ports { from, to };
        let location = location(&Method::GET, Version::HTTP_11, &uri, &headers, ports).ok()?;
        Some(location.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_client_is_sent_to_the_same_by_https() {
        for (host, target, from, to, wanted) in [
            ("shop.test", "/a/b?c=d&e=%20", 80, 443, "https://shop.test/a/b?c=d&e=%20"),
            ("shop.test:80", "/", 80, 443, "https://shop.test/"),
            ("shop.test", "/", 80, 8443, "https://shop.test:8443/"),
            ("shop.test:8080", "/", 8080, 8443, "https://shop.test:8443/"),
            ("shop.test:8080", "/", 8080, 443, "https://shop.test/"),
            // Somebody leads from 80 to 8080 and from 443 to 8443.
            ("shop.test", "/", 8080, 8443, "https://shop.test/"),
            ("[::1]:8080", "/", 8080, 8443, "https://[::1]:8443/"),
            ("[::1]", "/x", 80, 443, "https://[::1]/x"),
            ("shop.test", "//evil.test/", 80, 443, "https://shop.test//evil.test/"),
            ("shop.test", "http://shop.test/a", 80, 443, "https://shop.test/a"),
            ("shop.test", "*", 80, 443, "https://shop.test/"),
        ] {
            assert_eq!(told(host, target, from, to).as_deref(), Some(wanted), "{host} {target}");
        }
    }

    #[test]
    fn nobody_is_sent_to_what_is_no_host() {
        for host in [
            "",
            ":80",
            "shop.test@evil.test",
            "shop.test/evil",
            "shop.test:80:81",
            "shop.test:",
            "shop.test:99999",
            "a b",
            "[::1",
            "::1",
            "[]x",
            "shop.test#",
            "shop.test\\evil",
        ] {
            assert_eq!(told(host, "/", 80, 443), None, "{host}");
        }
        assert_eq!(told("shop.test", "http://evil.test/", 80, 443), None);
    }
}
