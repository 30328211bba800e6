//! What every request can reach.

use std::{sync::Arc, time::Instant};

use tidegate_engine::Engine;
use tokio::sync::watch;

/// How the control plane was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The control plane alone; instances and proxy serve on.
    ControlPlane,
    /// Everything: instances and proxy as well.
    Everything,
}

/// What every request can reach. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub(crate) engine: Engine,
    pub(crate) version: Arc<str>,
    pub(crate) started: Instant,
    end: Arc<watch::Sender<Option<End>>>,
}

impl State {
    /// The state of a control plane that starts now.
    #[must_use]
    pub fn new(engine: Engine, version: &str) -> Self {
        Self {
            engine,
            version: version.into(),
            started: Instant::now(),
            end: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Tells the control plane to end. The first word counts, but everything is more than the
    /// control plane alone.
    pub fn end(&self, end: End) {
        self.end.send_if_modified(|told| {
            let changed = told.is_none_or(|told| told == End::ControlPlane && end != told);
            if changed {
                *told = Some(end);
            }
            changed
        });
    }

    /// Waits until the control plane is told to end.
    pub async fn ended(&self) -> End {
        let mut told = self.end.subscribe();
        match told.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(end)) => end,
            // The sender lives as long as this does.
            Ok(None) | Err(_) => End::ControlPlane,
        }
    }
}
