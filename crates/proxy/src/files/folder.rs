//! Finding a file below a folder, and nowhere else.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use tidegate_types::RevisionId;

use crate::path;

/// The files of one revision.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Part of every entity tag: a build may give all files of all releases the same time.
    tag: u64,
}

/// A folder that is there, by its real path.
#[derive(Debug)]
pub(crate) struct OpenFolder {
    path: PathBuf,
    tag: u64,
}

/// What answers a path.
#[derive(Debug)]
pub(crate) enum Found {
    File(PathBuf),
    /// A folder asked for without its slash.
    Folder,
    Nothing,
}

impl Folder {
    pub(crate) fn new(root: &Path, revision: &RevisionId) -> Self {
        let mut hasher = DefaultHasher::new();
        revision.hash(&mut hasher);
        Self { root: root.to_owned(), tag: hasher.finish() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// None when it is not there.
    pub(crate) fn open(&self) -> Option<OpenFolder> {
        let path = self.root.canonicalize().ok()?;
        Some(OpenFolder { path, tag: self.tag })
    }
}

impl OpenFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn tag(&self) -> u64 {
        self.tag
    }

    /// What is at the path of a request.
    pub(crate) fn find(&self, path: &str) -> std::io::Result<Found> {
        let Some(relative) = path::decode(path)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|path| !path.contains(['\0', '\\']))
        else {
            return Ok(Found::Nothing);
        };
        let relative = relative.trim_start_matches('/');
        if relative.split('/').any(|part| matches!(part, "." | ".."))
            || relative.contains("//")
            || path.starts_with("//")
        {
            return Ok(Found::Nothing);
        }
        let Some(found) = self.within(&self.path.join(relative))? else {
            return Ok(Found::Nothing);
        };
        let wants_folder = relative.is_empty() || relative.ends_with('/');
        match (found.is_dir(), wants_folder) {
            (true, false) => Ok(Found::Folder),
            (false, false) => Ok(Found::File(found)),
            (false, true) => Ok(Found::Nothing),
            (true, true) => Ok(self
                .within(&found.join("index.html"))?
                .filter(|index| index.is_file())
                .map_or(Found::Nothing, Found::File)),
        }
    }

    /// The real place of a path if it is in here, wherever symbolic links lead.
    pub(crate) fn within(&self, path: &Path) -> std::io::Result<Option<PathBuf>> {
        use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound, PermissionDenied};
        match path.canonicalize() {
            Ok(real) if real.starts_with(&self.path) => Ok(Some(real)),
            Ok(_) => Ok(None),
            Err(error)
                if matches!(
                    error.kind(),
                    NotFound | NotADirectory | PermissionDenied | InvalidFilename
                ) || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
