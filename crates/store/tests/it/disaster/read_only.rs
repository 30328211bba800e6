//! A file, a folder or a whole disk that may not be written.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use tidegate_store::{Error, SqliteStore};

use super::{advance, on_a_small_disk, runtime, small_disk, version, with_ending};

fn is_read_only(told: &Error) {
    assert!(matches!(told, Error::ReadOnly { .. }), "{told:?}");
    let told = told.to_string();
    for part in ["tidegate.db", "cannot be written", "make the file and its folder writable"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_disk_that_may_only_be_read_is_told_and_what_is_on_it_stays() {
    let Some(disk) = small_disk() else {
        return on_a_small_disk(
            2_048,
            "disaster::read_only::a_disk_that_may_only_be_read_is_told_and_what_is_on_it_stays",
        );
    };
    runtime().block_on(async {
        let path = disk.join("tidegate.db");
        advance(&SqliteStore::open(&path).unwrap(), 3).await;
        let before = fs::read(&path).unwrap();
        remount(&disk, "ro");
        is_read_only(&SqliteStore::open(&path).unwrap_err());
        is_read_only(&SqliteStore::open(disk.join("new-tidegate.db")).unwrap_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        remount(&disk, "rw");
        assert_eq!(version(&SqliteStore::open(&path).unwrap()).await, Ok(3));
    });
}

fn remount(disk: &Path, how: &str) {
    let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status();
    assert!(done.unwrap().success());
}

/// Whether permissions do not bind this process: root for one.
fn may_all_the_same(folder: &Path) -> bool {
    let probe = folder.join("probe");
    let may = fs::write(&probe, "").is_ok();
    let _ = fs::remove_file(probe);
    may
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    advance(&SqliteStore::open(&path).unwrap(), 3).await;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
    if !may_all_the_same(folder.path()) {
        // The lock's file is there, so that it is the database that cannot have its log.
        is_read_only(&SqliteStore::open(&path).unwrap_err());
        is_read_only(&SqliteStore::open(folder.path().join("new-tidegate.db")).unwrap_err());
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(version(&SqliteStore::open(&path).unwrap()).await, Ok(3));
}

#[tokio::test]
async fn files_beside_the_database_that_may_not_be_written_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    advance(&SqliteStore::open(&path).unwrap(), 3).await;
    for ending in ["", ".lock"] {
        let file = with_ending(&path, ending);
        fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        if fs::OpenOptions::new().append(true).open(&file).is_err() {
            is_read_only(&SqliteStore::open(&path).unwrap_err());
        }
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(version(&SqliteStore::open(&path).unwrap()).await, Ok(3));
}
