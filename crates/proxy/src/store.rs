//! Keeps the file of the tables up to date, and knows when it is not.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::disk;

/// A reason that stays the same is logged again after this long.
const LOG_AGAIN: Duration = Duration::from_mins(1);

/// The file of the tables.
#[derive(Debug)]
pub(crate) struct Store {
    home: PathBuf,
    behind: Option<Behind>,
    /// A machine that loses its power may forget what was written last.
    unsynced: bool,
}

/// The last try to write the file failed: it may hold other tables than those in force.
#[derive(Debug)]
struct Behind {
    reason: String,
    logged: Instant,
}

impl Store {
    /// The file in `home`, from which the proxy starts.
    pub(crate) fn new(home: PathBuf) -> Self {
        Self { home, behind: None, unsynced: false }
    }

    /// Whether the file has to be written again.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// Writes the file with these tables, as [`disk::text`] has them. A failure is logged, but not for each try.
    pub(crate) async fn write(&mut self, tables: Vec<u8>) -> Result<(), String> {
        let home = self.home.clone();
        let written = tokio::task::spawn_blocking(move || disk::store(&home, &tables)).await;
        let reason = match written {
            Ok(Ok(())) => {
                self.unsynced = true;
                if self.behind.take().is_some() {
                    tracing::info!("the tables are stored again");
                }
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let home = self.home.display();
        let reason = format!("the tables could not be stored in {home}: {reason}");
        let now = Instant::now();
        if is_news(self.behind.as_ref(), &reason, now) {
            tracing::warn!("{reason}; trying again every second");
            self.behind = Some(Behind { reason: reason.clone(), logged: now });
        }
        Err(reason)
    }

    /// The folder, if what was written there last is to be made to outlast the machine's power. Said
    /// once: who publishes a table does not wait for the disk.
    pub(crate) fn take_unsynced(&mut self) -> Option<PathBuf> {
        std::mem::take(&mut self.unsynced).then(|| self.home.clone())
    }

    /// Gives up on a file that is behind.
    pub(crate) fn give_up(&mut self) {
        if let Some(Behind { reason, .. }) = self.behind.take() {
            tracing::warn!("{reason}; the next proxy starts from the older ones");
        }
    }
}

/// Waits until the disk has what was written last. No lock is to be held meanwhile.
pub(crate) async fn sync(home: PathBuf) {
    let synced = tokio::task::spawn_blocking(move || disk::sync(&home)).await;
    if let Ok(Err(error)) = synced {
        tracing::warn!(%error, "the stored tables may not outlast a loss of power");
    }
}

/// Whether a failure is worth a line in the log.
fn is_news(last: Option<&Behind>, reason: &str, now: Instant) -> bool {
    last.is_none_or(|last| {
        last.reason != reason || now.saturating_duration_since(last.logged) >= LOG_AGAIN
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_logged_when_it_is_new_and_then_once_a_minute() {
        let logged = Instant::now();
        let behind = Behind { reason: "full".to_owned(), logged };
        assert!(is_news(None, "full", logged));
        assert!(!is_news(Some(&behind), "full", logged + Duration::from_secs(59)));
        assert!(is_news(Some(&behind), "full", logged + Duration::from_mins(1)));
        assert!(is_news(Some(&behind), "read-only", logged + Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn a_file_that_could_not_be_written_is_behind_until_it_is() {
        let home = tempfile::tempdir().unwrap();
        let mut store = Store::new(home.path().join("absent"));
        assert!(!store.is_behind());
        assert!(store.write(Vec::new()).await.is_err());
        assert!(store.is_behind());
        std::fs::create_dir(home.path().join("absent")).unwrap();
        assert_eq!(store.write(Vec::new()).await, Ok(()));
        assert!(!store.is_behind());
    }
}
