//! What a deployment leaves, without what differs between two runs of the same scenario.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

use super::victim::instances;
use crate::sandbox::{Sandbox, runs};

/// The terminal state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Of the deployment, or where it still is.
    outcome: String,
    /// The release that serves.
    release: String,
    /// In the order in which they were verified.
    verified: Vec<String>,
    /// Each with its role, share, and how many instances are wanted and ready.
    revisions: BTreeSet<String>,
    /// What the proxy itself has: revisions with shares and numbers of endpoints.
    table: BTreeSet<String>,
    confirmed: bool,
    trouble: Vec<String>,
    /// How many processes of each kind run.
    processes: BTreeMap<String, usize>,
    /// Revisions that have folders with instances.
    folders: BTreeSet<String>,
    /// What is in the folder of each build.
    builds: Vec<BTreeSet<String>>,
}

impl Ending {
    /// What there is now. `releases` are the commits by the names they get here.
    pub(crate) fn of(sandbox: &Sandbox, releases: &[(&str, String)]) -> Self {
        let home = sandbox.home();
        let status = sandbox.status();
        let name = |version: &Value| {
            let version = version.as_str().unwrap_or("none");
            let known = releases.iter().find(|(_, commit)| commit.starts_with(version));
            known.map_or(version, |(name, _)| *name).to_owned()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let verified = all(&status["verified"]);
        let serving = verified.iter().find(|one| one["release"] == status["release"]);
        let revisions: Vec<Value> = all(&status["components"])
            .iter()
            .flat_map(|component| all(&component["revisions"]))
            .collect();
        let stage = &status["deployment"]["stage"];
        Self {
            outcome: if stage.is_null() {
                format!("{} {}", status["latest"]["deployment"], text(&status["latest"]["outcome"]))
            } else {
                text(stage)
            },
            release: serving.map_or("none".to_owned(), |serving| name(&serving["version"])),
            verified: verified.iter().map(|verified| name(&verified["version"])).collect(),
            revisions: revisions
                .iter()
                .map(|revision| {
                    format!(
                        "{} {} share {} wanted {} ready {} running {}",
                        text(&revision["id"]),
                        text(&revision["role"]),
                        revision["share"],
                        revision["wanted"],
                        revision["ready"],
                        all(&revision["instances"]).len()
                    )
                })
                .collect(),
            table: table(&home),
            confirmed: status["confirmed"] == true,
            trouble: all(&status["trouble"]).iter().map(text).collect(),
            processes: processes(sandbox),
            folders: names(&home.join("instances/shop/production")),
            builds: builds(&home),
        }
    }
}

/// The shares that the proxy follows, asked of itself.
pub(crate) fn table(home: &Path) -> BTreeSet<String> {
    let ask = || -> std::io::Result<Value> {
        let mut socket = UnixStream::connect(home.join("proxy/control.sock"))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(b"\"tables\"\n")?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    let tables = match ask() {
        Ok(tables) => tables,
        Err(error) => return BTreeSet::from([error.to_string()]),
    };
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    all(&tables["tables"])
        .iter()
        .flat_map(|served| all(&served["table"]["routes"]))
        .flat_map(|route| all(&route["backends"]))
        .map(|backend| {
            format!(
                "{} {} share {} endpoints {}",
                backend["revision"],
                backend["role"],
                backend["share"],
                all(&backend["upstream"]["endpoints"]).len()
            )
        })
        .collect()
}

/// Processes by what they are. An app whose shim was killed counts as one that has it.
fn processes(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut count = |what: String| *found.entry(what).or_insert(0) += 1;
    for pid in sandbox.processes() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split('\0');
        let program = words.next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        match (program, words.next()) {
            ("tidegate", Some("--home")) => count("control plane".to_owned()),
            ("tidegate", Some(what)) => count(what.to_owned()),
            ("tidegate-testapp", _) => {
                let version = words.find(|word| word.starts_with("version="));
                count(format!("app {}", version.unwrap_or_default()));
            }
            _ => count(line.replace('\0', " ")),
        }
    }
    let home = sandbox.home();
    let orphans = names(&home.join("instances/shop/production"))
        .iter()
        .flat_map(|revision| instances(&home, revision))
        .filter(|instance| instance.app.is_some_and(runs) && !runs(instance.shim))
        .count();
    if orphans > 0 {
        *found.entry("shim".to_owned()).or_insert(0) += orphans;
    }
    found
}

/// What the builds of a home left: the names in the folder of each. A lock that was left counts.
fn builds(home: &Path) -> Vec<BTreeSet<String>> {
    let entries = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let projects = names(&home.join("builds"));
    let all = projects.iter().map(|project| home.join("builds").join(project));
    let mut found: Vec<_> = all
        .flat_map(|folder| entries(&folder).into_iter().map(move |name| folder.join(name)))
        .map(
            |path| {
                if path.is_dir() { entries(&path) } else { BTreeSet::from(["a lock".to_owned()]) }
            },
        )
        .collect();
    found.sort();
    found
}

/// The folders in a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
