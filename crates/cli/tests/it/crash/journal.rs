//! The store of a sandbox, read beside the control plane: how far its deployment is.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// What is read again for this long after the file was last written: the write is seen a moment
/// before the transaction is.
const SETTLED: Duration = Duration::from_millis(20);
/// … and now and then in any case, for a disk that took longer.
const IN_ANY_CASE: Duration = Duration::from_millis(25);

/// A state that was stored, and by which transition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Point {
    /// Counted by the store.
    pub(crate) version: u64,
    /// Of the latest event.
    seq: u64,
    /// What the transition wrote into the journal. The same in every run of a scenario.
    pub(crate) name: String,
}

/// A reader of the store. Looks at the file's times first, since it is asked all the time.
pub(crate) struct Journal {
    connection: Connection,
    written: PathBuf,
    stamp: Option<(SystemTime, u64)>,
    changed: Instant,
    looked: Instant,
    last: Point,
}

impl Journal {
    /// Opens the store in `home`. `last` is what was read before, if anything was.
    pub(crate) fn open(home: &Path, last: Point) -> Self {
        let path = home.join("tidegate.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).expect("the store can be read");
        connection.busy_timeout(Duration::from_secs(5)).expect("a timeout can be set");
        let written = home.join("tidegate.db-wal");
        let now = Instant::now();
        Self { connection, written, stamp: None, changed: now, looked: now, last }
    }

    /// Where the state is now.
    pub(crate) fn point(&mut self) -> &Point {
        let stamp =
            fs::metadata(&self.written).and_then(|data| Ok((data.modified()?, data.len()))).ok();
        if stamp != self.stamp {
            self.stamp = stamp;
            self.changed = Instant::now();
        }
        if self.changed.elapsed() < SETTLED || self.looked.elapsed() > IN_ANY_CASE {
            self.read();
        }
        &self.last
    }

    /// The same, whatever the file's times say.
    pub(crate) fn point_for_certain(&mut self) -> &Point {
        self.read();
        &self.last
    }

    fn read(&mut self) {
        self.looked = Instant::now();
        let (version, seq): (u64, u64) = self
            .connection
            .prepare_cached("SELECT version, last_seq FROM scope")
            .and_then(|mut statement| {
                statement.query_row([], |row| {
                    Ok((
                        row.get::<_, i64>(0)?.cast_unsigned(),
                        row.get::<_, i64>(1)?.cast_unsigned(),
                    ))
                })
            })
            .expect("the state can be read");
        if version == self.last.version {
            return;
        }
        let name = if seq == self.last.seq {
            // A transition that changes what is wanted and says nothing.
            format!("{}'", self.last.name)
        } else {
            // Without the one before, those of one moment are taken for those of one transition.
            let known = (version == self.last.version + 1).then_some(self.last.seq);
            self.events(seq, known).join(" + ")
        };
        self.last = Point { version, seq, name };
    }

    /// What the transition that ended with event `seq` wrote, the first being after `before`.
    fn events(&self, seq: u64, before: Option<u64>) -> Vec<String> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT payload FROM event WHERE seq <= ?1
                 AND CASE WHEN ?2 IS NULL THEN at = (SELECT at FROM event WHERE seq = ?1)
                     ELSE seq > ?2 END
                 ORDER BY seq",
            )
            .expect("the journal has events");
        let rows = statement
            .query_map((seq.cast_signed(), before.map(u64::cast_signed)), |row| {
                row.get::<_, String>(0)
            })
            .expect("events can be read");
        rows.map(|row| {
            let event: Value = serde_json::from_str(&row.expect("an event")).expect("JSON");
            name(&event)
        })
        .collect()
    }

    /// The state as it is stored.
    pub(crate) fn state(&self) -> Value {
        let text: String = self
            .connection
            .query_row("SELECT state FROM scope", [], |row| row.get(0))
            .expect("the state can be read");
        serde_json::from_str(&text).expect("the state is JSON")
    }

    /// The newest deployment, with or without a transition that took it.
    pub(crate) fn newest_deployment(&self) -> Option<i64> {
        self.connection
            .prepare_cached("SELECT max(id) FROM deployment")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .expect("deployments can be read")
    }
}

fn name(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let kind = text("event");
    match kind.as_str() {
        "step_entered" | "step_done" => format!("{kind} {}", event["index"]),
        "retired" => format!("{kind} {}", text("revision")),
        "ended" => format!("{kind} {}", text("outcome")),
        _ => kind,
    }
}
