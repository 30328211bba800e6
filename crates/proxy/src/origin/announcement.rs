//! What an endpoint is told of where a request comes from.

use std::cell::RefCell;

use http::{HeaderMap, HeaderValue, header::FORWARDED};

use crate::plain::write_header;

use super::{FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, Origin, forwarded, node};

/// What an endpoint is told, in two forms: what everybody reads, and what the standard says.
#[derive(Debug, Clone)]
pub(crate) struct Announcement {
    chain: HeaderValue,
    host: HeaderValue,
    secure: bool,
    forwarded: HeaderValue,
}

impl Announcement {
    /// Of a request that came to us for this host, on a connection that is encrypted or not.
    pub(crate) fn new(origin: &Origin, host: &HeaderValue, secure: bool) -> Self {
        let asked_for = origin.host.as_ref().unwrap_or(host);
        let mut chain = origin.client.to_string();
        let mut text = String::with_capacity(64);
        element(&mut text, origin.client, Some((asked_for, origin.secure)));
        for (index, proxy) in origin.proxies.iter().enumerate() {
            chain.push_str(", ");
            chain.push_str(&proxy.to_string());
            text.push_str(", ");
            let is_peer = index + 1 == origin.proxies.len();
            element(&mut text, *proxy, is_peer.then_some((host, secure)));
        }
        Self {
            chain: value(chain),
            host: asked_for.clone(),
            secure: origin.secure,
            forwarded: value(text),
        }
    }

    /// Writes it as lines of a head.
    pub(crate) fn write_lines(&self, out: &mut Vec<u8>) {
        write_header(out, FORWARDED_FOR.as_str(), self.chain.as_bytes());
        write_header(out, FORWARDED_HOST.as_str(), self.host.as_bytes());
        write_header(out, FORWARDED_PROTO.as_str(), scheme(self.secure).as_bytes());
        write_header(out, FORWARDED.as_str(), self.forwarded.as_bytes());
    }

    /// Puts it in the place of whatever the request says.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert(FORWARDED_FOR, self.chain);
        headers.insert(FORWARDED_HOST, self.host);
        let scheme = scheme(self.secure);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
        headers.insert(FORWARDED, self.forwarded);
    }
}

/// What one proxy says of the request that it got.
fn element(text: &mut String, from: std::net::IpAddr, got: Option<(&HeaderValue, bool)>) {
    text.push_str("for=");
    node::write(from, text);
    if let Some((host, secure)) = got {
        text.push_str(";host=");
        forwarded::write(host.to_str().unwrap_or_default(), text);
        text.push_str(";proto=");
        text.push_str(scheme(secure));
    }
}

fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

/// Of characters that may all stand in a header.
fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The announcements of one connection. A client that is the peer asks for the same host nearly
/// always, and then nothing has to be written anew.
#[derive(Debug, Default)]
pub(crate) struct Announcements(RefCell<Option<(HeaderValue, Announcement)>>);

impl Announcements {
    /// Of a request on this connection.
    pub(crate) fn of(&self, origin: &Origin, host: &HeaderValue, secure: bool) -> Announcement {
        if !origin.proxies.is_empty() || origin.host.is_some() || origin.secure != secure {
            return Announcement::new(origin, host, secure);
        }
        let mut last = self.0.borrow_mut();
        match &*last {
            Some((same, announcement)) if same == host => announcement.clone(),
            _ => {
                let new = Announcement::new(origin, host, secure);
                *last = Some((host.clone(), new.clone()));
                new
            }
        }
    }
}
