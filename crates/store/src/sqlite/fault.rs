//! What goes wrong below the store, before it is told to a caller.

use std::{io, path::Path};

use rusqlite::{ErrorCode, ffi};

use crate::Error;

/// What is tried when the file is opened.
pub(super) const OPEN: &str = "open";
/// What is tried after that.
pub(super) const MIGRATE: &str = "migrate";

/// What a statement or a row gave instead of a value.
#[derive(Debug)]
pub(super) enum Fault {
    /// The store's own refusal.
    Refused(Error),
    /// `SQLite` failed.
    Sqlite(rusqlite::Error),
    /// A row holds what nobody stores.
    Damaged(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Fault {
    /// The same in words for the caller, with the file and what was tried, as in `read events from`.
    pub(super) fn into_error(self, operation: &str, path: &Path) -> Error {
        let path = path.to_owned();
        let error = match self {
            Self::Refused(error) => return error,
            Self::Damaged(detail) => return Error::Corrupt { path, detail },
            Self::Sqlite(error) => error,
        };
        let detail = describe(&error);
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full { path, detail },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Error::ReadOnly { path, detail }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Error::Busy { path, detail }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Error::Corrupt { path, detail }
            }
            // The index of the log could not be made. Nobody has written anything by then, so that
            // the outcome is known.
            Some(_) if [OPEN, MIGRATE].contains(&operation) && lacks_room_for_index(&error) => {
                Error::Full { path, detail }
            }
            Some(_) => Error::Io { operation: operation.to_owned(), path, detail },
            // Not from the database but from taking a row apart: a wrong type, a missing column.
            None => Error::Corrupt { path, detail },
        }
    }
}

fn lacks_room_for_index(error: &rusqlite::Error) -> bool {
    let failure = error.sqlite_error();
    failure.is_some_and(|failure| failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}

/// `SQLite`'s own words with its number, by which its documentation is found.
fn describe(error: &rusqlite::Error) -> String {
    match error.sqlite_error() {
        Some(failure) => format!("{error}, SQLite code {}", failure.extended_code),
        None => error.to_string(),
    }
}

/// What the operating system refused, in words for the caller.
pub(super) fn io_error(operation: &str, path: &Path, error: &io::Error) -> Error {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::ReadOnly { path, detail }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path, detail },
        _ => Error::Io { operation: operation.to_owned(), path, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_of_sqlite_is_told_with_its_mend() {
        let told = |code| {
            Fault::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
                .into_error("read events from", Path::new("tidegate.db"))
                .to_string()
        };
        for (code, expected) in [
            (ffi::SQLITE_FULL, "free some space"),
            (ffi::SQLITE_READONLY_DIRECTORY, "make the file and its folder writable"),
            (ffi::SQLITE_BUSY, "locked by another program"),
            (ffi::SQLITE_CORRUPT_INDEX, "damaged"),
            (ffi::SQLITE_NOTADB, "not a Tidegate database"),
            (ffi::SQLITE_IOERR_FSYNC, "could not read events from tidegate.db"),
        ] {
            let told = told(code);
            assert!(told.contains(expected), "{told}");
            assert!(told.contains("tidegate.db"), "{told}");
            assert!(told.contains(&format!("code {code}")), "{told}");
        }
    }
}
