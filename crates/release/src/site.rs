//! The folder in which one commit is built, and what it tells about how far the build came.
//!
//! | path | what |
//! |---|---|
//! | `source/` | the checkout; removed when all is built |
//! | `jobs/COMPONENT/` | the job of a component's build, with its log |
//! | `stored/COMPONENT` | the component's artifact is in the store |
//! | `manifest` | the manifest that is built |
//! | `failed` | the build failed and somebody was told: the next one starts afresh |
//! | `release` | the build went well |

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};
use tidegate_shim::JobState;
use tidegate_types::{Artifact, ComponentName, ProjectName, Release};

use crate::failure::BuildError;

/// A former build is gone this soon after it was killed.
const KILL_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn file_error(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::File { operation, path, source }
}

/// Waits longer each time, up to a limit.
pub(crate) struct Patience {
    next: Duration,
    most: Duration,
}

impl Patience {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { next: first, most }
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 5 / 4).min(self.most);
    }
}

pub(crate) struct Site {
    folder: PathBuf,
}

/// While it is held nobody else builds the commit, in this process or another.
pub(crate) struct SiteLock {
    path: PathBuf,
    _file: File,
}

impl Drop for SiteLock {
    fn drop(&mut self) {
        // Still held: whoever waits on this file finds that it is gone, and makes a new one.
        let _ = fs::remove_file(&self.path);
    }
}

impl Site {
    pub(crate) fn new(home: &Path, project: &ProjectName, commit: &str) -> Self {
        Self { folder: home.join("builds").join(project.as_str()).join(commit) }
    }

    /// The same by its folder.
    pub(crate) const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Waits until nobody else builds the commit; `waiting` is called once when it has to.
    pub(crate) async fn lock(&self, waiting: impl Fn()) -> Result<SiteLock, BuildError> {
        let parent = self.folder.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).map_err(file_error("make", parent))?;
        let path = self.folder.with_extension("lock");
        let mut patience = Patience::new(Duration::from_millis(20), Duration::from_millis(200));
        let mut told = false;
        loop {
            let file = File::create(&path).map_err(file_error("write", &path))?;
            match file.try_lock() {
                Ok(()) => {
                    if is_still_at(&file, &path) {
                        return Ok(SiteLock { path, _file: file });
                    }
                }
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        waiting();
                        told = true;
                    }
                    patience.wait().await;
                }
                Err(TryLockError::Error(error)) => return Err(file_error("lock", &path)(error)),
            }
        }
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.folder.join("source")
    }

    pub(crate) fn job(&self, component: &ComponentName) -> PathBuf {
        self.folder.join("jobs").join(component.as_str())
    }

    /// A finished build of the same manifest.
    pub(crate) fn release(&self, manifest: &str) -> Result<Option<Release>, BuildError> {
        let release: Option<Release> = read(&self.folder.join("release"))?;
        Ok(release.filter(|release| release.manifest == manifest))
    }

    /// Whether a build came to its end here, so that nothing of it runs.
    pub(crate) fn is_finished(&self) -> bool {
        self.folder.join("release").exists()
    }

    /// Whether a build came to an end here, good or bad, and nothing of it runs.
    pub(crate) fn is_over(&self) -> bool {
        self.is_finished()
            || self.folder.join("failed").exists() && self.jobs().iter().all(|job| is_idle(job))
    }

    /// Whether an interrupted build of the same manifest, or nothing, is there.
    pub(crate) fn can_go_on(&self, manifest: &str) -> Result<bool, BuildError> {
        if !self.folder.exists() {
            return Ok(true);
        }
        let begun: Option<String> = read(&self.folder.join("manifest"))?;
        Ok(begun.as_deref() == Some(manifest)
            && !self.folder.join("failed").exists()
            && !self.folder.join("release").exists()
            // Jobs without their checkout cannot be gone on with.
            && (self.source().is_dir() || !self.folder.join("jobs").exists()))
    }

    pub(crate) fn begin(&self, manifest: &str) -> Result<(), BuildError> {
        fs::create_dir_all(&self.folder).map_err(file_error("make", &self.folder))?;
        write(&self.folder.join("manifest"), &manifest)
    }

    /// A new folder for a checkout. Never one that was used before: a git that outlived its
    /// control plane may still write there.
    pub(crate) fn fresh_folder(&self) -> Result<PathBuf, BuildError> {
        let entries = fs::read_dir(&self.folder).map_err(file_error("list", &self.folder))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(FRESH) {
                // What cannot be removed now goes when the site is cleared.
                let _ = remove_all(&entry.path());
            }
        }
        tempfile::Builder::new()
            .prefix(FRESH)
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(&self.folder)
            .map(tempfile::TempDir::keep)
            .map_err(file_error("write to", &self.folder))
    }

    pub(crate) fn artifact(
        &self,
        component: &ComponentName,
    ) -> Result<Option<Artifact>, BuildError> {
        read(&self.folder.join("stored").join(component.as_str()))
    }

    pub(crate) fn keep_artifact(
        &self,
        component: &ComponentName,
        artifact: &Artifact,
    ) -> Result<(), BuildError> {
        let folder = self.folder.join("stored");
        fs::create_dir_all(&folder).map_err(file_error("make", &folder))?;
        write(&folder.join(component.as_str()), artifact)
    }

    /// The next build starts afresh.
    pub(crate) fn mark_failed(&self) {
        // Should this fail too, then the failure before it is what has to be told.
        let _ = fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(self.folder.join("failed"), ""));
    }

    /// Keeps the release and the logs; the checkout goes.
    pub(crate) fn finish(&self, release: &Release) -> Result<(), BuildError> {
        write(&self.folder.join("release"), release)?;
        self.remove_checkout()
    }

    /// Nobody needs the checkout of a build that went well.
    pub(crate) fn remove_checkout(&self) -> Result<(), BuildError> {
        let source = self.source();
        remove_all(&source).map_err(file_error("remove", &source))
    }

    /// Ends what still runs here, and removes everything.
    pub(crate) async fn clear(&self) -> Result<(), BuildError> {
        for job in self.jobs() {
            end(&job).await?;
        }
        remove_all(&self.folder).map_err(file_error("remove", &self.folder))
    }

    fn jobs(&self) -> Vec<PathBuf> {
        let jobs = fs::read_dir(self.folder.join("jobs"));
        jobs.into_iter().flatten().flatten().map(|job| job.path()).collect()
    }
}

