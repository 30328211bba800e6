//! Where a request comes from: its connection's peer, or what proxies say that are believed.

mod announcement;
mod forwarded;
mod node;

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};
use tidegate_types::Network;

pub(crate) use announcement::{Announcement, Announcements};

use crate::ingress::is_in;
use forwarded::Element;

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// All headers in which proxies say where a request comes from.
pub(crate) const HEADERS: [HeaderName; 4] =
    [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, FORWARDED];

/// A chain of more proxies than this is not followed to its end.
const MOST_PROXIES: usize = 32;

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The last in the chain that is not a proxy that is believed.
    pub(crate) client: IpAddr,
    /// Whether the client's own connection is encrypted.
    pub(crate) secure: bool,
    /// Which host the client asked for, where a proxy says so.
    pub(crate) host: Option<HeaderValue>,
    /// The proxies on the way, the peer last; none when the client is the peer.
    pub(crate) proxies: Vec<IpAddr>,
}

impl Origin {
    /// The client is the peer.
    pub(crate) fn direct(peer: IpAddr, secure: bool) -> Self {
        Self { client: peer.to_canonical(), secure, host: None, proxies: Vec::new() }
    }

    /// Finds it. What a peer says that is not trusted does not matter.
    ///
    /// Nearly all proxies write `X-Forwarded-For`, and those that do pass on a `Forwarded` that
    /// anybody wrote. So one of the two is believed and never a mixture.
    pub(crate) fn of(headers: &HeaderMap, peer: IpAddr, secure: bool, trusted: &[Network]) -> Self {
        let direct = Self::direct(peer, secure);
        if !is_in(direct.client, trusted) {
            return direct;
        }
        if headers.contains_key(FORWARDED) && !headers.contains_key(FORWARDED_FOR) {
            direct.by_forwarded(headers, trusted)
        } else {
            direct.by_x_forwarded(headers, trusted)
        }
    }

    fn by_x_forwarded(mut self, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let chain = list(headers, &FORWARDED_FOR).map(node::read);
        let steps = self.follow(chain, trusted);
        // Who adds to one list adds to the others; who does not add sets them.
        let of_client = |name: HeaderName| list(headers, &name).take(steps.max(1)).last();
        if let Some(proto) = of_client(FORWARDED_PROTO) {
            self.secure = secure(proto).unwrap_or(self.secure);
        }
        self.host = of_client(FORWARDED_HOST).and_then(host);
        self
    }

    fn by_forwarded(mut self, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let elements = forwarded::read(headers);
        let chain = elements.iter().map(|element| element.node);
        let steps = self.follow(chain, trusted);
        let Some(Element { proto, host: named, .. }) = elements.into_iter().nth(steps.max(1) - 1)
        else {
            return self;
        };
        self.secure = proto.and_then(|proto| secure(&proto)).unwrap_or(self.secure);
        self.host = named.as_deref().and_then(host);
        self
    }

    /// Goes from the peer towards the client, as far as proxies are believed and name somebody.
    /// Says how many steps of the chain it took.
    fn follow(
        &mut self,
        chain: impl Iterator<Item = Option<IpAddr>>,
        trusted: &[Network],
    ) -> usize {
        for next in chain.take(MOST_PROXIES) {
            let Some(next) = next.filter(|_| is_in(self.client, trusted)) else {
                break;
            };
            self.proxies.push(self.client);
            self.client = next.to_canonical();
        }
        self.proxies.reverse();
        self.proxies.len()
    }
}

/// What stands in all headers of a name, divided by commas, the last first.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers
        .get_all(name)
        .into_iter()
        .rev()
        .flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|part| !part.is_empty())
}

fn secure(proto: &[u8]) -> Option<bool> {
    let is =
        |names: [&str; 2]| names.iter().any(|name| proto.eq_ignore_ascii_case(name.as_bytes()));
    // Some proxies name the protocol of a WebSocket by its own name.
    is(["https", "wss"]).then_some(true).or_else(|| is(["http", "ws"]).then_some(false))
}

fn host(text: &[u8]) -> Option<HeaderValue> {
    crate::head::is_host(text).then(|| HeaderValue::from_bytes(text).ok()).flatten()
}

#[cfg(test)]
mod tests;
