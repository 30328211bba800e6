//! How requests come in: what a gateway says of all connections to it.

use tidegate_types::{Gateway, Network};

/// What is asked of connections and of requests before they are given to anybody.
#[derive(Debug, Default)]
pub(crate) struct Ingress {
    /// What these say of where a request comes from is believed.
    pub(crate) trusted: Vec<Network>,
}

impl Ingress {
    pub(crate) fn of(gateway: &Gateway) -> Self {
        Self { trusted: gateway.trusted_proxies.clone() }
    }
}
