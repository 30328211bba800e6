//! A door for fuzzing, and no part of what this crate offers: what is read from the folders of
//! instances and from instances that are asked how they are.

use std::path::Path;

use tidegate_proxy::probe;
use tidegate_types::Timestamp;

use super::layout::{InstanceRecord, RetiringRecord, RevisionRecord};

/// Reads every record in a folder and writes those that can be read again. Says which could not be
/// read, and why; a record that is another one after that is a panic.
#[must_use]
pub fn records(folder: &Path, now: Timestamp) -> Vec<String> {
    let mut damaged = Vec::new();
    match RevisionRecord::read(folder) {
        Ok(Some(mut record)) => {
            let written = record.write(folder).and_then(|()| RevisionRecord::read(folder));
            assert_eq!(written, Ok(Some(record.clone())));
            record.streak.clamp(now);
            let _ = record.streak.not_before(now);
            record.streak.add(now, tidegate_types::Duration::ZERO, true);
            assert!(record.streak.not_before(now) >= Some(now));
        }
        Ok(None) => {}
        Err(reason) => damaged.push(reason),
    }
    match InstanceRecord::read(folder) {
        Ok(Some(record)) => {
            let written = record.write(folder).and_then(|()| InstanceRecord::read(folder));
            assert_eq!(written, Ok(Some(record)));
        }
        Ok(None) => {}
        Err(reason) => damaged.push(reason),
    }
    match RetiringRecord::read(folder) {
        Ok(Some(record)) => {
            let written = record.write(folder).and_then(|()| RetiringRecord::read(folder));
            assert_eq!(written, Ok(Some(record)));
        }
        Ok(None) => {}
        Err(reason) => damaged.push(reason),
    }
    damaged
}

/// The status of an instance's answer to a probe; none while more is to come, an error when it is
/// no HTTP.
#[expect(clippy::result_unit_err, reason = "there is nothing to say besides")]
pub fn status(answer: &[u8]) -> Result<Option<u16>, ()> {
    match probe::read_head(answer) {
        probe::Head::Incomplete => Ok(None),
        probe::Head::Status(status) => Ok(Some(status)),
        probe::Head::NotHttp => Err(()),
    }
}
