//! A disk that is full: a real one, with room for every number of pages.

use std::{fs, io::Write as _, path::Path};

use rustix::fs::statvfs;
use tidegate_store::{Error, SqliteStore, Store};

use super::{PLACE, advance, on_a_small_disk, runtime, small_disk, step, version};

const PAGE: u64 = 4096;

fn free(disk: &Path) -> u64 {
    let found = statvfs(disk).unwrap();
    found.f_bavail * found.f_frsize
}

/// Takes all room but so much.
fn leave(disk: &Path, room: u64) {
    let _ = fs::remove_file(disk.join("ballast"));
    let size = free(disk).saturating_sub(room) / PAGE;
    let mut ballast = fs::File::create(disk.join("ballast")).unwrap();
    for _ in 0..size {
        ballast.write_all(&[7; 4096]).unwrap();
    }
}

fn is_full(told: &Error) {
    assert!(matches!(told, Error::Full { .. }), "{told:?}");
    let told = told.to_string();
    for part in ["no space left to write to", "tidegate.db", "free some space"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_disk_with_any_room_left_keeps_what_was_answered_and_nothing_else() {
    let Some(disk) = small_disk() else {
        let test =
            "disaster::full::a_disk_with_any_room_left_keeps_what_was_answered_and_nothing_else";
        return on_a_small_disk(2_048, test);
    };
    runtime().block_on(async {
        let path = disk.join("tidegate.db");
        let mut refused = 0;
        for pages in 0..24 {
            let store = SqliteStore::open(&path).unwrap();
            let mut answered = version(&store).await.unwrap();
            leave(&disk, pages * PAGE);
            for _ in 0..12 {
                match store.commit(step(answered)).await {
                    Ok(committed) => answered = committed.version,
                    Err(told) => {
                        is_full(&told);
                        refused += 1;
                    }
                }
                let found = store.load(&super::scope(PLACE)).await.unwrap();
                assert_eq!(found.map_or(0, |stored| stored.version), answered);
            }
            // Room comes back while it is open, or when it has ended on the full disk.
            if pages % 2 == 0 {
                drop(store);
                fs::remove_file(disk.join("ballast")).unwrap();
                let store = SqliteStore::open(&path).unwrap();
                assert_eq!(version(&store).await, Ok(answered), "{pages} pages");
            } else {
                fs::remove_file(disk.join("ballast")).unwrap();
                advance(&store, answered + 1).await;
                assert_eq!(version(&store).await, Ok(answered + 1), "{pages} pages");
            }
        }
        assert!(refused > 20, "the disk was full {refused} times only");
    });
}

#[test]
fn a_store_opens_on_a_full_disk_or_says_that_it_is_full() {
    let Some(disk) = small_disk() else {
        return on_a_small_disk(
            2_048,
            "disaster::full::a_store_opens_on_a_full_disk_or_says_that_it_is_full",
        );
    };
    runtime().block_on(async {
        let path = disk.join("tidegate.db");
        let new = disk.join("new-tidegate.db");
        let mut opened = 0;
        advance(&SqliteStore::open(&path).unwrap(), 3).await;
        for pages in 0..40 {
            leave(&disk, pages * PAGE);
            for path in [&path, &new] {
                match SqliteStore::open(path) {
                    Ok(_) => opened += 1,
                    Err(told) => is_full(&told),
                }
            }
            fs::remove_file(disk.join("ballast")).unwrap();
            // The attempt has spoilt nothing.
            assert_eq!(version(&SqliteStore::open(&path).unwrap()).await, Ok(3), "{pages} pages");
            assert_eq!(version(&SqliteStore::open(&new).unwrap()).await, Ok(0), "{pages} pages");
            for ending in ["", "-wal", "-shm", ".lock"] {
                let _ = fs::remove_file(super::with_ending(&new, ending));
            }
        }
        assert!(opened > 0);
    });
}

#[test]
fn a_copy_that_does_not_fit_leaves_nothing_of_itself() {
    let Some(disk) = small_disk() else {
        return on_a_small_disk(
            2_048,
            "disaster::full::a_copy_that_does_not_fit_leaves_nothing_of_itself",
        );
    };
    runtime().block_on(async {
        let path = disk.join("tidegate.db");
        let copy = disk.join("copy-tidegate.db");
        let store = SqliteStore::open(&path).unwrap();
        advance(&store, 3).await;
        leave(&disk, 10 * PAGE);
        is_full(&store.copy_to(&copy).await.unwrap_err());
        assert!(!copy.exists() && !super::with_ending(&copy, ".part").exists());
        advance(&store, 4).await;
        fs::remove_file(disk.join("ballast")).unwrap();
        store.copy_to(&copy).await.unwrap();
        assert_eq!(version(&SqliteStore::open(&copy).unwrap()).await, Ok(4));
    });
}
