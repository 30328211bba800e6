//! From a wish to a plan: find or build the release, read its manifest, compile.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use tidegate_core::{Failure, FailureCode};
use tidegate_manifest::FILE_NAME;
use tidegate_release::{ArtifactStore, BuildError, BuildRequest, Builder, git};
use tidegate_store::{Project, Store};
use tidegate_types::{DeploymentId, Plan, ProjectName, Release, ReleaseId, Scope};
use tracing::{info, warn};

use crate::{Clock, DeploymentRequest, Wish};

/// What is there before a deployment, as the plan needs it.
pub type Current = tidegate_plan::Current;

/// Takes what the preparation says of itself, for people.
pub type Progress = Arc<dyn Fn(String) + Send + Sync>;

/// Makes plans.
#[async_trait]
pub trait Prepare: Send + Sync {
    /// Makes the plan of a deployment. `earlier` is the release that a rollback goes to. Dropped in
    /// the middle it leaves nothing that the next call with the same request could not use.
    async fn prepare(
        &self,
        deployment: DeploymentId,
        request: &DeploymentRequest,
        earlier: Option<ReleaseId>,
        current: &Current,
        progress: Progress,
    ) -> Result<Plan, Failure>;

    /// Ends what the dropped preparation of a deployment left running, since nobody waits for it.
    async fn abandon(&self, deployment: DeploymentId);
}

/// Builds from git repositories on this machine.
pub struct Preparer {
    store: Arc<dyn Store>,
    builder: Builder,
    artifacts: ArtifactStore,
    clock: Arc<dyn Clock>,
    /// The commits that are being built.
    building: Mutex<BTreeMap<DeploymentId, (ProjectName, String)>>,
}

impl Preparer {
    /// A preparer that keeps builds and artifacts below `home` and runs build steps under
    /// `executable`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        home: &Path,
        executable: PathBuf,
    ) -> Self {
        Self {
            store,
            builder: Builder::new(home.to_owned(), executable),
            artifacts: ArtifactStore::new(home.join("artifacts")),
            clock,
            building: Mutex::default(),
        }
    }

    /// The folder of an artifact.
    #[must_use]
    pub fn artifacts(&self) -> &ArtifactStore {
        &self.artifacts
    }

    async fn release_of_commit(
        &self,
        deployment: DeploymentId,
        scope: &Scope,
        repository: &Path,
        reference: &str,
        dirty: bool,
        progress: Progress,
    ) -> Result<Release, Failure> {
        let prepare = |what: String| Failure::new(FailureCode::Prepare, what);
        let commit = if dirty {
            git::snapshot(repository).await
        } else {
            git::resolve(repository, reference).await
        }
        .map_err(|error| prepare(error.to_string()))?;
        let text = git::file_at(repository, &commit.hash, FILE_NAME)
            .await
            .map_err(|error| prepare(error.to_string()))?
            .ok_or_else(|| {
                let mut failure = prepare(format!("commit {} has no {FILE_NAME}", commit.version));
                failure.mend = Some(
                    "commit one (`tidegate init` writes it), or deploy the work tree with --dirty"
                        .to_owned(),
                );
                failure
            })?;
        let manifest = tidegate_manifest::read(&text, FILE_NAME)
            .map_err(|problems| {
                let mut failure = prepare(format!(
                    "{FILE_NAME} of commit {} does not pass the check",
                    commit.version
                ));
                failure.log = problems.render(false).lines().map(ToOwned::to_owned).collect();
                failure.mend = Some("run `tidegate check`, mend the file and commit it".to_owned());
                failure
            })?
            .manifest;
        if manifest.project != scope.project {
            return Err(prepare(format!(
                "{FILE_NAME} of commit {} is of the project `{}`, not `{}`",
                commit.version, manifest.project, scope.project
            )));
        }
        let project = Project {
            name: scope.project.clone(),
            repository: repository.display().to_string(),
            created_at: self.clock.now(),
        };
        let stored = |error: tidegate_store::Error| prepare(error.to_string());
        self.store.put_project(&project).await.map_err(stored)?;
        if !commit.dirty
            && let Some(release) =
                self.store.release_of_commit(&scope.project, &commit.hash).await.map_err(stored)?
            && self.builder.is_complete(&release)
        {
            info!(release = %release.id, "the commit was built before");
            return Ok(release);
        }
        let now = || self.clock.now();
        let building = || self.building.lock().unwrap_or_else(PoisonError::into_inner);
        building().insert(deployment, (scope.project.clone(), commit.hash.clone()));
        let request = BuildRequest {
            project: scope.project.clone(),
            repository: repository.to_owned(),
            commit,
            manifest_text: text,
            manifest: &manifest,
            clock: &now,
        };
        let built = self.builder.build(request, move |step| progress(sentence(&step))).await;
        building().remove(&deployment);
        let release = built.map_err(build_failure)?;
        self.store.put_release(&release).await.map_err(stored)?;
        Ok(release)
    }

    async fn earlier_release(&self, release: &ReleaseId) -> Result<Release, Failure> {
        let prepare = |what: String| Failure::new(FailureCode::Prepare, what);
        let found = self
            .store
            .release(release)
            .await
            .map_err(|error| prepare(error.to_string()))?
            .ok_or_else(|| prepare(format!("release {release} is not known here")))?;
        if !self.builder.is_complete(&found) {
            let mut failure =
                prepare(format!("the artifacts of release {release} are no longer here"));
            failure.mend = Some(format!(
                "build it again: `tidegate deploy --ref {}`",
                found.commit.get(..12).unwrap_or(&found.commit)
            ));
            return Err(failure);
        }
        Ok(found)
    }
}

