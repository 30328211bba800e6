//! From one schema to the next, forward only.

use std::path::{Path, PathBuf};

use rusqlite::{Batch, Connection, TransactionBehavior, fallible_iterator::FallibleIterator as _};

use super::{
    connection::{self, APPLICATION_ID},
    fault::{Fault, MIGRATE, io_error},
};
use crate::Error;

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Migration {
    /// The schema that it leads to.
    version: u32,
    /// The first Tidegate that knows that schema.
    tidegate: &'static str,
    /// What it does. Never changed once it was released.
    sql: &'static str,
}

/// All steps, in order, without gaps.
pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    tidegate: "0.1.0",
    sql: include_str!("../../migrations/0001_first.sql"),
}];

/// The record of steps, by which an older Tidegate can say which newer one is needed. It belongs to
/// no step: every version of Tidegate reads it.
const RECORD: &str = "CREATE TABLE IF NOT EXISTS migration (
    version    INTEGER PRIMARY KEY,
    tidegate   TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT";

/// Brings the schema to the newest of `known`. All steps happen in one transaction, after a copy of
/// the file; a schema that is newer than all of `known` is refused.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    known: &[Migration],
) -> Result<(), Error> {
    migrate_telling(connection, path, known, &mut || {})
}

/// The same; `did` is called after each thing that was done, so that a test can end the process
/// there.
fn migrate_telling(
    connection: &mut Connection,
    path: &Path,
    known: &[Migration],
    did: &mut dyn FnMut(),
) -> Result<(), Error> {
    let failed = |fault: Fault| fault.into_error(MIGRATE, path);
    let found = schema(connection).map_err(failed)?;
    let newest = known.last().map_or(0, |migration| migration.version);
    if found > newest {
        return Err(Error::TooNew {
            path: path.to_owned(),
            found,
            known: newest,
            needs: needed(connection),
        });
    }
    if found == newest {
        return Ok(());
    }
    if found > 0 {
        let copy = copy_path(path, newest);
        // One that is there is of an attempt that did not come to its end.
        connection::remove_if_there(&copy)
            .map_err(|error| io_error("remove the old copy", &copy, &error))?;
        did();
        connection::copy(path, &copy).map_err(failed)?;
        did();
    }
    apply(connection, known, found, did).map_err(failed)
}

fn schema(connection: &Connection) -> Result<u32, Fault> {
    let version = connection::pragma(connection, "user_version")?;
    u32::try_from(version)
        .map_err(|_| Fault::Damaged(format!("its schema has the number {version}")))
}

fn needed(connection: &Connection) -> String {
    let newest = "SELECT tidegate FROM migration ORDER BY version DESC LIMIT 1";
    connection.query_row(newest, [], |row| row.get::<_, String>(0)).map_or_else(
        |_| "the Tidegate that wrote it".to_owned(),
        |version| format!("Tidegate {version} or newer"),
    )
}

fn copy_path(path: &Path, version: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".before-{version}"));
    name.into()
}

