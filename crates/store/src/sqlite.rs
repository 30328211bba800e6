//! A store in one `SQLite` file.
//!
//! One thread writes. What waits for it runs in one transaction, each piece in a savepoint of its
//! own, so that one `fsync` serves many and a refused piece takes nothing else with it. Two more
//! threads read, each over its own connection and at one consistent moment.
//!
//! Journal mode WAL with `synchronous=FULL`: what was answered survives a power failure.

mod connection;
mod fault;
mod lease;
mod migration;
mod read;
mod readers;
mod write;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use tidegate_types::{
    DeploymentId, ProjectName, Release, ReleaseId, RevisionId, Sample, Scope, Timestamp,
};

use self::{lease::Lease, migration::MIGRATIONS, readers::Readers, writer::Writer};
use crate::{
    Accepted, Committed, Deployment, DeploymentDetail, DeploymentFilter, Error, Event, Input,
    NewDeployment, NewInput, Project, Requested, Store, Stored, Transition,
};

/// Keeps everything in one `SQLite` file.
///
/// While it is open a lock on `<file>.lock` keeps other processes away; the lock goes with the
/// process, however that ends. Dropping the store waits until what is queued is written.
pub struct SqliteStore {
    path: Arc<Path>,
    // Fields are dropped in this order: the readers close their connections, then the writer moves
    // what is in the WAL into the file, and only then may another process come.
    readers: Readers,
    writer: Writer,
    _lease: Lease,
}