fn sentence(step: &tidegate_release::Progress) -> String {
    use tidegate_release::Progress;
    match step {
        Progress::Waiting => "waiting for another build of the same commit".to_owned(),
        Progress::CheckingOut => "checking the commit out".to_owned(),
        Progress::Building { component, command, .. } => format!("building {component}: {command}"),
        Progress::Attached { component, .. } => {
            format!("building {component}: going on with the build that runs")
        }
        Progress::Restarted { component } => {
            format!("building {component} again: it is unknown how its build ended")
        }
        Progress::Stored { component, artifact } => {
            format!("stored {component}: {} files, {} bytes", artifact.files, artifact.bytes)
        }
        Progress::AlreadyBuilt => "built before".to_owned(),
    }
}

fn build_failure(error: BuildError) -> Failure {
    // The error says everything in several lines; a failure keeps the parts apart.
    let text = error.to_string();
    let what = text.lines().next().unwrap_or_default();
    let mut failure = Failure::new(FailureCode::Build, what);
    match error {
        BuildError::Failed(failed) => {
            failure.component = Some(failed.component);
            failure.log = failed.last_lines;
            failure.mend = Some(format!("the whole log is {}", failed.log.display()));
        }
        BuildError::Lost { component, last_lines, log, .. } => {
            failure.component = Some(component);
            failure.log = last_lines;
            failure.mend = Some(format!("the whole log is {}", log.display()));
        }
        BuildError::OutputMissing(missing) => failure.component = Some(missing.component),
        BuildError::FolderMissing { component, .. }
        | BuildError::OutsidePath { component, .. }
        | BuildError::Artifact { component, .. }
        | BuildError::Job { component, .. } => failure.component = Some(component),
        BuildError::Checkout(_) | BuildError::StillRunning { .. } | BuildError::File { .. } => {}
    }
    failure
}

#[async_trait]
impl Prepare for Preparer {
    async fn prepare(
        &self,
        deployment: DeploymentId,
        request: &DeploymentRequest,
        earlier: Option<ReleaseId>,
        current: &Current,
        progress: Progress,
    ) -> Result<Plan, Failure> {
        let prepare = |what: String| Failure::new(FailureCode::Prepare, what);
        let release = match (&request.wish, earlier) {
            (Wish::Commit { repository, reference, dirty }, _) => {
                self.release_of_commit(
                    deployment,
                    &request.scope,
                    repository,
                    reference,
                    *dirty,
                    progress,
                )
                .await?
            }
            (Wish::Earlier { .. }, Some(earlier)) => self.earlier_release(&earlier).await?,
            (Wish::Earlier { .. }, None) => {
                return Err(prepare("there is no release to go back to".to_owned()));
            }
        };
        // The release's own manifest, not the one of today: an old release keeps its own plan.
        let manifest = tidegate_manifest::read(&release.manifest, FILE_NAME)
            .map_err(|problems| {
                let mut failure = prepare(format!(
                    "the manifest of release {} is not one that this version reads",
                    release.id
                ));
                failure.log = problems.render(false).lines().map(ToOwned::to_owned).collect();
                failure
            })?
            .manifest;
        tidegate_plan::compile(tidegate_plan::Request {
            deployment,
            kind: request.wish.kind(),
            scope: &request.scope,
            manifest: &manifest,
            release: &release,
            current,
        })
        .map_err(|errors| {
            let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let mut failure = prepare("the plan cannot be made".to_owned());
            failure.evidence = Some(sentences.join("; "));
            failure
        })
    }

    async fn abandon(&self, deployment: DeploymentId) {
        let building =
            self.building.lock().unwrap_or_else(PoisonError::into_inner).remove(&deployment);
        if let Some((project, commit)) = building
            && let Err(error) = self.builder.abandon(&project, &commit).await
        {
            warn!(%deployment, %error, "the build of an aborted deployment was not ended");
        }
    }
}
