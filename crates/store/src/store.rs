//! The contract of a store.

use async_trait::async_trait;
use tidegate_types::{
    DeploymentId, ProjectName, Release, ReleaseId, RevisionId, Sample, Scope, Timestamp,
};

use crate::{
    Accepted, Committed, Deployment, DeploymentDetail, DeploymentFilter, Error, Event, Input,
    NewDeployment, NewInput, Project, Requested, Stored, Transition,
};

/// Keeps what Tidegate must not forget. One call is one transaction: it happens wholly or not at
/// all, and what was answered is durable. Cancelling a call leaves open whether it happens.
#[async_trait]
pub trait Store: Send + Sync {
    /// Puts a project. Put again it takes the new repository and keeps its first `created_at`.
    async fn put_project(&self, project: &Project) -> Result<(), Error>;

    /// All projects, by name.
    async fn projects(&self) -> Result<Vec<Project>, Error>;

    /// Allots the next number to a deployment and puts its request into the inbox of its scope, as
    /// an input of the kind [`Input::DEPLOYMENT_REQUESTED`].
    async fn request_deployment(&self, deployment: NewDeployment) -> Result<Requested, Error>;

    /// Puts an input into the inbox of its scope.
    async fn accept(&self, input: NewInput) -> Result<Accepted, Error>;

    /// The inputs of a scope that no transition has applied, in the order of their acceptance.
    async fn pending(&self, scope: &Scope) -> Result<Vec<Input>, Error>;

    /// The state of a scope; none when it has none yet.
    async fn load(&self, scope: &Scope) -> Result<Option<Stored>, Error>;

    /// Every scope that has a state or a pending input, by name.
    async fn scopes(&self) -> Result<Vec<Scope>, Error>;

    /// Makes one step of a scope's state machine durable. [`Error::Conflict`] when the scope is not
    /// at the expected version.
    async fn commit(&self, transition: Transition) -> Result<Committed, Error>;

    /// One deployment with its plan.
    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentDetail>, Error>;

    /// Deployments, the latest first, at most `limit`, only those with a number below `before`.
    async fn deployments(
        &self,
        filter: &DeploymentFilter,
        before: Option<DeploymentId>,
        limit: usize,
    ) -> Result<Vec<Deployment>, Error>;

    /// Events of a scope after the number `after`, in order, at most `limit`.
    async fn events(&self, scope: &Scope, after: u64, limit: usize) -> Result<Vec<Event>, Error>;

    /// Events of a deployment after the number `after`, in order, at most `limit`.
    async fn deployment_events(
        &self,
        id: DeploymentId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Error>;

    /// Puts a release. Releases are immutable: one that is there already stays as it is.
    async fn put_release(&self, release: &Release) -> Result<(), Error>;

    /// One release.
    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>, Error>;

    /// Releases of a project, the latest built first, at most `limit`.
    async fn releases(&self, project: &ProjectName, limit: usize) -> Result<Vec<Release>, Error>;

    /// The release that was built last from this very commit, never from an uncommitted work tree.
    async fn release_of_commit(
        &self,
        project: &ProjectName,
        commit: &str,
    ) -> Result<Option<Release>, Error>;

    /// Puts samples of a deployment. One that ends when another one of the same revision ended takes
    /// its place.
    async fn put_samples(
        &self,
        deployment: DeploymentId,
        samples: Vec<(RevisionId, Sample)>,
    ) -> Result<(), Error>;

    /// Samples of a revision in a deployment that end after `since`, in order.
    async fn samples(
        &self,
        deployment: DeploymentId,
        revision: &RevisionId,
        since: Timestamp,
    ) -> Result<Vec<Sample>, Error>;

    /// Forgets all samples that ended before `before`; says how many.
    async fn forget_samples(&self, before: Timestamp) -> Result<u64, Error>;

    /// A setting of the store itself.
    async fn meta(&self, key: &str) -> Result<Option<String>, Error>;

    /// Sets a setting of the store itself.
    async fn set_meta(&self, key: &str, value: &str) -> Result<(), Error>;
}
