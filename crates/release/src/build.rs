//! Builds a release: one clean checkout, each component's build in it, the results stored.
//!
//! A build runs in a process of its own (see `tidegate_shim`) and outlives the control plane. When
//! the control plane comes back and is asked for the same commit again, it finds in the commit's
//! folder how far the build came and goes on from there: what is built stays built, what runs is
//! waited for.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tidegate_manifest::{Build, Component, Manifest};
use tidegate_shim::{JobSpec, JobState};
use tidegate_types::{
    Artifact, ComponentName, Digest, LogLimits, ProjectName, Release, ReleaseId, Signal, Timestamp,
};

use crate::{
    artifacts::{ArtifactStore, hexadecimal},
    checkout::checkout,
    failure::{BuildError, FailedBuild, MissingOutput},
    git::Commit,
    site::{Patience, Site, file_error},
    tree::stays_inside,
    variables,
};

/// A build whose shim vanished is begun again so many times before it counts as failed.
const RESTARTS: u32 = 2;
/// So many lines of a failed build's output are part of the error.
const LAST_LINES: usize = 20;
/// A build whose lock is not free by then belongs to somebody.
const ABANDONED: Duration = Duration::from_secs(2);
/// So many names are listed where an output is missing.
const LISTED: usize = 12;

/// Makes releases from commits.
#[derive(Debug, Clone)]
pub struct Builder {
    home: PathBuf,
    executable: PathBuf,
    artifacts: ArtifactStore,
}

/// What to build.
pub struct BuildRequest<'a> {
    /// The project.
    pub project: ProjectName,
    /// Its repository.
    pub repository: PathBuf,
    /// The commit, from [`crate::git::resolve`] or [`crate::git::snapshot`].
    pub commit: Commit,
    /// `tidegate.yaml` as it is in that commit.
    pub manifest_text: String,
    /// The same, read and checked.
    pub manifest: &'a Manifest,
    /// Tells when the release was built.
    pub clock: &'a (dyn Fn() -> Timestamp + Send + Sync),
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Somebody else builds the same commit; this build goes on when that one ended.
    Waiting,
    /// The commit is being checked out.
    CheckingOut,
    /// A component's build was started.
    Building {
        /// Which.
        component: ComponentName,
        /// What runs.
        command: String,
        /// Where its output goes.
        log: PathBuf,
    },
    /// A component's build, started before, is gone on with.
    Attached {
        /// Which.
        component: ComponentName,
        /// Where its output goes.
        log: PathBuf,
    },
    /// It is unknown how a component's build ended: all is begun again in a fresh checkout.
    Restarted {
        /// Which.
        component: ComponentName,
    },
    /// A component's artifact is stored.
    Stored {
        /// Which.
        component: ComponentName,
        /// What was stored.
        artifact: Artifact,
    },
    /// All was built before.
    AlreadyBuilt,
}

/// The identifier of a release: the same for the same project, commit and artifacts.
#[must_use]
pub fn release_id(
    project: &ProjectName,
    commit: &str,
    artifacts: &BTreeMap<ComponentName, Artifact>,
) -> ReleaseId {
    let mut hasher = Sha256::new();
    let mut part = |text: &str| {
        hasher.update(text);
        hasher.update([0]);
    };
    part(project.as_str());
    part(commit);
    for (component, artifact) in artifacts {
        part(component.as_str());
        part(artifact.digest.as_str());
    }
    ReleaseId::new(format!("r-{}", &hexadecimal(&hasher.finalize())[..12]))
}

impl Builder {
    /// Keeps everything below `home`; `executable` offers the subcommand `shim`.
    #[must_use]
    pub fn new(home: PathBuf, executable: PathBuf) -> Self {
        Self { artifacts: ArtifactStore::new(home.join("artifacts")), home, executable }
    }

    /// Where the artifacts of its releases are.
    #[must_use]
    pub fn artifacts(&self) -> &ArtifactStore {
        &self.artifacts
    }

    /// Whether every artifact of the release is there, so that it need not be built again.
    #[must_use]
    pub fn is_complete(&self, release: &Release) -> bool {
        release.artifacts.values().all(|artifact| self.artifacts.contains(&artifact.digest))
    }

