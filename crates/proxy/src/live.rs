//! A table made ready for the workers: what it names is joined with what is counted for it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate_types::{GatewayLimits, InstanceId, Protocol, RevisionId, RouteRule};

use crate::{
    access_log::Policy,
    files::Site,
    gate::Gate,
    health::Health,
    ingress::Ingress,
    meter::{Gauge, RevisionMeter, UnansweredMeter},
    redirect::Redirect,
};

/// All routes of a scope, in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct LiveTable {
    pub(crate) routes: Vec<LiveRoute>,
    /// How new connections are encrypted.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// What is asked of connections.
    pub(crate) ingress: Arc<Ingress>,
    /// Where those are sent who come in plain text by a door of their own.
    pub(crate) redirect: Option<Arc<Redirect>>,
    /// What limits the requests to all routes.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Where requests leave lines, and which.
    pub(crate) access_log: Option<Policy>,
    /// Requests that no revision answered.
    pub(crate) unanswered: Option<Arc<UnansweredMeter>>,
    /// How long and how much, where the scope has something of its own.
    pub(crate) limits: GatewayLimits,
}

impl LiveTable {
    /// Lets those who wait for room look again.
    pub(crate) fn wake_waiting(&self) {
        let backends = self.routes.iter().flat_map(|route| &route.backends);
        let gates = backends.filter_map(|backend| backend.gate.as_ref()).chain(&self.gate);
        gates.for_each(|gate| gate.wake());
    }
}

#[derive(Debug)]
pub(crate) struct LiveRoute {
    pub(crate) rule: RouteRule,
    pub(crate) backends: Vec<LiveBackend>,
}

#[derive(Debug)]
pub(crate) struct LiveBackend {
    pub(crate) revision: RevisionId,
    pub(crate) role: String,
    pub(crate) share: u32,
    pub(crate) meter: Arc<RevisionMeter>,
    /// What limits the requests to it.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Held by who leaves one of its instances alone.
    pub(crate) ejecting: Arc<Mutex<()>>,
    pub(crate) upstream: LiveUpstream,
}

#[derive(Debug)]
pub(crate) enum LiveUpstream {
    Endpoints(Vec<LiveEndpoint>),
    Files(Arc<Site>),
}

#[derive(Debug)]
pub(crate) struct LiveEndpoint {
    pub(crate) instance: InstanceId,
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    /// How long what is in flight may take when it has left.
    pub(crate) drain: Option<Duration>,
    pub(crate) in_flight: Arc<Gauge>,
    pub(crate) health: Arc<Health>,
}
