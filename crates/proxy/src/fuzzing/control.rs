//! The control socket's lines and the file of the tables.

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use tidegate_types::data_plane::{ProxyTable, Response};
use tokio::sync::{Mutex, Notify};

use crate::{
    control::{self, Control},
    disk,
    limits::Limits,
    registry::Registry,
};

/// A data plane without workers: it takes tables, stores them and listens, and answers nobody.
#[derive(Debug)]
pub struct Plane(Control);

impl Plane {
    /// Starts from what is stored in `home`.
    pub async fn start(home: &Path) -> io::Result<Self> {
        let stored = disk::load(home)?;
        let mut registry = Registry::new(home.to_owned(), Vec::new(), &Limits::default());
        registry.restore(stored).await;
        let (meters, watch) = (registry.meters(), registry.watch());
        Ok(Self(Control {
            registry: Mutex::new(registry),
            meters: Arc::clone(&meters),
            watch,
            end: Notify::new(),
            ending: AtomicBool::new(false),
        }))
    }

    /// The answer to a line of the control socket.
    pub async fn reply(&self, line: &[u8]) -> Response {
        control::reply(&self.0, line).await
    }
}

/// The tables that are stored in a home.
pub fn stored(home: &Path) -> io::Result<Vec<ProxyTable>> {
    Ok(disk::load(home)?.into_iter().map(|stored| stored.table).collect())
}
