//! Copies, and what becomes of them.

use std::{fs, path::Path};

use tidegate_store::{Error, SqliteStore};

use super::{advance, version, with_ending};

fn copy(from: &Path, to: &Path, endings: &[&str]) {
    for ending in ["", "-wal", "-shm", ".lock"] {
        let _ = fs::remove_file(with_ending(to, ending));
    }
    for ending in endings {
        let _ = fs::copy(with_ending(from, ending), with_ending(to, ending));
    }
}

async fn found(path: &Path) -> Result<u64, Error> {
    let store = SqliteStore::open(path)?;
    let found = version(&store).await?;
    advance(&store, found + 1).await;
    version(&store).await
}

#[tokio::test]
async fn a_plain_copy_of_all_files_at_one_moment_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let to = folder.path().join("copy.db");
    let store = SqliteStore::open(&path).unwrap();
    for until in 1..10 {
        advance(&store, until).await;
        // Nobody writes meanwhile, as in a snapshot of the disk.
        for endings in [["", "-wal", "-shm", ".lock"].as_slice(), &["", "-wal"]] {
            copy(&path, &to, endings);
            assert_eq!(found(&to).await, Ok(until + 1), "{endings:?}");
        }
    }
    drop(store);
    copy(&path, &to, &[""]);
    assert_eq!(found(&to).await, Ok(10), "closed in order, one file is all of it");
}

/// Moves the log into the file and begins a new one with the next write.
fn move_log(path: &Path) {
    let other = rusqlite::Connection::open(path).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| {
            assert_eq!(row.get(0), Ok(0), "it was in nobody's way");
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_plain_copy_of_two_moments_is_never_taken_for_something_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let to = folder.path().join("copy.db");
    for (first, second) in [(5, 6), (5, 40), (30, 31), (30, 400)] {
        for endings in [["", ".lock"].as_slice(), &[""]] {
            for ending in ["", "-wal", "-shm", ".lock"] {
                let _ = fs::remove_file(with_ending(&path, ending));
            }
            let store = SqliteStore::open(&path).unwrap();
            advance(&store, first).await;
            // The file at one moment, and the log at a later one.
            copy(&path, &to, endings);
            advance(&store, second - 1).await;
            move_log(&path);
            advance(&store, second).await;
            fs::copy(with_ending(&path, "-wal"), with_ending(&to, "-wal")).unwrap();
            drop(store);
            let before = fs::read(&to).unwrap();
            let told = found(&to).await.unwrap_err();
            assert!(matches!(told, Error::Corrupt { .. }), "{told:?}");
            let told = told.to_string();
            for part in ["copy.db", "taken while it was in use", "put a copy in its place"] {
                assert!(told.contains(part), "{told}");
            }
            assert_eq!(fs::read(&to).unwrap(), before, "it is left as it is");
        }
    }
}

#[tokio::test]
async fn a_plain_copy_of_all_but_the_log_of_one_moment_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let to = folder.path().join("copy.db");
    let store = SqliteStore::open(&path).unwrap();
    for until in [5, 40, 400] {
        // The log has not begun anew since: it holds all that the file lacks, and more.
        copy(&path, &to, &["", ".lock"]);
        advance(&store, until).await;
        fs::copy(with_ending(&path, "-wal"), with_ending(&to, "-wal")).unwrap();
        assert_eq!(found(&to).await, Ok(until + 1));
    }
}
