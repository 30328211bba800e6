//! Requests and answers between what HTTP/1 and what HTTP/2 says about them.

use http::{
    HeaderMap, HeaderValue, Request, Uri, Version,
    header::{CONNECTION, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::request_body::RequestBody;

/// Makes a request to an endpoint of HTTP/1 one to an endpoint of HTTP/2. An error says what is wrong
/// with the client's request.
pub(crate) fn to_http2(request: &mut Request<RequestBody>) -> Result<(), &'static str> {
    const HOST_VALUE: &str = "the host is not a name or address with an optional port";
    let headers = request.headers_mut();
    let host = headers.remove(HOST).ok_or(HOST_VALUE)?;
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    // They are taken from it, whatever becomes of them; gRPC does not work without this.
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| HOST_VALUE)?);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| HOST_VALUE)?;
    *request.version_mut() = Version::HTTP_2;
    Ok(())
}

/// The codes of gRPC that say that the application failed, and not that it refused: `UNKNOWN`,
/// `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS`.
const FAILURES: [&str; 5] = ["2", "4", "13", "14", "15"];

/// Whether an answer is one of gRPC, which says at its end how it went.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    const NAME: &[u8] = b"application/grpc";
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(NAME))
        // Its form for browsers, which goes on with a dash, has its end in the body.
        .is_some_and(|rest| rest.is_empty() || matches!(rest[0], b'+' | b';' | b' '))
}

/// Whether these headers or trailers say that the application failed. None when they do not say.
pub(crate) fn grpc_failed(headers: &HeaderMap) -> Option<bool> {
    let status = headers.get("grpc-status")?;
    Some(FAILURES.iter().any(|code| status.as_bytes() == code.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, host: &str) -> Request<RequestBody> {
        let request = Request::builder().uri(uri).header("host", host);
        let request = request.header("connection", "upgrade").header("upgrade", "websocket");
        request.header("transfer-encoding", "chunked").body(RequestBody::empty()).unwrap()
    }

    #[test]
    fn a_request_of_http1_becomes_one_of_http2() {
        let mut request = request("/x?y=1", "shop:80");
        to_http2(&mut request).unwrap();
        assert_eq!(request.uri(), "http://shop:80/x?y=1");
        assert_eq!(request.headers().len(), 1);
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.version(), Version::HTTP_2);
    }

    #[test]
    fn a_host_that_no_target_can_name_is_refused() {
        assert!(to_http2(&mut request("/", "a:b:c")).is_err());
        assert!(to_http2(&mut request("/", "[")).is_err());
    }

    #[test]
    fn answers_of_grpc_are_known_by_their_type() {
        for (text, wanted) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]);
            assert_eq!(is_grpc(&headers), wanted, "{text}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn what_the_caller_did_wrong_is_no_failure_of_the_application() {
        let failed = |status: &'static str| {
            let name = http::HeaderName::from_static("grpc-status");
            grpc_failed(&HeaderMap::from_iter([(name, HeaderValue::from_static(status))]))
        };
        let failures: Vec<String> = (0..=16)
            .map(|code| code.to_string())
            .filter(|code| failed(Box::leak(code.clone().into_boxed_str())) == Some(true))
            .collect();
        assert_eq!(failures, FAILURES);
        assert_eq!(grpc_failed(&HeaderMap::new()), None);
    }
}