fn apply(
    connection: &mut Connection,
    known: &[Migration],
    found: u32,
    did: &mut dyn FnMut(),
) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    transaction.execute(RECORD, [])?;
    did();
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    did();
    for migration in known.iter().filter(|migration| migration.version > found) {
        let mut statements = Batch::new(&transaction, migration.sql);
        while let Some(mut statement) = statements.next()? {
            statement.execute([])?;
            did();
        }
        transaction.execute(
            "INSERT INTO migration (version, tidegate, applied_at)
             VALUES (?1, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
            (migration.version, migration.tidegate),
        )?;
        did();
        transaction.pragma_update(None, "user_version", migration.version)?;
        did();
    }
    transaction.commit()?;
    did();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    const SECOND: Migration = Migration {
        version: 2,
        tidegate: "7.8.9",
        sql: "ALTER TABLE project ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'",
    };
    const BROKEN: Migration = Migration {
        sql: "ALTER TABLE project ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue';
              ALTER TABLE no_such_table ADD COLUMN colour TEXT",
        ..SECOND
    };

    fn first_and(second: Migration) -> Vec<Migration> {
        vec![MIGRATIONS[0], second]
    }

    /// A database of the first schema with one project in it.
    fn old_database(folder: &Path) -> (PathBuf, Connection) {
        let path = folder.join("tidegate.db");
        let mut connection = connection::open_writer(&path, &Options::default()).unwrap();
        migrate(&mut connection, &path, &MIGRATIONS[..1]).unwrap();
        connection.execute("INSERT INTO project VALUES ('shop', '/srv/shop', 17)", []).unwrap();
        (path, connection)
    }

    fn colours(connection: &Connection) -> rusqlite::Result<String> {
        connection.query_row("SELECT group_concat(colour) FROM project", [], |row| row.get(0))
    }

    #[test]
    fn steps_are_numbered_without_gaps() {
        let numbers = MIGRATIONS.iter().map(|migration| migration.version);
        assert!(numbers.eq(1..=u32::try_from(MIGRATIONS.len()).unwrap()));
    }

    #[test]
    fn a_new_database_needs_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (path, connection) = old_database(folder.path());
        assert_eq!(schema(&connection).unwrap(), 1);
        assert!(!copy_path(&path, 1).exists());
    }

    #[test]
    fn an_older_database_is_migrated_after_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut connection) = old_database(folder.path());
        let copy = copy_path(&path, 2);
        std::fs::write(&copy, "of an attempt that was killed").unwrap();

        migrate(&mut connection, &path, &first_and(SECOND)).unwrap();

        assert_eq!(schema(&connection).unwrap(), 2);
        assert_eq!(colours(&connection).unwrap(), "blue");
        let before = Connection::open(&copy).unwrap();
        assert_eq!(schema(&before).unwrap(), 1);
        assert_eq!(connection::pragma(&before, "application_id").unwrap(), APPLICATION_ID);
        let repository: String =
            before.query_row("SELECT repository FROM project", [], |row| row.get(0)).unwrap();
        assert_eq!(repository, "/srv/shop");
        assert!(colours(&before).is_err());
    }

    /// Several statements, one of which writes more than fits into memory.
    const LARGE: Migration = Migration {
        sql: "ALTER TABLE project ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue';
              CREATE TABLE ballast (number INTEGER PRIMARY KEY, text BLOB) STRICT;
              INSERT INTO ballast SELECT value, randomblob(4000) FROM generate_numbers;
              UPDATE project SET colour = 'green';
              DROP TABLE ballast",
        ..SECOND
    };

    /// Where the other process finds its database, and after how many steps it is killed.
    const OTHER: &str = "TIDEGATE_TEST_MIGRATION";

    /// Plays the process that is killed while it migrates; says so when it came to the end.
    #[test]
    fn as_other_process_migrate() {
        let Some(told) = std::env::var_os(OTHER) else { return };
        let told = told.into_string().unwrap();
        let (steps, path) = told.split_once(' ').unwrap();
        let (mut left, path): (u32, _) = (steps.parse().unwrap(), Path::new(path));
        let mut connection = connection::open_writer(path, &Options::default()).unwrap();
        let mut did = || {
            if left == 0 {
                let _ = rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                );
            }
            left -= 1;
        };
        migrate_telling(&mut connection, path, &first_and(LARGE), &mut did).unwrap();
        println!("says: done");
    }

    #[test]
    fn a_migration_that_is_killed_anywhere_leaves_the_old_schema_and_is_made_again() {
        let mut kills = 0;
        for steps in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let (path, connection) = old_database(folder.path());
            // In place of a table-valued function, which this SQLite may lack.
            connection
                .execute_batch(
                    "CREATE TABLE generate_numbers (value INTEGER) STRICT;
                     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
                     INSERT INTO generate_numbers SELECT i FROM n",
                )
                .unwrap();
            drop(connection);
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "sqlite::migration::tests::as_other_process_migrate"])
                .args(["--nocapture", "--test-threads=1"])
                .env(OTHER, format!("{steps} {}", path.display()))
                .output()
                .unwrap();
            let done = String::from_utf8_lossy(&output.stdout).contains("says: done");
            assert_eq!(done, output.status.success(), "{output:?}");

            let mut connection = connection::open_writer(&path, &Options::default()).unwrap();
            let found = schema(&connection).unwrap();
            let rows: String = connection
                .query_row("SELECT name || repository FROM project", [], |row| row.get(0))
                .unwrap();
            assert_eq!(rows, "shop/srv/shop");
            // Wholly the one or wholly the other.
            match found {
                1 => {
                    assert!(colours(&connection).is_err(), "killed after {steps}");
                    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'ballast'";
                    let left: i64 = connection.query_row(tables, [], |row| row.get(0)).unwrap();
                    assert_eq!(left, 0, "killed after {steps}");
                }
                _ => assert_eq!(colours(&connection).unwrap(), "green"),
            }
            connection::quick_check(&connection).unwrap();
            migrate(&mut connection, &path, &first_and(LARGE)).unwrap();
            assert_eq!(
                (schema(&connection).unwrap(), &*colours(&connection).unwrap()),
                (2, "green")
            );
            let before = Connection::open(copy_path(&path, 2)).unwrap();
            assert_eq!(schema(&before).unwrap(), 1, "the copy is of the old schema");
            connection::quick_check(&before).unwrap();
            if done {
                break;
            }
            kills += 1;
        }
        assert!(kills > 10, "killed {kills} times");
    }

    #[test]
    fn a_migration_that_fails_leaves_the_old_schema() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut connection) = old_database(folder.path());
        migrate(&mut connection, &path, &first_and(BROKEN)).unwrap_err();
        assert_eq!(schema(&connection).unwrap(), 1);
        assert!(colours(&connection).is_err());
        migrate(&mut connection, &path, &first_and(SECOND)).unwrap();
        assert_eq!(colours(&connection).unwrap(), "blue");
    }

    #[test]
    fn a_newer_database_is_refused_with_the_version_that_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut connection) = old_database(folder.path());
        migrate(&mut connection, &path, &first_and(SECOND)).unwrap();
        let refused = migrate(&mut connection, &path, &MIGRATIONS[..1]).unwrap_err();
        assert_eq!(
            refused,
            Error::TooNew { path, found: 2, known: 1, needs: "Tidegate 7.8.9 or newer".to_owned() }
        );
        assert_eq!(schema(&connection).unwrap(), 2);
    }
}
