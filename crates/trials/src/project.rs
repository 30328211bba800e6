//! The manifest and the releases of a scenario.

use std::{collections::BTreeMap, fmt::Write as _};

use tidegate_manifest::Manifest;
use tidegate_types::{
    Artifact, ComponentName, Digest, ProjectName, Release, ReleaseId, RevisionSpec, Scope,
    Timestamp, WithoutEvidence,
};

use crate::scenario::{Kind, Scenario};
use tidegate_sim::world::Behaviour;

/// Where everything happens.
#[must_use]
pub fn scope() -> Scope {
    "shop/production".parse().unwrap_or_else(|_| unreachable!("a scope"))
}

/// The manifest of a release, or why there is none.
pub(crate) fn manifest(scenario: &Scenario, release: usize) -> Result<Manifest, String> {
    let text = text(scenario, release);
    tidegate_manifest::read(&text, "tidegate.yaml")
        .map(|read| read.manifest)
        .map_err(|problems| format!("{}\n{text}", problems.render(false)))
}

fn text(scenario: &Scenario, release: usize) -> String {
    let made = &scenario.releases[release];
    let mut text = "project: shop\ncomponents:\n".to_owned();
    let there = scenario.components.iter().filter(|part| !made.without.contains(&part.name));
    for (index, part) in there.clone().enumerate() {
        let replicas = made.replicas.unwrap_or(part.replicas).max(1);
        let name = &part.name;
        let path = if index == 0 { "/".to_owned() } else { format!("/{name}") };
        let health = "interval: 500ms, timeout: 500ms, deadline: 5s";
        let stop = "stop: { drain: 2s, timeout: 2s }";
        let _ = match part.kind {
            Kind::Service => writeln!(
                text,
                "  {name}:\n    command: run\n    port: auto\n    route: {path}\n    replicas: \
                 {replicas}\n    health: {{ path: /health, {health} }}\n    {stop}",
            ),
            Kind::Worker => writeln!(
                text,
                "  {name}:\n    command: run\n    replicas: {replicas}\n    health: {{ running: \
                 300ms, {health} }}\n    {stop}",
            ),
            Kind::Site => writeln!(text, "  {name}:\n    static: true\n    route: {path}"),
        };
        let _ = writeln!(text, "    strategy: {}", part.strategy);
    }
    let lack = match scenario.without_evidence {
        WithoutEvidence::Hold => "hold",
        WithoutEvidence::Proceed => "proceed",
        WithoutEvidence::RollBack => "roll_back",
    };
    let guards: Vec<String> = scenario
        .guards
        .iter()
        .map(|(condition, least)| {
            let least = (*least > 0).then(|| format!(", min_requests: {least}"));
            format!("{{ condition: \"{condition}\"{} }}", least.unwrap_or_default())
        })
        .collect();
    let _ = writeln!(
        text,
        "environments:\n  production:\n    rollback:\n      without_evidence: {lack}\n      when: [{}]",
        guards.join(", ")
    );
    text
}

/// The release in which the present state of a component came.
fn origin(scenario: &Scenario, release: usize, component: &str) -> usize {
    (0..=release)
        .rev()
        .find(|index| scenario.releases[*index].changes.contains_key(component))
        .unwrap_or(0)
}

/// What the release with this place in the list brings.
pub(crate) fn artifact(release: usize) -> Digest {
    Digest::new(format!("sha256-{release}"))
}

/// A release as it is built.
pub(crate) fn release(scenario: &Scenario, index: usize) -> Release {
    let artifacts: BTreeMap<ComponentName, Artifact> = scenario
        .components
        .iter()
        .filter_map(|part| {
            let from = origin(scenario, index, &part.name);
            let digest = artifact(from);
            Some((part.name.parse().ok()?, Artifact { digest, bytes: 1, files: 1 }))
        })
        .collect();
    Release {
        id: release_id(index),
        project: project(),
        commit: format!("{index:040}"),
        version: format!("v{index}"),
        subject: String::new(),
        dirty: false,
        built_at: Timestamp::default(),
        manifest: String::new(),
        artifacts,
    }
}

fn project() -> ProjectName {
    scope().project
}

/// The release with this place in the list.
#[must_use]
pub fn release_id(index: usize) -> ReleaseId {
    ReleaseId::new(format!("r-{index}"))
}

/// The place in the list of a release.
pub(crate) fn index_of(release: &ReleaseId) -> Option<usize> {
    release.as_str().strip_prefix("r-")?.parse().ok()
}

/// How a revision behaves, by the release that its artifact came with.
pub(crate) fn behaviour(scenario: &Scenario, spec: &RevisionSpec) -> Behaviour {
    let from = spec.artifact.as_str().strip_prefix("sha256-").and_then(|from| from.parse().ok());
    from.and_then(|from: usize| scenario.releases.get(from))
        .and_then(|made| made.changes.get(spec.component.as_str()))
        .cloned()
        .unwrap_or_default()
}
