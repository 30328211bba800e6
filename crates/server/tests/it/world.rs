//! A control plane in this process.

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_core::{Failure, FailureCode};
use tidegate_engine::{
    Anchor, Current, DeploymentRequest, Engine, Prepare, Progress, SteadyClock, Wish,
};
use tidegate_server::{End, State, client::Client};
use tidegate_store::MemoryStore;
use tidegate_targets::{Target, TargetError};
use tidegate_types::{
    DeploymentId, Epoch, Generation, LogLine, Observation, Plan, ReleaseId, RevisionId, RouteTable,
    Scope, WantedRevision, data_plane::Traffic,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

/// Runs nothing, and says so.
struct Nothing(watch::Sender<u64>);

#[async_trait]
impl Target for Nothing {
    async fn apply(
        &self,
        _: &Scope,
        _: Generation,
        _: &[WantedRevision],
    ) -> Result<(), TargetError> {
        Ok(())
    }

    async fn route(&self, table: &RouteTable) -> Result<Epoch, TargetError> {
        Ok(table.epoch)
    }

    async fn observe(&self, _: &Scope) -> Result<Observation, TargetError> {
        Ok(Observation::default())
    }

    async fn traffic(&self, _: &Scope) -> Result<Traffic, TargetError> {
        Ok(Traffic::default())
    }

    async fn logs(
        &self,
        _: &Scope,
        _: &[RevisionId],
        _: usize,
    ) -> Result<Vec<LogLine>, TargetError> {
        Ok(Vec::new())
    }

    fn changes(&self, _: &Scope) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Fails when it is told to, and takes for ever until then.
struct Fails(Arc<Notify>);

#[async_trait]
impl Prepare for Fails {
    async fn prepare(
        &self,
        _: DeploymentId,
        _: &DeploymentRequest,
        _: Option<ReleaseId>,
        _: &Current,
        _: Progress,
    ) -> Result<Plan, Failure> {
        self.0.notified().await;
        let mut failure = Failure::new(FailureCode::Build, "the build failed");
        failure.log = vec!["cannot find crate".to_owned()];
        Err(failure)
    }

    async fn abandon(&self, _: DeploymentId) {}
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) served: JoinHandle<Result<End, tidegate_server::Error>>,
    pub(crate) fail: Arc<Notify>,
    pub(crate) home: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        // What a predecessor that was killed leaves.
        drop(std::os::unix::net::UnixListener::bind(tidegate_server::socket_of(home.path())));
        let fail = Arc::new(Notify::new());
        let engine = Engine::start(
            Arc::new(MemoryStore::new()),
            Arc::new(Nothing(watch::Sender::new(0))),
            Arc::new(Fails(Arc::clone(&fail))),
            Arc::new(SteadyClock::new(Anchor::read())),
        )
        .await
        .expect("the engine starts");
        let client = Client::new(home.path());
        let place = home.path().to_owned();
        let state = State::new(engine, "1.2.3");
        let served = tokio::spawn(async move { tidegate_server::serve(&place, state).await });
        let began = std::time::Instant::now();
        while client.health().await.is_err() {
            assert!(began.elapsed().as_secs() < 30, "the control plane does not come up");
            tokio::task::yield_now().await;
        }
        Self { client, served, fail, home }
    }
}

/// A wish for the work tree: nothing is looked up before it is prepared.
pub(crate) fn request() -> DeploymentRequest {
    DeploymentRequest {
        scope: "shop/production".parse().expect("it is a scope"),
        wish: Wish::Commit {
            repository: "nowhere".into(),
            reference: "HEAD".to_owned(),
            dirty: true,
        },
        actor: "ana".to_owned(),
        reason: None,
    }
}
