//! The files of a folder in a fixed order, checked to be fit for an artifact.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::FileTypeExt as _, fs::PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

/// How large an artifact may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links together.
    pub entries: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Default for Limits {
    /// 500,000 entries and 16 GiB: more than any release should have, less than a full disk.
    fn default() -> Self {
        Self { entries: 500_000, bytes: 16 << 30 }
    }
}

/// Why a file or folder cannot be an artifact.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Neither a file nor a folder.
    #[error("{path} is a {kind}: an artifact holds files, folders and links only", path = path.display())]
    Special {
        /// What was found.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A link would point at something else, or nothing, where the artifact runs.
    #[error(
        "the link {path} points to {to}, outside of the artifact: it would not be there on another machine. Let the build copy what it needs, or leave the link out",
        path = path.display(), to = to.display()
    )]
    LinkLeavesTree {
        /// The link.
        path: PathBuf,
        /// What it points to.
        to: PathBuf,
    },
    /// More than [`Limits`] allow.
    #[error(
        "{path} has more than {limit} {what}, the limit for one artifact: let `output` name just what the component needs to run",
        path = path.display()
    )]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// The limit.
        limit: u64,
        /// What is counted.
        what: &'static str,
    },
    /// A file or folder could not be read.
    #[error("could not read {path}: {source}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Within the artifact.
    pub(crate) path: PathBuf,
    /// Where it is now.
    pub(crate) source: PathBuf,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    Executable,
    /// With what it points to.
    Link(PathBuf),
}

impl Kind {
    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File | Self::Executable)
    }

    /// Of a stored file: nobody writes it.
    pub(crate) fn mode(&self) -> u32 {
        if *self == Self::Executable { 0o555 } else { 0o444 }
    }

    /// Of what is at a path, which must not be followed when it is a link.
    pub(crate) fn at(path: &Path) -> Result<Self, TreeError> {
        let unreadable = |source| TreeError::Unreadable { path: path.to_owned(), source };
        let facts = fs::symlink_metadata(path).map_err(unreadable)?;
        let kind = facts.file_type();
        let special = if kind.is_dir() {
            return Ok(Self::Folder);
        } else if kind.is_symlink() {
            return fs::read_link(path).map(Self::Link).map_err(unreadable);
        } else if kind.is_file() {
            return Ok(if facts.permissions().mode() & 0o111 == 0 {
                Self::File
            } else {
                Self::Executable
            });
        } else if kind.is_fifo() {
            "named pipe"
        } else if kind.is_socket() {
            "socket"
        } else {
            "device"
        };
        Err(TreeError::Special { path: path.to_owned(), kind: special })
    }
}

/// Everything below `source`, or `source` itself when it is a file, sorted by path: a folder comes
/// before what is in it. `.git` is left out.
pub(crate) fn entries(source: &Path, limits: Limits) -> Result<Vec<Entry>, TreeError> {
    // The output itself may be a link, as build tools like to leave; what it points to is meant.
    let source = source
        .canonicalize()
        .map_err(|error| TreeError::Unreadable { path: source.to_owned(), source: error })?;
    let kind = Kind::at(&source)?;
    let mut walk = Walk { root: source.clone(), limits, bytes: 0, entries: Vec::new() };
    if kind == Kind::Folder {
        walk.folder(Path::new(""))?;
    } else {
        let name = source.file_name().unwrap_or(OsStr::new("file"));
        walk.add(PathBuf::from(name), source.clone(), kind)?;
    }
    let mut entries = walk.entries;
    entries.sort_by(|one, other| bytes_of(&one.path).cmp(bytes_of(&other.path)));
    Ok(entries)
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

struct Walk {
    root: PathBuf,
    limits: Limits,
    bytes: u64,
    entries: Vec<Entry>,
}

impl Walk {
    fn folder(&mut self, folder: &Path) -> Result<(), TreeError> {
        // A stack of its own: the depth of a tree is anybody's choice.
        let mut waiting = vec![folder.to_owned()];
        while let Some(folder) = waiting.pop() {
            let place = self.root.join(&folder);
            let unreadable = |source| TreeError::Unreadable { path: place.clone(), source };
            for entry in fs::read_dir(&place).map_err(unreadable)? {
                let name = entry.map_err(unreadable)?.file_name();
                // A change of the manifest alone is no change of what runs: what it says of a
                // component is part of the revision.
                let is_manifest =
                    folder.as_os_str().is_empty() && name == tidegate_manifest::FILE_NAME;
                if name == ".git" || is_manifest {
                    continue;
                }
                let path = folder.join(&name);
                let source = self.root.join(&path);
                let kind = Kind::at(&source)?;
                if kind == Kind::Folder {
                    waiting.push(path.clone());
                }
                if let Kind::Link(to) = &kind {
                    self.check_link(&path, &source, to)?;
                }
                self.add(path, source, kind)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, source: PathBuf, kind: Kind) -> Result<(), TreeError> {
        if kind.is_file() {
            let size = fs::symlink_metadata(&source).map_or(0, |facts| facts.len());
            self.bytes = self.bytes.saturating_add(size);
        }
        self.entries.push(Entry { path, source, kind });
        if self.entries.len() > self.limits.entries {
            return Err(self.too_large(self.limits.entries as u64, "files"));
        }
        if self.bytes > self.limits.bytes {
            return Err(self.too_large(self.limits.bytes, "bytes"));
        }
        Ok(())
    }

    fn too_large(&self, limit: u64, what: &'static str) -> TreeError {
        TreeError::TooLarge { path: self.root.clone(), limit, what }
    }

    /// The link must stay inside as it is written, or it breaks when the tree moves, and also when
    /// other links are followed. A link to nothing inside is the build's own affair.
    fn check_link(&self, path: &Path, source: &Path, to: &Path) -> Result<(), TreeError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let inside_as_written = stays_inside(folder, to);
        let inside_as_followed =
            source.canonicalize().map_or(true, |followed| followed.starts_with(&self.root));
        if inside_as_written && inside_as_followed {
            Ok(())
        } else {
            Err(TreeError::LinkLeavesTree { path: path.to_owned(), to: to.to_owned() })
        }
    }
}

/// Whether `to`, written in `folder`, never climbs above the root, not even on its way.
pub(crate) fn stays_inside(folder: &Path, to: &Path) -> bool {
    let mut depth: usize =
        folder.components().filter(|part| matches!(part, Component::Normal(_))).count();
    for part in to.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_inside_or_not() {
        for (folder, to, inside) in [
            ("", "a", true),
            ("a/b", "../../c", true),
            ("a", "../../c", false),
            ("", "/etc/passwd", false),
            ("", "a/../b", true),
            ("", "a/../../x/b", false),
        ] {
            assert_eq!(stays_inside(Path::new(folder), Path::new(to)), inside, "{to} in {folder}");
        }
    }
}
