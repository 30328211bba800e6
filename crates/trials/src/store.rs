//! A store with faults.

use std::{future::Future, pin::Pin, sync::Arc};

use async_trait::async_trait;
use tidegate_store::{
    Accepted, Committed, Deployment, DeploymentDetail, DeploymentFilter, Error, Event, Input,
    NewDeployment, NewInput, Project, Requested, Store, Stored, Transition,
};
use tidegate_types::{
    DeploymentId, ProjectName, Release, ReleaseId, RevisionId, Sample, Scope, Timestamp,
};

use crate::{
    scenario::{Call, How},
    shared::{Caller, Shared},
};

pub(crate) struct FaultyStore {
    pub(crate) caller: Caller,
    pub(crate) inside: Arc<dyn Store>,
    pub(crate) shared: Arc<Shared>,
}

impl FaultyStore {
    async fn call<T: Send + 'static>(
        &self,
        call: Call,
        effect: Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>,
    ) -> Result<T, Error> {
        self.shared.call(self.caller, call, effect, fault).await
    }
}

fn fault(how: How) -> Error {
    let (path, detail) = ("tidegate.db".into(), format!("{how:?}"));
    match how {
        How::After | How::Late(_) => Error::Io { operation: "write".to_owned(), path, detail },
        _ => Error::Full { path, detail },
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn put_project(&self, project: &Project) -> Result<(), Error> {
        self.inside.put_project(project).await
    }

    async fn projects(&self) -> Result<Vec<Project>, Error> {
        self.inside.projects().await
    }

    async fn request_deployment(&self, deployment: NewDeployment) -> Result<Requested, Error> {
        let inside = Arc::clone(&self.inside);
        let effect = Box::pin(async move { inside.request_deployment(deployment).await });
        self.call(Call::Request, effect).await
    }

    async fn accept(&self, input: NewInput) -> Result<Accepted, Error> {
        let inside = Arc::clone(&self.inside);
        let effect = Box::pin(async move { inside.accept(input).await });
        self.call(Call::Accept, effect).await
    }

    async fn pending(&self, scope: &Scope) -> Result<Vec<Input>, Error> {
        let scope = scope.clone();
        let inside = Arc::clone(&self.inside);
        let effect = Box::pin(async move { inside.pending(&scope).await });
        self.call(Call::Pending, effect).await
    }

    async fn load(&self, scope: &Scope) -> Result<Option<Stored>, Error> {
        let scope = scope.clone();
        let inside = Arc::clone(&self.inside);
        let effect = Box::pin(async move { inside.load(&scope).await });
        self.call(Call::Load, effect).await
    }

    async fn scopes(&self) -> Result<Vec<Scope>, Error> {
        self.inside.scopes().await
    }

    async fn commit(&self, transition: Transition) -> Result<Committed, Error> {
        let (inside, shared) = (Arc::clone(&self.inside), Arc::clone(&self.shared));
        let effect = Box::pin(async move {
            let before = inside.load(&transition.scope).await?;
            let committed = inside.commit(transition.clone()).await?;
            shared.oracle().committed(before.as_ref(), &transition);
            Ok(committed)
        });
        self.call(Call::Commit, effect).await
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentDetail>, Error> {
        self.inside.deployment(id).await
    }

    async fn deployments(
        &self,
        filter: &DeploymentFilter,
        before: Option<DeploymentId>,
        limit: usize,
    ) -> Result<Vec<Deployment>, Error> {
        self.inside.deployments(filter, before, limit).await
    }

    async fn events(&self, scope: &Scope, after: u64, limit: usize) -> Result<Vec<Event>, Error> {
        self.inside.events(scope, after, limit).await
    }

    async fn deployment_events(
        &self,
        id: DeploymentId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        self.inside.deployment_events(id, after, limit).await
    }

    async fn put_release(&self, release: &Release) -> Result<(), Error> {
        self.inside.put_release(release).await
    }

    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>, Error> {
        self.inside.release(id).await
    }

    async fn releases(&self, project: &ProjectName, limit: usize) -> Result<Vec<Release>, Error> {
        self.inside.releases(project, limit).await
    }

    async fn release_of_commit(
        &self,
        project: &ProjectName,
        commit: &str,
    ) -> Result<Option<Release>, Error> {
        self.inside.release_of_commit(project, commit).await
    }

    async fn put_samples(
        &self,
        deployment: DeploymentId,
        samples: Vec<(RevisionId, Sample)>,
    ) -> Result<(), Error> {
        let inside = Arc::clone(&self.inside);
        let effect = Box::pin(async move { inside.put_samples(deployment, samples).await });
        self.call(Call::Samples, effect).await
    }

    async fn samples(
        &self,
        deployment: DeploymentId,
        revision: &RevisionId,
        since: Timestamp,
    ) -> Result<Vec<Sample>, Error> {
        self.inside.samples(deployment, revision, since).await
    }

    async fn forget_samples(&self, before: Timestamp) -> Result<u64, Error> {
        self.inside.forget_samples(before).await
    }

    async fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        self.inside.meta(key).await
    }

    async fn set_meta(&self, key: &str, value: &str) -> Result<(), Error> {
        self.inside.set_meta(key, value).await
    }
}
