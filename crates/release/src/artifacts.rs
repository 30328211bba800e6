//! Where the bytes of releases are kept: each tree once, under its digest, never changed.
//!
//! | path | what |
//! |---|---|
//! | `<digest>/` | the tree: files read-only, so that nothing that runs changes them by accident |
//! | `<digest>.list` | what the tree holds; its SHA-256 is the digest |
//! | `.incoming-*` | a tree that is being copied in |

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tidegate_types::{Artifact, Digest};

use crate::tree::{self, Entry, Kind, Limits, TreeError};

/// Below so many files each is made durable by itself; above, the whole file system is, once.
const SYNC_EACH_UP_TO: usize = 64;

/// A folder of trees, each under its digest.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    folder: PathBuf,
    limits: Limits,
}

/// Why an artifact could not be stored or removed.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// What should be stored cannot be.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file or folder could not be read or written.
    #[error("could not {operation} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// A stored artifact is not what its digest says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the artifact {digest} is damaged: {reason}; it has to be built again")]
pub struct Damaged {
    /// Its digest.
    pub digest: Digest,
    /// What is wrong.
    pub reason: String,
}

fn file_error(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> ArtifactError {
    let path = path.to_owned();
    move |source| ArtifactError::File { operation, path, source }
}

impl ArtifactStore {
    /// The store in `folder`, which is made when something is put in.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, limits: Limits::default() }
    }

    /// The same store, which refuses larger artifacts than this.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the tree with this digest is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.as_str())
    }

    /// Whether the tree is there. [`Self::verify`] tells whether it is whole.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        is_digest(digest.as_str()) && self.path(digest).is_dir() && self.list_path(digest).is_file()
    }

    /// Copies a file or a folder in. A file becomes a tree that holds just this file, under its
    /// name. `.git` is left out. Putting the same tree twice, also at once, is fine.
    pub fn put(&self, source: &Path) -> Result<Artifact, ArtifactError> {
        let entries = tree::entries(source, self.limits)?;
        let lock = self.lock_file()?;
        lock.lock_shared().map_err(file_error("lock", &self.folder))?;
        let incoming = self.incoming()?;
        self.copy_in(&entries, incoming.path())
    }

    fn copy_in(&self, entries: &[Entry], incoming: &Path) -> Result<Artifact, ArtifactError> {
        let files = entries.iter().filter(|entry| entry.kind.is_file()).count();
        let mut list = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let target = incoming.join(&entry.path);
            let (hash, size) = match &entry.kind {
                Kind::Folder => {
                    fs::create_dir(&target).map_err(file_error("make", &target))?;
                    (Vec::new(), 0)
                }
                Kind::Link(to) => {
                    std::os::unix::fs::symlink(to, &target).map_err(file_error("link", &target))?;
                    hash_link(to)
                }
                Kind::File | Kind::Executable => {
                    let durable = files <= SYNC_EACH_UP_TO || cfg!(not(target_os = "linux"));
                    let hashed = copy(&entry.source, &target, entry.kind.mode(), durable)?;
                    bytes += hashed.1;
                    hashed
                }
            };
            list.extend(list_line(&entry.kind, &hash, size, &entry.path));
        }
        let digest = digest_of(&list);
        if !self.contains(&digest) {
            sync_tree(incoming, files).map_err(file_error("sync", incoming))?;
            self.publish(incoming, &digest, &list)?;
        }
        Ok(Artifact { digest, bytes, files: files as u64 })
    }

    /// The list comes first, so that a tree under its final name always has one.
    fn publish(&self, incoming: &Path, digest: &Digest, list: &[u8]) -> Result<(), ArtifactError> {
        let list_path = self.list_path(digest);
        let write_list = || {
            let mut temporary =
                tempfile::Builder::new().prefix(INCOMING).tempfile_in(&self.folder)?;
            temporary.write_all(list)?;
            temporary.as_file().sync_all()?;
            temporary.persist(&list_path)?;
            Ok(())
        };
        write_list().map_err(file_error("write", &list_path))?;
        let path = self.path(digest);
        match fs::rename(incoming, &path) {
            Ok(()) => {}
            // Somebody else was faster with the same tree.
            Err(_) if path.is_dir() => {}
            Err(error) => return Err(file_error("write", &path)(error)),
        }
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(file_error("sync", &self.folder))
    }

    /// Reads the whole tree again and compares. Files that something added beside it, such as
    /// caches of an interpreter, are not damage.
    pub fn verify(&self, digest: &Digest) -> Result<(), Damaged> {
        let damaged = |reason: String| Damaged { digest: digest.clone(), reason };
        if !self.contains(digest) {
            return Err(damaged("it is not there".to_owned()));
        }
        let list = fs::read(self.list_path(digest))
            .map_err(|error| damaged(format!("its list cannot be read: {error}")))?;
        if digest_of(&list) != *digest {
            return Err(damaged("its list was changed".to_owned()));
        }
        let root = self.path(digest);
        for line in list.split_inclusive(|byte| *byte == 0) {
            // `kind hash size path`, ended by a zero byte.
            let path = line
                .strip_suffix(&[0])
                .and_then(|line| line.splitn(4, |byte| *byte == b' ').nth(3))
                .map(|path| Path::new(OsStr::from_bytes(path)))
                .ok_or_else(|| damaged("its list cannot be read".to_owned()))?;
            let found = line_for(&root, path)
                .map_err(|error| damaged(format!("{}: {error}", path.display())))?;
            if found != line {
                return Err(damaged(format!("{} was changed", path.display())));
            }
        }
        Ok(())
    }

    /// Removes every tree whose digest is not named. Says how many were removed.
    ///
    /// Waits for trees that are being put in. The caller names these too.
    pub fn keep(&self, digests: &BTreeSet<Digest>) -> Result<usize, ArtifactError> {
        if !self.folder.is_dir() {
            return Ok(0);
        }
        let lock = self.lock_file()?;
        lock.lock().map_err(file_error("lock", &self.folder))?;
        let list = file_error("list", &self.folder);
        let entries = fs::read_dir(&self.folder).map_err(list)?;
        let mut removed = 0;
        for entry in entries {
            let entry = entry.map_err(file_error("list", &self.folder))?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let remove = |path: &Path| {
                let outcome =
                    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
                outcome.map_err(file_error("remove", path))
            };
            // Nobody puts anything in while the lock is held: what is left was abandoned.
            if name.starts_with(INCOMING) {
                remove(&path)?;
                continue;
            }
            let stem = name.strip_suffix(".list").unwrap_or(&name);
            if !is_digest(stem) || digests.contains(&Digest::new(stem)) {
                continue;
            }
            if path.is_dir() {
                // Under its final name a tree is whole or gone.
                let doomed = self.folder.join(format!("{INCOMING}{name}"));
                fs::rename(&path, &doomed).map_err(file_error("remove", &path))?;
                remove(&doomed)?;
                removed += 1;
            } else {
                remove(&path)?;
            }
        }
        Ok(removed)
    }

    fn list_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.list"))
    }

    /// Held shared while a tree comes in, alone while trees are removed.
    fn lock_file(&self) -> Result<File, ArtifactError> {
        fs::create_dir_all(&self.folder).map_err(file_error("make", &self.folder))?;
        let path = self.folder.join(".lock");
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(file_error("open", &path))
    }

    fn incoming(&self) -> Result<tempfile::TempDir, ArtifactError> {
        tempfile::Builder::new()
            .prefix(INCOMING)
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(&self.folder)
            .map_err(file_error("write to", &self.folder))
    }
}

