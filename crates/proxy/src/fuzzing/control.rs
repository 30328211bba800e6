//! The control socket's lines and the file of the tables.

use std::{io, path::Path};

use tidegate_types::data_plane::{ProxyTable, Response};

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
        Ok(Self(Control::new(registry)))
    }

    /// The answer to a line of the control socket; none only when another proxy is in charge.
    pub async fn reply(&self, line: &[u8]) -> Option<Response> {
        control::reply(&self.0, serde_json::from_slice(line)).await
    }
}

/// The tables that are stored in a home.
pub fn stored(home: &Path) -> io::Result<Vec<ProxyTable>> {
    Ok(disk::load(home)?.into_iter().map(|stored| stored.table.into_owned()).collect())
}
