//! Another program has a hand on the file.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use tidegate_conformance::store::sample::scope;
use tidegate_store::{Error, SqliteStore, Store};

use super::{PLACE, advance, step, version};

/// Another connection that may write and nobody else, as a browser of databases left open.
fn locker(path: &std::path::Path) -> Connection {
    let other = Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

fn is_busy(told: &Error) {
    assert!(matches!(told, Error::Busy { .. }), "{told:?}");
    let told = told.to_string();
    for part in ["tidegate.db", "is locked by another program", "close whatever has it open"] {
        assert!(told.contains(part), "{told}");
    }
}

#[tokio::test]
async fn a_lock_for_a_while_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let store = SqliteStore::open(&path).unwrap();
    advance(&store, 1).await;
    let other = locker(&path);
    let (committed, found) = tokio::join!(store.commit(step(1)), async {
        // Whoever only reads does not wait.
        let found = store.load(&scope(PLACE)).await.unwrap().unwrap().version;
        other.execute_batch("ROLLBACK").unwrap();
        found
    });
    assert_eq!((committed.unwrap().version, found), (2, 1));
    assert_eq!(version(&store).await, Ok(2));
}

#[tokio::test]
async fn a_lock_for_ever_is_told_and_nothing_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let store = SqliteStore::open(&path).unwrap();
    advance(&store, 1).await;
    let other = locker(&path);
    let began = Instant::now();
    // Together they wait once.
    let (first, second) = tokio::join!(store.commit(step(1)), store.set_meta("a", "b"));
    is_busy(&first.unwrap_err());
    is_busy(&second.unwrap_err());
    assert!(began.elapsed() < Duration::from_mins(1));
    assert_eq!(version(&store).await, Ok(1), "it can be read all the time");
    drop(store);
    // It opens all the same: what is there can be shown.
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(version(&store).await, Ok(1));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.commit(step(1)).await.unwrap().version, 2);
    assert_eq!(version(&store).await, Ok(2));
}

#[tokio::test]
async fn a_new_store_that_is_locked_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    is_busy(&SqliteStore::open(&path).unwrap_err());
    drop(other);
    SqliteStore::open(&path).unwrap();
}