    /// Builds a commit, or goes on with a build of it that was interrupted.
    ///
    /// Builds of the same commit wait for each other. When the caller goes away, a build that runs
    /// goes on and is found by the next call. After a failure the checkout is left for a look, and
    /// the next call starts from a fresh one.
    pub async fn build(
        &self,
        request: BuildRequest<'_>,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Release, BuildError> {
        let site = Site::new(&self.home, &request.project, &request.commit.hash);
        let _lock = site.lock(|| progress(Progress::Waiting)).await?;
        if let Some(release) = site.release(&request.manifest_text)?
            && self.is_complete(&release)
        {
            progress(Progress::AlreadyBuilt);
            // Left when whoever built it was killed in its last moment. What cannot be removed
            // takes room and keeps nobody from the release.
            let _ = site.remove_checkout();
            return Ok(release);
        }
        if !site.can_go_on(&request.manifest_text)? {
            site.clear().await?;
        }
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(&request, &site, &progress).await;
            match outcome {
                // How it ended is unknown, so its traces are not trusted, nor those of the builds
                // before it, which it may rest on. A build may be repeated: it works in a checkout
                // that is thrown away, and nothing outside knows of it before it is stored.
                Err(BuildError::Lost { component, .. }) if attempt <= RESTARTS => {
                    attempt += 1;
                    progress(Progress::Restarted { component });
                    site.clear().await?;
                }
                Err(BuildError::Lost { component, last_lines, log, .. }) => {
                    site.mark_failed();
                    return Err(BuildError::Lost { component, attempts: attempt, last_lines, log });
                }
                Err(error) => {
                    site.mark_failed();
                    return Err(error);
                }
                Ok(artifacts) => {
                    let release = Release {
                        id: release_id(&request.project, &request.commit.hash, &artifacts),
                        project: request.project,
                        commit: request.commit.hash,
                        version: request.commit.version,
                        subject: request.commit.subject,
                        dirty: request.commit.dirty,
                        built_at: (request.clock)(),
                        manifest: request.manifest_text,
                        artifacts,
                    };
                    site.finish(&release)?;
                    return Ok(release);
                }
            }
        }
    }

    /// Ends the build of a commit that nobody waits for any more, and forgets what it left. When
    /// somebody does wait for it, another environment for instance, it goes on.
    pub async fn abandon(&self, project: &ProjectName, commit: &str) -> Result<(), BuildError> {
        let site = Site::new(&self.home, project, commit);
        match tokio::time::timeout(ABANDONED, site.lock(|| ())).await {
            Ok(lock) => {
                let _lock = lock?;
                if site.is_finished() { Ok(()) } else { site.clear().await }
            }
            Err(_) => Ok(()),
        }
    }

    async fn attempt(
        &self,
        request: &BuildRequest<'_>,
        site: &Site,
        progress: &(impl Fn(Progress) + Send + Sync),
    ) -> Result<BTreeMap<ComponentName, Artifact>, BuildError> {
        site.begin(&request.manifest_text)?;
        if !site.source().is_dir() {
            progress(Progress::CheckingOut);
            let fresh = site.fresh_folder()?;
            checkout(&request.repository, &request.commit.hash, &fresh).await?;
            let source = site.source();
            fs::rename(&fresh, &source).map_err(file_error("make", &source))?;
        }
        let mut artifacts = BTreeMap::new();
        // What is taken as committed is taken before any build leaves its traces.
        let (as_committed, built): (Vec<_>, Vec<_>) =
            request.manifest.components.iter().partition(|component| component.build.is_none());
        for component in as_committed.into_iter().chain(built) {
            let name = &component.name;
            let artifact = match site.artifact(name)? {
                Some(artifact) if self.artifacts.contains(&artifact.digest) => artifact,
                _ => {
                    let artifact = self.make(request, site, component, progress).await?;
                    site.keep_artifact(name, &artifact)?;
                    artifact
                }
            };
            progress(Progress::Stored { component: name.clone(), artifact: artifact.clone() });
            artifacts.insert(name.clone(), artifact);
        }
        Ok(artifacts)
    }

    async fn make(
        &self,
        request: &BuildRequest<'_>,
        site: &Site,
        component: &Component,
        progress: &(impl Fn(Progress) + Send + Sync),
    ) -> Result<Artifact, BuildError> {
        let name = &component.name;
        let path = match &component.build {
            None => folder_of(request, site, name, &component.path)?,
            Some(build) => {
                let directory = folder_of(request, site, name, &build.directory)?;
                self.run(request, site, name, build, &directory, progress).await?;
                output_of(site, name, build, &directory)?
            }
        };
        let store = self.artifacts.clone();
        let stored = tokio::task::spawn_blocking(move || store.put(&path)).await;
        let stored = stored.map_err(|error| BuildError::File {
            operation: "store",
            path: self.home.clone(),
            source: std::io::Error::other(error),
        })?;
        stored.map_err(|source| BuildError::Artifact { component: name.clone(), source })
    }

    /// Runs a component's build, or waits for the one that runs, or takes the result of the one
    /// that ran.
    async fn run(
        &self,
        request: &BuildRequest<'_>,
        site: &Site,
        component: &ComponentName,
        build: &Build,
        directory: &Path,
        progress: &(impl Fn(Progress) + Send + Sync),
    ) -> Result<(), BuildError> {
        let job = site.job(component);
        let log = job.join("log");
        let job_error = |source| BuildError::Job { component: component.clone(), source };
        if tidegate_shim::look(&job).map_err(job_error)? == JobState::NotStarted {
            progress(Progress::Building {
                component: component.clone(),
                command: build.run.clone(),
                log: log.clone(),
            });
            let spec = job_spec(&request.commit, build, directory);
            let (executable, folder) = (self.executable.clone(), job.clone());
            tokio::task::spawn_blocking(move || tidegate_shim::start(&executable, &folder, &spec))
                .await
                .map_err(|error| BuildError::File {
                    operation: "start a build in",
                    path: job.clone(),
                    source: std::io::Error::other(error),
                })?
                .map_err(job_error)?;
        } else {
            progress(Progress::Attached { component: component.clone(), log: log.clone() });
        }
        let mut patience = Patience::new(Duration::from_millis(20), Duration::from_millis(200));
        let record = loop {
            match tidegate_shim::look(&job).map_err(job_error)? {
                JobState::Exited(record) => break Some(record),
                JobState::Lost => break None,
                JobState::NotStarted | JobState::Running { .. } => patience.wait().await,
            }
        };
        if record.as_ref().is_some_and(|record| record.outcome.is_success()) {
            return Ok(());
        }
        let last_lines = tidegate_shim::tail(&job, LAST_LINES)
            .map_err(job_error)?
            .into_iter()
            .map(|line| line.text)
            .collect();
        let component = component.clone();
        Err(match record {
            Some(record) => BuildError::Failed(Box::new(FailedBuild {
                component,
                command: build.run.clone(),
                outcome: record.outcome,
                timeout: build.timeout,
                last_lines,
                log,
            })),
            None => BuildError::Lost { component, attempts: 1, last_lines, log },
        })
    }
}

