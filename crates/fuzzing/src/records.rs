//! Rows and files that Tidegate wrote itself, as a disk may give them back.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use tidegate_core::{Event, Failure};
use tidegate_engine::{Anchor, Command, DeploymentRequest, EnvironmentView};
use tidegate_server::{Problem, api};
use tidegate_shim::{ExitRecord, JobSpec, ProcessIdentity};
use tidegate_types::{Artifact, Plan, Release, Timestamp, data_plane::Traffic};

use crate::{folder, sections::sections, state::kept};

pub(crate) fn hold(bytes: &[u8]) {
    let sections = sections(bytes);
    for (name, text) in &sections {
        row(name, text);
    }
    folder::with(|root| {
        for (name, text) in &sections {
            folder::put(root, name, text);
        }
        folder_of_a_job(root);
        folder_of_an_instance(root);
        let _ = tidegate_proxy::fuzzing::stored(root);
    });
}

/// One value, by the name of what it is.
fn row(name: &str, text: &[u8]) {
    match name {
        "spec.json" => same::<JobSpec>(text),
        "exit.json" => same::<ExitRecord>(text),
        "claim" | "job.json" => same::<ProcessIdentity>(text),
        "event" => same::<Event>(text),
        "failure" => same::<Failure>(text),
        "request" => same::<DeploymentRequest>(text),
        "command" => same::<Command>(text),
        "plan" => same::<Plan>(text),
        "release" => same::<Release>(text),
        "artifact" => same::<Artifact>(text),
        "traffic" => same::<Traffic>(text),
        "view" => same::<EnvironmentView>(text),
        "row" => same::<api::DeploymentRow>(text),
        "problem" => same::<Problem>(text),
        "anchor" => anchor(text),
        "probe" => probe(text),
        _ => {}
    }
}

fn same<T>(text: &[u8])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    if let Ok(value) = serde_json::from_slice::<T>(text) {
        kept(&value);
    }
}

/// A clock goes on from any anchor of this boot or another.
fn anchor(text: &[u8]) {
    let Ok(stored) = serde_json::from_slice::<Anchor>(text) else { return };
    kept(&stored);
    for boot in [stored.boot.clone(), String::new()] {
        let now = Anchor { boot, wall: 1_000_000, uptime: 50_000 };
        let chosen = Anchor::choose(Some(stored.clone()), now, Some(Timestamp::from_millis(7)));
        assert!(chosen.at(60_000) >= chosen.at(50_000), "time goes back: {chosen:?}");
    }
}

/// What is known of an answer is not taken back when more of it comes.
fn probe(text: &[u8]) {
    let mut known = None;
    for end in 0..text.len() {
        let status = tidegate_targets::fuzzing::status(&text[..end]);
        if let Some(known) = known {
            assert_eq!(status, known, "of {end} bytes");
        }
        known = (status != Ok(None)).then_some(status);
    }
}

fn folder_of_a_job(root: &Path) {
    if let Ok(state) = tidegate_shim::look(root) {
        let _ = format!("{state:?}");
    }
    let _ = tidegate_shim::watch(root);
    for lines in [0, 1, 100] {
        let tail = tidegate_shim::tail(root, lines).unwrap_or_default();
        assert!(tail.len() <= lines, "{} lines in place of {lines}", tail.len());
        assert!(!tail.iter().any(|line| line.text.contains('\n')), "a line end in a line");
    }
}

fn folder_of_an_instance(root: &Path) {
    let now = Timestamp::from_millis(1_000_000);
    for reason in tidegate_targets::fuzzing::records(root, now) {
        assert!(reason.contains("damaged"), "{reason}");
    }
}
