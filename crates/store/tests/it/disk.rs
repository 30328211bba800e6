//! What can happen to a file.

use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    task::Poll,
};

use serde_json::json;
use tidegate_store::{Error, Options, SqliteStore, Store, Transition};
use tidegate_types::RevisionId;

use tidegate_conformance::store::sample::{
    at, counted, deployment, event, input, scope, transition,
};

const PLACE: &str = "shop/production";

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

/// Commits transitions with an event each, up to this version.
async fn advance(store: &SqliteStore, until: u64) {
    let stored = store.load(&scope(PLACE)).await.unwrap();
    for version in stored.map_or(0, |stored| stored.version)..until {
        let step = Transition {
            events: vec![event(None, "stepped")],
            ..transition(PLACE, version, json!({ "at": version + 1 }))
        };
        store.commit(step).await.unwrap();
    }
}

/// The version, after looking that everything else fits it.
async fn version(store: &SqliteStore) -> u64 {
    store.check().await.unwrap();
    let Some(stored) = store.load(&scope(PLACE)).await.unwrap() else {
        return 0;
    };
    let events = store.events(&scope(PLACE), 0, usize::MAX).await.unwrap();
    assert_eq!(stored.state, json!({ "at": stored.version }));
    assert_eq!(events.len() as u64, stored.version);
    stored.version
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    for until in [3, 5] {
        let store = SqliteStore::open(&path).unwrap();
        advance(&store, until).await;
        drop(store);
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(version(&store).await, until);
    }
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
}

#[tokio::test]
async fn a_second_store_on_the_same_file_is_refused_by_whatever_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let store = SqliteStore::open(&path).unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for name in [path.clone(), link, folder.path().join("./tidegate.db")] {
        let refused = SqliteStore::open(name).unwrap_err();
        assert_eq!(
            refused,
            Error::Locked { path: store.path().to_owned(), holder: Some(std::process::id()) }
        );
        let holder = format!("process {}", std::process::id());
        assert!(refused.to_string().contains(&holder), "{refused}");
    }
    drop(store);
    SqliteStore::open(&path).unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_and_outlived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let options = Options { max_pages: Some(64) };
    let store = SqliteStore::open_with(&path, &options).unwrap();
    advance(&store, 2).await;
    let id = store.request_deployment(deployment(PLACE, None)).await.unwrap().id;
    let api = RevisionId::new("api@1");
    let mut put = 0;
    let full = loop {
        let sample = vec![(api.clone(), counted(put, put + 1, 1))];
        match store.put_samples(id, sample).await {
            Ok(()) => put += 1,
            Err(error) => break error,
        }
        assert!(put < 100_000, "it is never full");
    };
    assert!(matches!(full, Error::Full { .. }), "{full}");
    assert!(full.to_string().contains("tidegate.db"), "{full}");
    assert!(full.to_string().contains("free some space"), "{full}");

    // What was answered is there, what was refused is not, and it can be read.
    let samples = store.samples(id, &api, at(i64::MIN)).await.unwrap();
    assert_eq!(samples.len(), usize::try_from(put).unwrap());
    assert_eq!(version(&store).await, 2);

    // Space comes back.
    let forgotten = store.forget_samples(at(i64::MAX)).await;
    assert_eq!(forgotten, Ok(u64::try_from(put).unwrap()));
    advance(&store, 4).await;
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(version(&store).await, 4);
}

#[tokio::test]
async fn a_file_of_something_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    fs::write(&text, "This is a letter and no database. ".repeat(200)).unwrap();
    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE song (title TEXT)")
        .unwrap();
    for path in [text, foreign] {
        let before = fs::read(&path).unwrap();
        let refused = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
        assert!(refused.to_string().contains("not a Tidegate database"));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn a_file_of_a_newer_tidegate_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    drop(SqliteStore::open(&path).unwrap());
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer
        .execute_batch(
            "INSERT INTO migration VALUES (1000, '99.0.0', 0); PRAGMA user_version = 1000",
        )
        .unwrap();
    drop(newer);
    let before = fs::read(&path).unwrap();
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(refused, Error::TooNew { found: 1000, .. }));
    assert!(refused.to_string().contains("Tidegate 99.0.0"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn damage_is_found_after_the_machine_went_down_and_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let store = SqliteStore::open(&path).unwrap();
    advance(&store, 500).await;
    drop(store);
    // As when the last pages of the journal never reached the disk.
    let mut bytes = fs::read(&path).unwrap();
    let tail = bytes.len() - 3 * 4096;
    bytes[tail..].fill(0xa5);
    fs::write(&path, bytes).unwrap();

    // Reading every page takes long for a large file, and a killed process cannot have torn one.
    let store = SqliteStore::open(&path).unwrap();
    let told = store.check().await.unwrap_err();
    assert!(matches!(told, Error::Corrupt { .. }), "{told}");
    drop(store);

    fs::write(with_ending(&path, ".lock"), "17 some-other-boot\n").unwrap();
    let told = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(told, Error::Corrupt { .. }), "{told}");
    assert!(told.to_string().contains("put a copy in its place"));
}