fn job_spec(commit: &Commit, build: &Build, directory: &Path) -> JobSpec {
    JobSpec {
        command: build.run.clone(),
        working_directory: directory.to_owned(),
        environment: variables::for_build(commit, |name| std::env::var(name).ok()),
        stop_signal: Signal::Sigterm,
        stop_timeout: tidegate_types::Duration::from_secs(5),
        log: LogLimits { file_bytes: 8 << 20, files: 2 },
        timeout: Some(build.timeout),
    }
}

fn folder_of(
    request: &BuildRequest<'_>,
    site: &Site,
    component: &ComponentName,
    path: &str,
) -> Result<PathBuf, BuildError> {
    let source = site.source();
    let folder = source.join(path);
    let outside =
        || BuildError::OutsidePath { component: component.clone(), path: path.to_owned() };
    if !stays_inside(Path::new(""), Path::new(path)) {
        return Err(outside());
    }
    if !folder.is_dir() {
        return Err(BuildError::FolderMissing {
            component: component.clone(),
            path: path.to_owned(),
            version: request.commit.version.clone(),
            dirty: request.commit.dirty,
        });
    }
    if is_inside(&source, &folder) { Ok(folder) } else { Err(outside()) }
}

fn output_of(
    site: &Site,
    component: &ComponentName,
    build: &Build,
    directory: &Path,
) -> Result<PathBuf, BuildError> {
    let source = site.source();
    let output = directory.join(&build.output);
    let below_source = Path::new(&build.directory).join(&build.output);
    let outside =
        || BuildError::OutsidePath { component: component.clone(), path: build.output.clone() };
    if !stays_inside(Path::new(""), &below_source) {
        return Err(outside());
    }
    if !output.exists() {
        let folder = output.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(directory);
        let shown = folder.strip_prefix(&source).unwrap_or(folder);
        return Err(BuildError::OutputMissing(Box::new(MissingOutput {
            component: component.clone(),
            output: build.output.clone(),
            directory: build.directory.clone(),
            folder: if shown.as_os_str().is_empty() {
                ".".to_owned()
            } else {
                shown.display().to_string()
            },
            found: names_in(folder),
        })));
    }
    if is_inside(&source, &output) { Ok(output) } else { Err(outside()) }
}

fn is_inside(root: &Path, path: &Path) -> bool {
    match (root.canonicalize(), path.canonicalize()) {
        (Ok(root), Ok(path)) => path.starts_with(root),
        _ => false,
    }
}

/// The first names in a folder, folders with `/` at the end.
fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name() != ".git")
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() { format!("`{name}/`") } else { format!("`{name}`") }
        })
        .collect();
    names.sort();
    if names.len() > LISTED {
        let more = names.len() - LISTED;
        names.truncate(LISTED);
        names.push(format!("and {more} more"));
    }
    names
}

/// Digests of all artifacts of these releases, for [`ArtifactStore::keep`].
pub fn digests<'a>(
    releases: impl IntoIterator<Item = &'a Release>,
) -> std::collections::BTreeSet<Digest> {
    releases
        .into_iter()
        .flat_map(|release| release.artifacts.values())
        .map(|artifact| artifact.digest.clone())
        .collect()
}
