//! The disk and the people around it.

mod copied;
mod full;
mod locked;
mod read_only;
mod schema;
mod torn;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use tidegate_conformance::store::sample::{event, scope, transition};
use tidegate_store::{Error, SqliteStore, Store, Transition};

const PLACE: &str = "shop/production";

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

/// The next step, as the version before it says.
fn step(version: u64) -> Transition {
    Transition {
        events: vec![event(None, "stepped")],
        ..transition(PLACE, version, json!({ "at": version + 1 }))
    }
}

/// Commits one after the other, up to this version.
async fn advance(store: &SqliteStore, until: u64) {
    let stored = store.load(&scope(PLACE)).await.unwrap();
    for version in stored.map_or(0, |stored| stored.version)..until {
        store.commit(step(version)).await.unwrap();
    }
}

/// The version, or what does not fit it.
async fn version(store: &SqliteStore) -> Result<u64, Error> {
    store.check().await?;
    let Some(stored) = store.load(&scope(PLACE)).await? else { return Ok(0) };
    let events = store.events(&scope(PLACE), 0, usize::MAX).await?;
    assert_eq!(stored.state, json!({ "at": stored.version }), "half of a transition");
    assert_eq!(stored.last_seq, stored.version, "half of a transition");
    assert!(events.iter().map(|event| event.seq).eq(1..=stored.version), "half of a transition");
    Ok(stored.version)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Where a test of this program plays its part on a disk of its own.
const DISK: &str = "TIDEGATE_TEST_DISK";

/// The small disk that this process has for itself; none where the test is an ordinary one.
fn small_disk() -> Option<PathBuf> {
    env::var_os(DISK).map(PathBuf::from)
}

/// Runs a test of this program again on a disk of so many kilobytes, which goes with the process.
/// Says so when that is not possible here.
fn on_a_small_disk(kilobytes: u32, test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = format!("mount -t tmpfs -o size={kilobytes}k tmpfs \"$0\"");
    let in_a_world_of_its_own = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", script]).arg(&disk);
        command
    };
    let possible = in_a_world_of_its_own(&mount).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        assert!(env::var_os("TIDEGATE_TEST_REQUIRE").is_none(), "no disk can be mounted here");
        eprintln!("SKIPPED: {test}, as no disk can be mounted here (it takes root on Linux)");
        return;
    }
    let output = in_a_world_of_its_own(&format!("{mount} && exec \"$@\""))
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DISK, &disk)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "{told}");
}
