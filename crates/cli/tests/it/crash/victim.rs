//! Who is killed.

use std::{fs, path::Path};

use serde_json::Value;

use crate::sandbox::{Sandbox, kill, runs, wait_until};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    ControlPlane,
    /// … and once more while it comes back.
    ControlPlaneTwice,
    Proxy,
    /// Of an instance of what serves before.
    StableShim,
    /// Of an instance of what comes.
    CandidateShim,
    /// Everything at once, as when a machine loses its power.
    Machine,
}

pub(crate) const VICTIMS: [Victim; 6] = [
    Victim::ControlPlane,
    Victim::ControlPlaneTwice,
    Victim::Proxy,
    Victim::StableShim,
    Victim::CandidateShim,
    Victim::Machine,
];

/// The revision that serves before the deployment, and the one that it brings.
pub(crate) const STABLE: &str = "api@1";
pub(crate) const CANDIDATE: &str = "api@2";

impl Victim {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control plane",
            Self::ControlPlaneTwice => "control plane, twice",
            Self::Proxy => "proxy",
            Self::StableShim => "shim of the stable",
            Self::CandidateShim => "shim of the candidate",
            Self::Machine => "everything",
        }
    }

    /// Whether it comes back only when a person starts it.
    pub(crate) const fn takes_the_control_plane(self) -> bool {
        matches!(self, Self::ControlPlane | Self::ControlPlaneTwice | Self::Machine)
    }

    /// How often it may be killed in one deployment that shall end as if it never had been: every
    /// instance that dies with its machine counts as one that died, and three are a breach.
    pub(crate) const fn kills_in_a_round(self) -> usize {
        match self {
            Self::Machine => 1,
            _ => usize::MAX,
        }
    }

    /// A process that would be killed now.
    pub(crate) fn find(self, home: &Path) -> Option<u32> {
        match self {
            Self::ControlPlane | Self::ControlPlaneTwice | Self::Machine => control_plane(home),
            Self::Proxy => pid_in(&home.join("proxy/proxy.lock")),
            Self::StableShim => shims(home, STABLE).first().copied(),
            Self::CandidateShim => shims(home, CANDIDATE).first().copied(),
        }
        .filter(|pid| runs(*pid))
    }
}

/// The process that has the store.
pub(crate) fn control_plane(home: &Path) -> Option<u32> {
    pid_in(&home.join("tidegate.db.lock"))
}

fn pid_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// The process that a shim wrote down.
pub(crate) fn pid_of(path: &Path) -> Option<u32> {
    let identity: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    identity["pid"].as_u64()?.try_into().ok()
}

/// What is known of an instance's processes.
pub(crate) struct Instance {
    pub(crate) shim: u32,
    pub(crate) app: Option<u32>,
}

/// The instances of a revision that were ever started and have a folder.
pub(crate) fn instances(home: &Path, revision: &str) -> Vec<Instance> {
    let folder = home.join("instances/shop/production").join(revision);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let folder = entry.path();
        Some(Instance {
            shim: pid_of(&folder.join("claim"))?,
            app: pid_of(&folder.join("job.json")),
        })
    });
    found.collect()
}

/// Shims that run and whose instance does.
fn shims(home: &Path, revision: &str) -> Vec<u32> {
    let alive = instances(home, revision)
        .into_iter()
        .filter(|instance| runs(instance.shim) && instance.app.is_some_and(runs));
    alive.map(|instance| instance.shim).collect()
}

/// Ends all that has to do with the sandbox, the control plane first, and returns when it is gone.
pub(crate) fn lose_power(sandbox: &Sandbox) {
    if let Some(pid) = control_plane(&sandbox.home()) {
        kill(pid);
    }
    wait_until("nothing of the sandbox runs", || {
        let left = sandbox.processes();
        left.iter().copied().for_each(kill);
        left.is_empty()
    });
}