const INCOMING: &str = ".incoming-";

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256-").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest_of(list: &[u8]) -> Digest {
    Digest::new(format!("sha256-{}", hexadecimal(&Sha256::digest(list))))
}

/// One line of the list, ended by a zero byte, as a path may hold anything else.
fn list_line(kind: &Kind, hash: &[u8], size: u64, path: &Path) -> Vec<u8> {
    let kind = match kind {
        Kind::Folder => "folder",
        Kind::File => "file",
        Kind::Executable => "executable",
        Kind::Link(_) => "link",
    };
    let mut line = format!("{kind} {} {size} ", hexadecimal(hash)).into_bytes();
    line.extend_from_slice(path.as_os_str().as_bytes());
    line.push(0);
    line
}

/// Copies a file and hashes it on the way, so that what is stored is what was hashed.
fn copy(
    source: &Path,
    target: &Path,
    mode: u32,
    durable: bool,
) -> Result<(Vec<u8>, u64), ArtifactError> {
    let reader = File::open(source).map_err(file_error("read", source))?;
    let mut writer = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(target)
        .map_err(file_error("write", target))?;
    let hashed =
        hash(reader, source, |chunk| writer.write_all(chunk).map_err(file_error("write", target)))?;
    if durable {
        writer.sync_all().map_err(file_error("write", target))?;
    }
    Ok(hashed)
}

fn hash(
    mut reader: File,
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), ArtifactError>,
) -> Result<(Vec<u8>, u64), ArtifactError> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(file_error("read", path)(error)),
        };
        hasher.update(&buffer[..length]);
        each(&buffer[..length])?;
        size += length as u64;
    }
    Ok((hasher.finalize().to_vec(), size))
}

/// The line of the list that describes what is at a path now.
fn line_for(root: &Path, path: &Path) -> Result<Vec<u8>, ArtifactError> {
    let place = root.join(path);
    let kind = Kind::at(&place)?;
    let (hash, size) = match &kind {
        Kind::Folder => (Vec::new(), 0),
        Kind::Link(to) => hash_link(to),
        Kind::File | Kind::Executable => {
            let reader = File::open(&place).map_err(file_error("read", &place))?;
            hash(reader, &place, |_| Ok(()))?
        }
    };
    Ok(list_line(&kind, &hash, size, path))
}

fn hash_link(to: &Path) -> (Vec<u8>, u64) {
    let to = to.as_os_str().as_bytes();
    (Sha256::digest(to).to_vec(), to.len() as u64)
}

/// Makes a large tree durable in one go, where the system can.
#[cfg(target_os = "linux")]
fn sync_tree(folder: &Path, files: usize) -> std::io::Result<()> {
    if files > SYNC_EACH_UP_TO {
        rustix::fs::syncfs(File::open(folder)?)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn sync_tree(_folder: &Path, _files: usize) -> std::io::Result<()> {
    Ok(())
}
