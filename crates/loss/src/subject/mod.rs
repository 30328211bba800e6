//! The proxies that go through the test.

mod caddy;
mod haproxy;
mod nginx;
mod tidegate;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
};

use async_trait::async_trait;

use self::{caddy::Caddy, haproxy::HaProxy, nginx::Nginx, tidegate::Tidegate};
use crate::{
    Failure,
    door::Doors,
    fleet::{Fleet, Member},
};

/// A proxy that goes through the test.
#[derive(Debug, Clone)]
pub enum Contender {
    /// This one, by its executable.
    Tidegate(PathBuf),
    /// nginx, which reads its configuration again for every change.
    Nginx(PathBuf),
    /// `HAProxy`, which is told changes on its socket.
    HaProxy(PathBuf),
    /// Caddy, which is told a whole configuration for every change.
    Caddy(PathBuf),
}

impl Contender {
    /// As it stands in the table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tidegate(_) => "Tidegate",
            Self::Nginx(_) => "nginx (reload)",
            Self::HaProxy(_) => "HAProxy (runtime API, reload as upgrade)",
            Self::Caddy(_) => "Caddy (admin API)",
        }
    }

    pub(crate) async fn start(&self, fleet: &Fleet) -> Result<Box<dyn Subject>, Failure> {
        Ok(match self {
            Self::Tidegate(executable) => Box::new(Tidegate::start(executable, fleet).await?),
            Self::Nginx(executable) => Box::new(Nginx::start(executable, fleet).await?),
            Self::HaProxy(executable) => Box::new(HaProxy::start(executable, fleet).await?),
            Self::Caddy(executable) => Box::new(Caddy::start(executable, fleet).await?),
        })
    }
}

/// A proxy that runs. It ends when it is dropped.
#[async_trait]
pub(crate) trait Subject: Send {
    fn doors(&self) -> Doors;

    /// Makes this what is in force; returns when it is, for every request that is sent later.
    async fn publish(&mut self, fleet: &Fleet) -> Result<(), Failure>;

    /// Whether nothing is in flight any more to an instance that is not in the fleet in force.
    async fn has_forgotten(&mut self, member: &Member) -> Result<bool, Failure>;

    /// Cuts off whoever publishes, in the middle of a word. Says false when nobody has to be there.
    async fn lose_publisher(&mut self) -> Result<bool, Failure>;

    /// Puts another process in its place; says false when that is not possible.
    async fn upgrade(&mut self) -> Result<bool, Failure>;

    /// Ends it; an error when it, or one in whose place it is, did not end as it should.
    async fn end(&mut self) -> Result<(), Failure>;
}

/// Addresses that nobody uses, for proxies that have to be told theirs.
fn free<const N: usize>() -> Result<[SocketAddr; N], Failure> {
    let mut found = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    let mut held = Vec::new();
    for address in &mut found {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(found)
}
