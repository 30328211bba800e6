//! Where things are on disk, and what is written there.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidegate_types::{ComponentName, InstanceFailure, RevisionId, RevisionSpec, Scope, Timestamp};

use super::restart::FailureStreak;

/// The longest path of a unix socket that every system takes, its end included.
const LONGEST_SOCKET_PATH: usize = 104;

/// The paths below the home.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    home: PathBuf,
}

impl Layout {
    pub(crate) fn new(home: PathBuf) -> Self {
        Self { home }
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn proxy(&self) -> PathBuf {
        self.home.join("proxy")
    }

    /// The proxy's control socket, or why there cannot be one.
    pub(crate) fn socket(&self) -> Result<PathBuf, String> {
        let path = self.proxy().join("control.sock");
        let length = path.as_os_str().len();
        if length >= LONGEST_SOCKET_PATH {
            return Err(format!(
                "the path of the proxy's control socket is too long: {} has {length} bytes, a \
                 socket's path may have {}; use a home with a shorter path",
                path.display(),
                LONGEST_SOCKET_PATH - 1
            ));
        }
        Ok(path)
    }

    fn instances(&self) -> PathBuf {
        self.home.join("instances")
    }

    pub(crate) fn revision(&self, scope: &Scope, revision: &RevisionId) -> PathBuf {
        self.instances()
            .join(scope.project.as_str())
            .join(scope.environment.as_str())
            .join(revision.as_str())
    }

    /// Where the logs of revisions that ended are kept for a while.
    pub(crate) fn ended(&self, scope: &Scope) -> PathBuf {
        self.home.join("ended").join(scope.project.as_str()).join(scope.environment.as_str())
    }

    /// Where sites that have left are remembered.
    pub(crate) fn former_sites(&self, scope: &Scope) -> PathBuf {
        self.home
            .join("sites")
            .join(scope.project.as_str())
            .join(format!("{}.json", scope.environment.as_str()))
    }

    /// Where a component keeps what survives its releases.
    pub(crate) fn data(&self, scope: &Scope, component: &ComponentName) -> PathBuf {
        self.home
            .join("data")
            .join(scope.project.as_str())
            .join(scope.environment.as_str())
            .join(component.as_str())
    }

    /// Every revision that has a folder.
    pub(crate) fn revisions(&self) -> std::io::Result<Vec<(Scope, RevisionId)>> {
        let mut found = Vec::new();
        for project in names(&self.instances())? {
            let folder = self.instances().join(&project);
            for environment in names(&folder)? {
                let Ok(scope) = format!("{project}/{environment}").parse::<Scope>() else {
                    continue;
                };
                for revision in names(&folder.join(&environment))? {
                    found.push((scope.clone(), RevisionId::new(revision)));
                }
            }
        }
        Ok(found)
    }
}

/// The names of the folders in a folder, sorted; none when there is no such folder.
fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The numbers of a revision's instances, dead ones included.
pub(crate) fn instance_numbers(revision: &Path) -> std::io::Result<BTreeSet<u32>> {
    Ok(names(revision)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// What has to be known of a revision after a restart: `revision.json` in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RevisionRecord {
    pub(crate) spec: RevisionSpec,
    /// The number of the next instance is at least this.
    pub(crate) next: u32,
    /// Exits that nobody asked for.
    pub(crate) exits: u32,
    /// Instances whose failure is in `exits`, as long as they have a folder.
    pub(crate) counted: BTreeSet<u32>,
    /// Instances that are known to have ended, as long as they have a folder.
    pub(crate) ended: BTreeSet<u32>,
    pub(crate) streak: FailureStreak,
    pub(crate) failure: Option<InstanceFailure>,
}

impl RevisionRecord {
    pub(crate) fn new(spec: RevisionSpec) -> Self {
        Self {
            spec,
            next: 1,
            exits: 0,
            counted: BTreeSet::new(),
            ended: BTreeSet::new(),
            streak: FailureStreak::default(),
            failure: None,
        }
    }

    pub(crate) fn read(revision: &Path) -> Result<Option<Self>, String> {
        read(&revision.join("revision.json"))
    }

    pub(crate) fn write(&self, revision: &Path) -> Result<(), String> {
        write(&revision.join("revision.json"), self)
    }
}

/// What has to be known of an instance: `instance.json` in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    pub(crate) port: Option<u16>,
    pub(crate) started_at: Timestamp,
}

impl InstanceRecord {
    pub(crate) fn read(instance: &Path) -> Result<Option<Self>, String> {
        read(&instance.join("instance.json"))
    }

    pub(crate) fn write(&self, instance: &Path) -> Result<(), String> {
        write(&instance.join("instance.json"), self)
    }
}

/// An instance leaves: `retiring.json` in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetiringRecord {
    pub(crate) since: Timestamp,
    /// It failed; none when it is merely not wanted any more.
    pub(crate) failed: Option<String>,
}

impl RetiringRecord {
    pub(crate) fn read(instance: &Path) -> Result<Option<Self>, String> {
        read(&instance.join("retiring.json"))
    }

    pub(crate) fn write(&self, instance: &Path) -> Result<(), String> {
        write(&instance.join("retiring.json"), self)
    }
}

/// Whether an instance was ever ready: `ready` in its folder.
pub(crate) fn was_ready(instance: &Path) -> bool {
    instance.join("ready").exists()
}

pub(crate) fn remember_ready(instance: &Path) -> Result<(), String> {
    let path = instance.join("ready");
    fs::write(&path, "").map_err(|error| format!("{}: {error}", path.display()))
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| format!("{} is damaged: {error}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Puts a file in place whole. Each is written by one task only. It is not forced to the disk: what
/// it speaks of does not survive the machine, and waiting for a disk would delay everybody.
pub(crate) fn write<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), String> {
    let temporary = path.with_extension("tmp");
    let put = || {
        fs::write(&temporary, serde_json::to_vec(value)?)?;
        fs::rename(&temporary, path)
    };
    put().map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_is_too_deep_for_a_socket_is_told_so() {
        let short = Layout::new("/home/user/.tidegate".into());
        assert!(short.socket().is_ok());
        let deep = Layout::new(format!("/{}", "deep/".repeat(20)).into());
        let reason = deep.socket().unwrap_err();
        assert!(reason.contains("shorter path"), "{reason}");
    }
}