const FRESH: &str = "checkout-";

/// Whether a job does not run; of one that cannot be looked at it is unknown.
fn is_idle(job: &Path) -> bool {
    matches!(tidegate_shim::look(job), Ok(JobState::NotStarted | JobState::Exited(_)))
}

async fn end(job: &Path) -> Result<(), BuildError> {
    let since = Instant::now();
    let mut patience = Patience::new(Duration::from_millis(5), Duration::from_millis(100));
    loop {
        let still = |reason: String| BuildError::StillRunning { folder: job.to_owned(), reason };
        match tidegate_shim::look(job).map_err(|error| still(error.to_string()))? {
            JobState::NotStarted | JobState::Exited(_) => return Ok(()),
            JobState::Lost => {
                // Descendants of the command may have outlived it.
                let _ = tidegate_shim::kill(job);
                return Ok(());
            }
            JobState::Running { pid, .. } => {
                tidegate_shim::kill(job).map_err(|error| still(error.to_string()))?;
                if since.elapsed() > KILL_DEADLINE {
                    return Err(still(format!("process {pid} is still there after SIGKILL")));
                }
                patience.wait().await;
            }
        }
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => ours.ino() == theirs.ino() && ours.dev() == theirs.dev(),
        _ => false,
    }
}

/// Nothing when there is no such file, or when it was cut off by a crash of the machine.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, BuildError> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error("read", path)(error)),
    }
}

/// The file is there whole or not at all.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), BuildError> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut temporary, value)?;
        temporary.flush()?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        Ok(())
    };
    write().map_err(file_error("write", path))
}

/// Removes a folder even when a build left folders in it that nobody may write to, as Go does.
fn remove_all(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            make_writable(folder)?;
            fs::remove_dir_all(folder)
        }
        outcome => outcome,
    }
}

fn make_writable(folder: &Path) -> std::io::Result<()> {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}
