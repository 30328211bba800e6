//! All environments of one control plane.

use std::{collections::BTreeMap, sync::Arc};

use tidegate_release::git;
use tidegate_store::Store;
use tidegate_targets::Target;
use tidegate_types::{DeploymentId, LogLine, Plan, RevisionId, Scope};
use tokio::sync::{Mutex, oneshot, watch};

use crate::{
    Clock, Command, DeploymentRequest, EnvironmentView, Error, Prepare, Progress, Wish,
    actor::{self, Handle, Message, Parts},
    earlier::{current, earlier},
};

/// Runs every environment that the store knows. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    parts: Parts,
    actors: Arc<Mutex<BTreeMap<Scope, Handle>>>,
}

impl Engine {
    /// Starts every environment where it was left.
    pub async fn start(
        store: Arc<dyn Store>,
        target: Arc<dyn Target>,
        preparer: Arc<dyn Prepare>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let engine =
            Self { parts: Parts { store, target, preparer, clock }, actors: Arc::default() };
        for scope in engine.parts.store.scopes().await? {
            engine.actor(&scope).await?;
        }
        Ok(engine)
    }

    async fn actor(&self, scope: &Scope) -> Result<Handle, Error> {
        let mut actors = self.actors.lock().await;
        if let Some(handle) = actors.get(scope) {
            return Ok(handle.clone());
        }
        let handle = actor::start(scope.clone(), self.parts.clone()).await?;
        actors.insert(scope.clone(), handle.clone());
        Ok(handle)
    }

    async fn known(&self, scope: &Scope) -> Result<Handle, Error> {
        self.actors
            .lock()
            .await
            .get(scope)
            .cloned()
            .ok_or_else(|| Error::UnknownScope { scope: scope.clone() })
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// Begins a deployment. Answers when it is stored and under way.
    pub async fn deploy(&self, request: DeploymentRequest) -> Result<DeploymentId, Error> {
        if let Wish::Commit { repository, reference, dirty: false } = &request.wish {
            // A commit that does not exist is said at once, before there is a deployment.
            git::resolve(repository, reference).await.map_err(|error| {
                Error::Preparation(Box::new(tidegate_core::Failure::new(
                    tidegate_core::FailureCode::Prepare,
                    error.to_string(),
                )))
            })?;
        }
        let handle = match request.wish {
            Wish::Commit { .. } => self.actor(&request.scope).await?,
            Wish::Earlier { .. } => self.known(&request.scope).await?,
        };
        let (answer, answered) = oneshot::channel();
        handle
            .messages
            .send(Message::Deploy { request, answer })
            .await
            .map_err(|_| Error::Stopping)?;
        answered.await.map_err(|_| Error::Stopping)?
    }

    /// Says a word to the deployment under way.
    pub async fn command(&self, scope: &Scope, command: Command) -> Result<(), Error> {
        let handle = self.known(scope).await?;
        let (answer, answered) = oneshot::channel();
        handle
            .messages
            .send(Message::Command { command, answer })
            .await
            .map_err(|_| Error::Stopping)?;
        answered.await.map_err(|_| Error::Stopping)?
    }

    /// What a deployment would do. Builds the release if it was not built yet; changes nothing else.
    pub async fn plan(
        &self,
        request: DeploymentRequest,
        progress: Progress,
    ) -> Result<Plan, Error> {
        let stored = self.parts.store.load(&request.scope).await?;
        let environment = match stored {
            None => tidegate_core::Environment::new(request.scope.clone()),
            Some(stored) => serde_json::from_value(stored.state).map_err(|error| Error::State {
                scope: request.scope.clone(),
                reason: error.to_string(),
            })?,
        };
        let release = earlier(&environment, &request.wish)?;
        let next = self
            .parts
            .store
            .deployments(&tidegate_store::DeploymentFilter::All, None, 1)
            .await?
            .first()
            .map_or(1, |latest| latest.id.0 + 1);
        self.parts
            .preparer
            .prepare(DeploymentId(next), &request, release, &current(&environment), progress)
            .await
            .map_err(|failure| Error::Preparation(Box::new(failure)))
    }

    /// Ends every task wherever it is. What was stored goes on at the next start; what runs is not
    /// touched.
    pub async fn halt(&self) {
        for handle in self.actors.lock().await.values() {
            handle.halt();
        }
    }

    /// The environments that are known.
    pub async fn scopes(&self) -> Vec<Scope> {
        self.actors.lock().await.keys().cloned().collect()
    }

    /// An environment as it is now and as it changes.
    pub async fn view(
        &self,
        scope: &Scope,
    ) -> Result<watch::Receiver<Arc<EnvironmentView>>, Error> {
        Ok(self.known(scope).await?.view)
    }

    /// The last lines of output of these revisions.
    pub async fn logs(
        &self,
        scope: &Scope,
        revisions: &[RevisionId],
        lines: usize,
    ) -> Result<Vec<LogLine>, Error> {
        Ok(self.parts.target.logs(scope, revisions, lines).await?)
    }
}
