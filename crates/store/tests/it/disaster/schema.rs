//! A file of another Tidegate.

use std::fs;

use rusqlite::Connection;
use tidegate_store::{Error, SqliteStore};

use super::{advance, version, with_ending};

#[tokio::test]
async fn a_newer_schema_is_refused_whatever_else_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    advance(&SqliteStore::open(&path).unwrap(), 3).await;
    for (change, needs) in [
        ("INSERT INTO migration VALUES (2, '9.9.9', 0)", "Tidegate 9.9.9 or newer"),
        ("DROP TABLE migration", "the Tidegate that wrote it"),
    ] {
        let newer = Connection::open(&path).unwrap();
        newer.execute_batch(&format!("{change}; PRAGMA user_version = 2")).unwrap();
        drop(newer);
        let before = fs::read(&path).unwrap();
        let told = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(told, Error::TooNew { found: 2, known: 1, .. }), "{told:?}");
        let told = told.to_string();
        for part in ["tidegate.db", "newer Tidegate (schema 2", needs, "nothing was changed"] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(!with_ending(&path, ".before-2").exists());
    }
}

#[tokio::test]
async fn a_schema_that_nobody_ever_had_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    advance(&SqliteStore::open(&path).unwrap(), 3).await;
    let set = |version: i64| {
        let other = Connection::open(&path).unwrap();
        other.execute_batch(&format!("PRAGMA user_version = {version}")).unwrap();
    };
    set(-1);
    let told = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(told, Error::Corrupt { .. }), "{told:?}");
    // As if none of the steps had been made: the first one finds its tables there.
    set(0);
    SqliteStore::open(&path).unwrap_err();
    set(1);
    assert_eq!(version(&SqliteStore::open(&path).unwrap()).await, Ok(3));
}
