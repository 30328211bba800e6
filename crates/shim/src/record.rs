//! Small JSON files that are there whole or not at all.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

pub(crate) fn file_error(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { operation, path, source }
}

/// Makes names of temporary files differ within one process.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Whether a record has to survive the machine, or only our own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survives {
    /// After another boot it says nothing any more, and forcing it to the disk would take time.
    Us,
    Machine,
}

/// Writes `value` beside `path` under a name of our own; the caller moves it in place.
pub(crate) fn write_beside<T: Serialize>(
    path: &Path,
    value: &T,
    survives: Survives,
) -> Result<PathBuf, Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}.{number}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let text = serde_json::to_vec(value)
        .map_err(|error| Error::Damaged { path: path.to_owned(), reason: error.to_string() })?;
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        match survives {
            Survives::Us => Ok(()),
            Survives::Machine => file.sync_all(),
        }
    };
    match write() {
        Ok(()) => Ok(temporary),
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(file_error("write", &temporary)(error))
        }
    }
}

/// Puts `value` in place of `path` in one step.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T, survives: Survives) -> Result<(), Error> {
    let temporary = write_beside(path, value, survives)?;
    fs::rename(&temporary, path).map_err(file_error("write", path))?;
    match survives {
        Survives::Us => Ok(()),
        Survives::Machine => sync_folder_of(path),
    }
}

/// Makes the names in the folder of `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error("sync", folder))
}

/// Reads `path`; nothing when there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error("read", path)(error)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::Damaged { path: path.to_owned(), reason: error.to_string() })
}