#[tokio::test]
async fn a_torn_write_ahead_log_costs_only_what_was_in_the_torn_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    drop(SqliteStore::open(&path).unwrap());
    // Who reads the file as it is now keeps the log from being moved into it, however long this
    // takes.
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM scope").unwrap();
    let store = SqliteStore::open(&path).unwrap();
    advance(&store, 20).await;
    // As the disk would be if the power failed now.
    let file = fs::read(&path).unwrap();
    let log = fs::read(with_ending(&path, "-wal")).unwrap();
    drop((store, reader));

    let mut versions = Vec::new();
    for eighth in 0..=8 {
        let torn = folder.path().join(format!("torn-{eighth}.db"));
        fs::write(&torn, &file).unwrap();
        fs::write(with_ending(&torn, "-wal"), &log[..log.len() * eighth / 8]).unwrap();
        let store = SqliteStore::open(&torn).unwrap();
        let found = version(&store).await;
        advance(&store, found + 1).await;
        versions.push(found);
    }
    assert!(versions.is_sorted(), "{versions:?}");
    assert_eq!(versions.last(), Some(&20));
    assert_eq!(versions.first(), Some(&0));
    assert!(versions[4] < 20, "half of the log is not all of it");
}

#[tokio::test]
async fn a_copy_taken_while_running_opens_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let store = SqliteStore::open(&path).unwrap();
    advance(&store, 1).await;
    let copy = folder.path().join("copy.db");
    let copied = async {
        store.copy_to(&copy).await.unwrap();
    };
    tokio::join!(advance(&store, 100), copied);

    let again = store.copy_to(&copy).await.unwrap_err();
    assert!(again.to_string().contains("copy.db"), "{again}");
    let found = version(&SqliteStore::open(&copy).unwrap()).await;
    assert!((1..=100).contains(&found), "{found}");
    assert_eq!(version(&store).await, 100);
    assert!(!with_ending(&copy, ".part").exists());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/folder/tidegate.db");
    let told = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(told, Error::Io { .. }), "{told}");
    assert!(told.to_string().contains("no/such/folder"), "{told}");
}

#[tokio::test]
async fn a_file_that_may_not_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    drop(SqliteStore::open(&path).unwrap());
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    let may_write_all_the_same = OpenOptions::new().write(true).open(&path).is_ok();
    match SqliteStore::open(&path) {
        // Permissions do not bind everybody: root for one.
        Ok(_) => assert!(may_write_all_the_same),
        Err(told) => {
            assert!(!may_write_all_the_same);
            assert!(matches!(told, Error::ReadOnly { .. }), "{told}");
            assert!(told.to_string().contains("writable"), "{told}");
        }
    }
    // Nobody may write to a folder in the place of the file.
    let folder_in_its_place = folder.path().join("folder.db");
    fs::create_dir(&folder_in_its_place).unwrap();
    SqliteStore::open(&folder_in_its_place).unwrap_err();
}

#[tokio::test]
async fn what_was_sent_before_the_store_is_dropped_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let store = SqliteStore::open(&path).unwrap();
    for number in 0..50 {
        let mut accepted = Box::pin(store.accept(input(PLACE, &format!("input {number}"))));
        // Sent by the first poll; the caller goes away without waiting for the answer.
        std::future::poll_fn(|context| {
            let _ = accepted.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    }
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.pending(&scope(PLACE)).await.unwrap().len(), 50);
}
