//! How requests come in: what a gateway says of all connections to it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use tidegate_types::{Gateway, Maintenance, Network};
use tokio::net::TcpStream;

use crate::proxy_header::{self, Source};

/// What is asked of connections and of requests before they are given to anybody.
#[derive(Debug, Default)]
pub(crate) struct Ingress {
    /// What these say of where a request comes from is believed.
    trusted: Vec<Network>,
    /// Connections begin with a header that says for whom they are.
    pub(crate) proxy_protocol: bool,
    /// No request goes to anybody.
    pub(crate) maintenance: Option<Maintenance>,
    /// Of a connection that was refused, the log was told.
    told: AtomicBool,
}

impl Ingress {
    pub(crate) fn of(gateway: &Gateway) -> Self {
        Self {
            trusted: gateway.trusted_proxies.clone(),
            proxy_protocol: gateway.proxy_protocol,
            maintenance: gateway.maintenance.clone(),
            told: AtomicBool::new(false),
        }
    }

    /// What these say of where a request comes from is believed.
    pub(crate) fn trusted(&self) -> &[Network] {
        &self.trusted
    }

    /// For whom a new connection is, by the header of the PROXY protocol; none when it is to be
    /// closed.
    ///
    /// The header is demanded of everybody: a connection without one cannot be told from one whose
    /// first bytes only look so. Where proxies are named as trusted, it is read from these alone,
    /// and the connections of all others are closed: to believe them would let anybody have any
    /// address, and to serve them without a header would be a way around whoever stands in front.
    pub(crate) async fn source(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        limit: Duration,
    ) -> Option<SocketAddr> {
        let trusted = &self.trusted;
        if !trusted.is_empty() && !is_in(peer.ip(), trusted) {
            self.refuse(peer, "it is not from one of the proxies that are trusted");
            return None;
        }
        match tokio::time::timeout(limit, proxy_header::read(stream)).await {
            Ok(Ok(Source::Client(client))) => Some(client),
            Ok(Ok(Source::Peer)) => Some(peer),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                self.refuse(peer, &error.to_string());
                None
            }
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "a client's connection broke");
                None
            }
            Err(_) => {
                self.refuse(peer, "the header of the PROXY protocol took too long");
                None
            }
        }
    }

    /// Says why a connection is closed: once to whoever runs this, since a proxy in front that is
    /// not set up to send headers sees nothing but connections that are closed.
    fn refuse(&self, peer: SocketAddr, reason: &str) {
        if self.told.swap(true, Relaxed) {
            tracing::debug!(%peer, reason, "a connection is closed");
        } else {
            tracing::warn!(%peer, reason, "a connection is closed, and so are others like it");
        }
    }
}

pub(crate) fn is_in(address: IpAddr, networks: &[Network]) -> bool {
    networks.iter().any(|network| network.contains(address))
}