/// How a store is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Refuse to let the file grow beyond so many pages of 4 KiB, as if the disk were full.
    pub max_pages: Option<u32>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store at `path`, and makes it when there is none; its folder must be there. An
    /// older schema is brought up to date, after a copy to `<file>.before-<schema>`. Blocks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &Options::default())
    }

    /// The same with options.
    pub fn open_with(path: impl AsRef<Path>, options: &Options) -> Result<Self, Error> {
        let path: Arc<Path> = connection::resolve(path.as_ref())?.into();
        let mut lease = Lease::take(&path)?;
        // Closed in order it has no log, and one that was cut off is the file that was in use.
        let is_copy = connection::has_log(&path) && !lease.was_cut_off(&path);
        let mut connection = connection::open_writer(&path, options)?;
        if is_copy {
            tracing::warn!(
                path = %path.display(),
                "a copy that was taken while the store was in use: what was stored last may be missing"
            );
            connection::check_copy(&connection)
                .map_err(|fault| fault.into_error("check", &path))?;
        } else if lease.machine_went_down() {
            connection::quick_check(&connection)
                .map_err(|fault| fault.into_error("check", &path))?;
        }
        lease.note(&path)?;
        migration::migrate(&mut connection, &path, MIGRATIONS)?;
        let readers = Readers::start(&path)?;
        let writer = Writer::start(connection, &path)?;
        Ok(Self { path, readers, writer, _lease: lease })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file and says whether it is sound. Takes long for a large one; opening does
    /// it only when the machine went down while the store was open, because nothing less can tear
    /// a page.
    pub async fn check(&self) -> Result<(), Error> {
        self.readers.run("check", connection::quick_check).await
    }

    /// Writes a copy of the store as it is at this moment to `target`, which must not exist.
    pub async fn copy_to(&self, target: impl Into<PathBuf>) -> Result<(), Error> {
        let (source, target) = (Arc::clone(&self.path), target.into());
        self.readers.run("copy", move |_| connection::copy(&source, &target)).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn put_project(&self, project: &Project) -> Result<(), Error> {
        let project = project.clone();
        self.writer
            .run("store a project in", move |connection| write::put_project(connection, &project))
            .await
    }

    async fn projects(&self) -> Result<Vec<Project>, Error> {
        self.readers.run("read the projects from", read::projects).await
    }

    async fn request_deployment(&self, deployment: NewDeployment) -> Result<Requested, Error> {
        self.writer
            .run("store a deployment in", move |connection| {
                write::request_deployment(connection, &deployment)
            })
            .await
    }

    async fn accept(&self, input: NewInput) -> Result<Accepted, Error> {
        self.writer
            .run("store an input in", move |connection| write::accept(connection, &input))
            .await
    }

    async fn pending(&self, scope: &Scope) -> Result<Vec<Input>, Error> {
        let scope = scope.clone();
        self.readers
            .run("read the inbox from", move |connection| read::pending(connection, &scope))
            .await
    }

    async fn load(&self, scope: &Scope) -> Result<Option<Stored>, Error> {
        let scope = scope.clone();
        self.readers
            .run("read a state from", move |connection| read::load(connection, &scope))
            .await
    }

    async fn scopes(&self) -> Result<Vec<Scope>, Error> {
        self.readers.run("read the scopes from", read::scopes).await
    }

    async fn commit(&self, transition: Transition) -> Result<Committed, Error> {
        // JSON is written here, by the caller's thread; the only writer has other things to do.
        let transition = write::EncodedTransition::of(transition);
        self.writer
            .run("commit a transition to", move |connection| write::commit(connection, &transition))
            .await
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentDetail>, Error> {
        self.readers
            .run("read a deployment from", move |connection| read::deployment(connection, id))
            .await
    }

    async fn deployments(
        &self,
        filter: &DeploymentFilter,
        before: Option<DeploymentId>,
        limit: usize,
    ) -> Result<Vec<Deployment>, Error> {
        let filter = filter.clone();
        self.readers
            .run("read deployments from", move |connection| {
                read::deployments(connection, &filter, before, limit)
            })
            .await
    }

    async fn events(&self, scope: &Scope, after: u64, limit: usize) -> Result<Vec<Event>, Error> {
        let scope = scope.clone();
        self.readers
            .run("read events from", move |connection| {
                read::events(connection, &scope, after, limit)
            })
            .await
    }

    async fn deployment_events(
        &self,
        id: DeploymentId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        self.readers
            .run("read events from", move |connection| {
                read::deployment_events(connection, id, after, limit)
            })
            .await
    }

    async fn put_release(&self, release: &Release) -> Result<(), Error> {
        let release = release.clone();
        self.writer
            .run("store a release in", move |connection| write::put_release(connection, &release))
            .await
    }

    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>, Error> {
        let id = id.clone();
        self.readers
            .run("read a release from", move |connection| read::release(connection, &id))
            .await
    }

    async fn releases(&self, project: &ProjectName, limit: usize) -> Result<Vec<Release>, Error> {
        let project = project.clone();
        self.readers
            .run("read releases from", move |connection| {
                read::releases(connection, &project, limit)
            })
            .await
    }

    async fn release_of_commit(
        &self,
        project: &ProjectName,
        commit: &str,
    ) -> Result<Option<Release>, Error> {
        let (project, commit) = (project.clone(), commit.to_owned());
        self.readers
            .run("read a release from", move |connection| {
                read::release_of_commit(connection, &project, &commit)
            })
            .await
    }

    async fn put_samples(
        &self,
        deployment: DeploymentId,
        samples: Vec<(RevisionId, Sample)>,
    ) -> Result<(), Error> {
        self.writer
            .run("store samples in", move |connection| {
                write::put_samples(connection, deployment, &samples)
            })
            .await
    }

    async fn samples(
        &self,
        deployment: DeploymentId,
        revision: &RevisionId,
        since: Timestamp,
    ) -> Result<Vec<Sample>, Error> {
        let revision = revision.clone();
        self.readers
            .run("read samples from", move |connection| {
                read::samples(connection, deployment, &revision, since)
            })
            .await
    }

    async fn forget_samples(&self, before: Timestamp) -> Result<u64, Error> {
        self.writer
            .run("forget samples in", move |connection| write::forget_samples(connection, before))
            .await
    }

    async fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        let key = key.to_owned();
        self.readers
            .run("read a setting from", move |connection| read::meta(connection, &key))
            .await
    }

    async fn set_meta(&self, key: &str, value: &str) -> Result<(), Error> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.writer
            .run("store a setting in", move |connection| write::set_meta(connection, &key, &value))
            .await
    }
}
