//! What happens to a store whose process is killed, or may not write any more.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_store::{Accepted, Error, SqliteStore, Store};

use tidegate_conformance::store::sample::{input, scope};

const PLACE: &str = "shop/production";
/// Tells a test of this program that it is the other process: where its store is.
const STORE: &str = "TIDEGATE_TEST_STORE";

/// This program again, with one test that plays the other process.
struct Other {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Other {
    fn start(mut command: Command, test: &str, path: &Path) -> Self {
        let mut child = command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(STORE, path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// What the other process says next; the test harness in it talks, too.
    fn next(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).unwrap();
            assert!(read > 0, "the other process ended before its time");
            // The harness does not end its line `test .. ` before the test says something.
            if let Some((_, said)) = line.split_once("says: ") {
                return said.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "says: {what}").unwrap();
    output.flush().unwrap();
}

fn this_program() -> PathBuf {
    env::current_exe().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Accepts inputs for ever, and says which are durable.
#[test]
fn as_other_process_accept_inputs() {
    let Some(path) = env::var_os(STORE) else {
        return;
    };
    let store = SqliteStore::open(path).unwrap();
    runtime().block_on(async {
        for number in 0_u64.. {
            let key = format!("input {number}");
            store.accept(input(PLACE, &key)).await.unwrap();
            say(&key);
        }
    });
}

#[tokio::test]
async fn a_killed_process_leaves_all_that_it_answered_and_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let mut answered: Vec<String> = Vec::new();
    for _ in 0..5 {
        let command = Command::new(this_program());
        let test = "process::as_other_process_accept_inputs";
        let mut other = Other::start(command, test, &path);
        let until = answered.len() + 5;
        while answered.len() < until {
            let key = other.next();
            // What an earlier one accepted is accepted still.
            if !answered.contains(&key) {
                answered.push(key);
            }
        }
        let locked = SqliteStore::open(&path).unwrap_err();
        let holder = Some(other.child.id());
        assert!(matches!(locked, Error::Locked { holder: found, .. } if found == holder));
        drop(other);

        let store = SqliteStore::open(&path).unwrap();
        store.check().await.unwrap();
        let pending = store.pending(&scope(PLACE)).await.unwrap();
        let keys: Vec<_> = pending.iter().map(|input| &input.key).collect();
        assert!(keys.len() >= answered.len());
        assert!(answered.iter().eq(keys.into_iter().take(answered.len())));
    }
}

/// Accepts inputs until the operating system refuses to write, and again when it does not.
#[test]
fn as_other_process_outlive_a_refusing_disk() {
    let Some(path) = env::var_os(STORE) else {
        return;
    };
    let store = SqliteStore::open(path).unwrap();
    runtime().block_on(async {
        let mut number = 0_u64;
        let mut accept = async || {
            number += 1;
            let mut new = input(PLACE, &format!("input {number}"));
            new.payload = "x".repeat(10_000).into();
            store.accept(new).await.map(|_| number)
        };
        let refused = loop {
            match accept().await {
                Ok(number) => assert!(number < 10_000, "nothing is ever refused"),
                Err(error) => break error,
            }
        };
        say(&refused.to_string());
        let pending = store.pending(&scope(PLACE)).await.unwrap();
        say(&pending.len().to_string());
        // Mostly refused; one comes through if the log was moved into the file meanwhile.
        let mut came_through = 0;
        for _ in 0..3 {
            came_through += usize::from(accept().await.is_ok());
        }

        let limit = getrlimit(Resource::Fsize);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Fsize, raised).unwrap();
        accept().await.unwrap();
        // The one that was refused at first is as good as new.
        let again = input(PLACE, &format!("input {}", pending.len() + 1));
        assert_eq!(store.accept(again).await, Ok(Accepted::New));
        store.check().await.unwrap();
        let pending = store.pending(&scope(PLACE)).await.unwrap();
        say(&(pending.len() - came_through).to_string());
    });
}

#[tokio::test]
async fn a_disk_that_refuses_for_a_while_is_outlived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    // No file may grow beyond 512 blocks; without the trap the attempt would be deadly.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; ulimit -S -f 512; exec \"$0\" \"$@\""]).arg(this_program());
    let test = "process::as_other_process_outlive_a_refusing_disk";
    let mut other = Other::start(command, test, &path);
    let refused = other.next();
    assert!(refused.contains("could not write to"), "{refused}");
    assert!(refused.contains("tidegate.db"), "{refused}");
    let before: usize = other.next().parse().unwrap();
    assert!(before > 0);
    let after: usize = other.next().parse().unwrap();
    assert_eq!(after, before + 2);
    assert!(other.child.wait().unwrap().success());
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.pending(&scope(PLACE)).await.unwrap().len(), after);
}
