//! The power failed in the middle of a write, or the disk gave back something else.

use std::{fs, path::Path};

use tidegate_store::{Error, SqliteStore};

use super::{advance, version, with_ending};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const PAGE: usize = 4096;
const FRAME: usize = FRAME_HEADER + PAGE;

/// A database without a step and a log with some.
struct Logged {
    file: Vec<u8>,
    log: Vec<u8>,
    /// For each frame whether a transaction ends with it.
    ends: Vec<bool>,
}

impl Logged {
    async fn with(steps: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.db");
        drop(SqliteStore::open(&path).unwrap());
        // Who reads the file as it is now keeps the log from being moved into it, however long
        // this takes.
        let reader = rusqlite::Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM scope").unwrap();
        let store = SqliteStore::open(&path).unwrap();
        advance(&store, steps).await;
        let file = fs::read(&path).unwrap();
        let log = fs::read(with_ending(&path, "-wal")).unwrap();
        drop((store, reader));
        // Of each frame's header the second number is that of the pages after the commit; in all
        // frames but a transaction's last it is zero.
        let ends: Vec<bool> = log[HEADER..]
            .chunks_exact(FRAME)
            .map(|frame| frame[4..8].iter().any(|byte| *byte != 0))
            .collect();
        assert_eq!(ends.iter().filter(|ends| **ends).count() as u64, steps);
        assert!(ends.len() as u64 > 2 * steps, "a transaction has more than one frame");
        Self { file, log, ends }
    }

    /// The transactions that are complete in the first frames.
    fn complete_in(&self, frames: usize) -> u64 {
        self.ends[..frames].iter().filter(|ends| **ends).count() as u64
    }

    /// What a store finds in this file with this log, after it has gone on from there.
    async fn found(&self, file: &[u8], log: &[u8]) -> Result<u64, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.db");
        put(&path, file, log);
        let store = SqliteStore::open(&path)?;
        let found = version(&store).await?;
        advance(&store, found + 1).await;
        drop(store);
        assert_eq!(version(&SqliteStore::open(&path)?).await?, found + 1);
        Ok(found)
    }
}

fn put(path: &Path, file: &[u8], log: &[u8]) {
    fs::write(path, file).unwrap();
    fs::write(with_ending(path, "-wal"), log).unwrap();
}

#[tokio::test]
async fn a_log_that_ends_anywhere_holds_exactly_its_complete_transactions() {
    let logged = Logged::with(6).await;
    for frames in 0..=logged.ends.len() {
        let complete = logged.complete_in(frames);
        let boundary = HEADER + frames * FRAME;
        // At the frame's end, in the next one's header, in its page, and one byte short of it.
        for beyond in [0, 1, FRAME_HEADER - 1, FRAME_HEADER + PAGE / 2, FRAME - 1] {
            let end = boundary + beyond;
            if end <= logged.log.len() {
                let found = logged.found(&logged.file, &logged.log[..end]).await;
                assert_eq!(found, Ok(complete), "{frames} frames and {beyond} bytes");
            }
        }
    }
    for end in [0, 1, HEADER - 1] {
        assert_eq!(logged.found(&logged.file, &logged.log[..end]).await, Ok(0), "{end} bytes");
    }
}

#[tokio::test]
async fn a_log_with_a_wrong_byte_holds_exactly_what_was_complete_before_it() {
    let logged = Logged::with(6).await;
    for frame in 0..logged.ends.len() {
        let complete = logged.complete_in(frame);
        let begin = HEADER + frame * FRAME;
        // In the page's number, the commit mark, the salt, the checksum, and the page.
        for beyond in [3, 7, 8, 20, FRAME_HEADER, FRAME - 1] {
            let mut log = logged.log.clone();
            log[begin + beyond] ^= 0x40;
            let found = logged.found(&logged.file, &log).await;
            assert_eq!(found, Ok(complete), "frame {frame}, byte {beyond}");
        }
        // As when a block of the disk was never written.
        let mut log = logged.log.clone();
        log[begin..begin + FRAME].fill(0);
        assert_eq!(logged.found(&logged.file, &log).await, Ok(complete), "frame {frame}");
    }
    for byte in [0, 16, 24] {
        let mut log = logged.log.clone();
        log[byte] ^= 0x40;
        assert_eq!(logged.found(&logged.file, &log).await, Ok(0), "byte {byte} of the header");
    }
}

#[tokio::test]
async fn a_file_that_was_torn_while_the_log_was_moved_into_it_is_mended_from_the_log() {
    let logged = Logged::with(6).await;
    let mut pages: Vec<usize> = logged.log[HEADER..]
        .chunks_exact(FRAME)
        .map(|frame| u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize)
        .collect();
    pages.sort_unstable();
    pages.dedup();
    let mut torn = logged.file.clone();
    for page in &pages {
        let begin = (page - 1) * PAGE;
        // The first page says what the file is; half of it is old and half of it is new at worst.
        let damaged = if *page == 1 { begin + PAGE / 2..PAGE } else { begin..begin + PAGE };
        if torn.len() < damaged.end {
            torn.resize(damaged.end, 0);
        }
        torn[damaged].fill(0xa5);
    }
    assert_eq!(logged.found(&torn, &logged.log).await, Ok(6));
    // Without the log it is what it looks like.
    let told = logged.found(&torn, &[]).await.unwrap_err();
    assert!(matches!(told, Error::Corrupt { .. }), "{told}");
}

#[tokio::test]
async fn a_damaged_index_of_the_log_costs_nothing() {
    let logged = Logged::with(6).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    for index in [vec![], vec![0; 100], vec![0xa5; 32_768]] {
        put(&path, &logged.file, &logged.log);
        fs::write(with_ending(&path, "-shm"), index).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(version(&store).await, Ok(6));
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_or_too_short_is_told_and_left_as_it_is() {
    let logged = Logged::with(6).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    let short = |length: usize| logged.file[..length].to_vec();
    let pages = logged.file.len() / PAGE;
    assert!(pages > 4);
    let mut files = vec![
        b"not a database, but longer than the head of one".repeat(100),
        b"short".to_vec(),
        vec![0; 8192],
        short(99),
        short(512),
        short(PAGE - 1),
        short(PAGE),
        short(PAGE + 17),
        short((pages - 1) * PAGE),
    ];
    let mut foreign = logged.file.clone();
    foreign[68..72].copy_from_slice(b"NOPE");
    files.push(foreign);
    for file in files {
        let length = file.len();
        fs::write(&path, &file).unwrap();
        let told = match SqliteStore::open(&path) {
            Err(told) => told,
            // What is cut off may be nothing that opening looks at.
            Ok(store) => version(&store).await.expect_err(&format!("{length} bytes")),
        };
        assert!(matches!(told, Error::Corrupt { .. }), "{length} bytes: {told}");
        let told = told.to_string();
        for part in ["tidegate.db", "damaged or not a Tidegate database", "put a copy in its place"]
        {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(fs::read(&path).unwrap(), file, "it is left as it is");
    }
}

#[tokio::test]
async fn an_empty_file_with_a_log_is_no_new_store() {
    let logged = Logged::with(6).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.db");
    put(&path, &[], &logged.log);
    let told = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(told, Error::Corrupt { .. }), "{told}");
    assert!(told.to_string().contains("is empty"), "{told}");
    assert_eq!(fs::read(with_ending(&path, "-wal")).unwrap(), logged.log);
    // Without one it is: the first start may have ended just after it had made the file.
    fs::remove_file(with_ending(&path, "-wal")).unwrap();
    assert_eq!(version(&SqliteStore::open(&path).unwrap()).await, Ok(0));
}
