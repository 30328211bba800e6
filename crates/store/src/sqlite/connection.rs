//! Opening, checking and copying the file.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::fault::{Fault, OPEN, io_error};
use crate::{Error, Options};

/// `TIDE` in the file's header says whose it is.
pub(super) const APPLICATION_ID: i64 = 0x5449_4445;

/// The one name of a file that can be named in many ways, so that all of them meet the same lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let failed = |error: io::Error| io_error("open", path, &error);
    match fs::canonicalize(path) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| failed(error))?;
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).map_err(failed)?;
            Ok(folder.join(name))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Opens the file for reading and writing, and makes it when there is none.
pub(super) fn open_writer(path: &Path, options: &Options) -> Result<Connection, Error> {
    refuse_empty_with_log(path)?;
    // SQLite would quietly open a file that may not be written for reading only. What is in it
    // (values of variables) is nobody else's business: the file is made private.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| io_error("open", path, &error))?;
    connect(path)
        .and_then(|connection| {
            prepare_writer(&connection, path, options)?;
            Ok(connection)
        })
        .map_err(|fault| fault.into_error(OPEN, path))
}

/// Whether there is a log beside the file that was not moved into it.
pub(super) fn has_log(path: &Path) -> bool {
    fs::metadata(with_ending(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0)
}

/// A file and a log that may be of two moments, because somebody copied them while they were in
/// use. Reads everything, and refuses what cannot be of one.
pub(super) fn check_copy(connection: &Connection) -> Result<(), Fault> {
    let of_two_moments = |found: &str| {
        Fault::Damaged(format!(
            "a copy that was taken while it was in use: the file and its write-ahead log do not \
             fit together, {found}"
        ))
    };
    // A file from before it had tables looks new, whatever the log has lost.
    if pragma(connection, "application_id")? != APPLICATION_ID {
        return Err(of_two_moments("as nothing is in it"));
    }
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(of_two_moments(&found)) }
}

/// `SQLite` takes an empty file for a new database and throws its log away. But a log comes after the
/// first page: what is empty now was cut off, and the log may be all that is left.
fn refuse_empty_with_log(path: &Path) -> Result<(), Error> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    if path.exists() && length(path) == 0 && has_log(path) {
        let detail = "it is empty, and its write-ahead log is not".to_owned();
        return Err(Error::Corrupt { path: path.to_owned(), detail });
    }
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn prepare_writer(connection: &Connection, path: &Path, options: &Options) -> Result<(), Fault> {
    // Whose file it is must be known before anything in it is changed.
    let application: i64 = pragma(connection, "application_id")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || tables > 0) {
        return Err(Fault::Damaged("another program's SQLite database".to_owned()));
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Refused(Error::Io {
            operation: "open".to_owned(),
            path: path.to_owned(),
            detail: format!("its file system offers no write-ahead log, only `{mode}`"),
        }));
    }
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA wal_autocheckpoint = 4000;",
    )?;
    if let Some(pages) = options.max_pages {
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(())
}

/// Opens the file for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    connect(path)
        .and_then(|connection| {
            connection.execute_batch("PRAGMA query_only = ON;")?;
            Ok(connection)
        })
        .map_err(|fault| fault.into_error(OPEN, path))
}

fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    // A mapped file turns an I/O error into a signal that kills the process.
    connection.execute_batch(
        "PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -8000;
         PRAGMA mmap_size = 0;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub(super) fn pragma(connection: &Connection, name: &str) -> Result<i64, Fault> {
    Ok(connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?)
}

/// Reads every page and says whether the file is sound.
pub(super) fn quick_check(connection: &Connection) -> Result<(), Fault> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Fault::Damaged(found)) }
}

/// Writes a durable copy of `source` to `target`, which must not exist, as it is at one moment.
pub(super) fn copy(source: &Path, target: &Path) -> Result<(), Fault> {
    let unfinished = with_ending(target, ".part");
    let failed = |error: io::Error| Fault::Refused(io_error("write the copy", target, &error));
    if target.try_exists().map_err(failed)? {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let name = unfinished.to_str().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    remove_if_there(&unfinished).map_err(failed)?;
    // A file that is there and empty is taken, and keeps its mode.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(failed)?;
    let copied = connect(source).and_then(|connection| {
        connection.execute("VACUUM INTO ?1", [name])?;
        Ok(())
    });
    let copied = copied.map_err(|fault| Fault::Refused(fault.into_error("copy to", target)));
    let finished = copied.and_then(|()| {
        file.sync_all()
            .and_then(|()| fs::rename(&unfinished, target))
            .and_then(|()| sync_folder(target))
            .map_err(failed)
    });
    if finished.is_err() {
        // What is left of it would only take room.
        let _ = remove_if_there(&unfinished);
    }
    finished
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
