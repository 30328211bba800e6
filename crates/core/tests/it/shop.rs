//! Releases as a project has them, and the plans that are really compiled for them.

use std::{collections::BTreeMap, fmt::Write as _};

use tidegate_core::Environment;
use tidegate_manifest::{FILE_NAME, Manifest};
use tidegate_plan::{Current, Request, Running, compile};
use tidegate_types::{
    Artifact, ComponentName, DeploymentId, DeploymentKind, Digest, Plan, Release, ReleaseId,
    RevisionId, Timestamp,
};

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Service,
    Worker,
    Site,
}

/// One component of a release.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub name: &'static str,
    pub kind: Kind,
    pub replicas: u32,
    /// As the manifest has it.
    pub strategy: String,
    /// Another number is another artifact.
    pub content: u32,
    pub path: &'static str,
}

/// A release with its manifest.
#[derive(Debug, Clone)]
pub(crate) struct Shipment {
    pub number: u32,
    pub pieces: Vec<Piece>,
    /// As the manifest has it: `[error_rate > 5%]`.
    pub guards: String,
    pub without_evidence: &'static str,
    pub port: u16,
}

impl Shipment {
    fn text(&self) -> String {
        let mut text = "project: shop\ncomponents:\n".to_owned();
        for Piece { name, kind, replicas, strategy, path, .. } in &self.pieces {
            let runs = match kind {
                Kind::Service => {
                    format!("command: ./run, port: auto, replicas: {replicas}, route: {path}")
                }
                Kind::Worker => format!("command: ./work, replicas: {replicas}"),
                Kind::Site => format!("static: {{}}, route: {path}"),
            };
            let _ = writeln!(text, "  {name}: {{ {runs}, strategy: {strategy} }}");
        }
        let _ = writeln!(
            text,
            "environments:\n  production:\n    listen: 127.0.0.1:{}\n    rollback: {{ when: {}, \
             without_evidence: {} }}",
            self.port, self.guards, self.without_evidence
        );
        text
    }

    /// The plan for what is there now.
    pub(crate) fn plan(
        &self,
        environment: &Environment,
        deployment: DeploymentId,
        kind: DeploymentKind,
    ) -> Plan {
        let text = self.text();
        let manifest: Manifest = tidegate_manifest::read(&text, FILE_NAME)
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
            .manifest;
        let artifact = |piece: &Piece| Artifact {
            digest: Digest::new(format!("sha256-{}-{}", piece.name, piece.content)),
            bytes: 1,
            files: 1,
        };
        let release = Release {
            id: ReleaseId::new(format!("r-{}", self.number)),
            project: "shop".parse().unwrap(),
            commit: "c0ffee".to_owned(),
            version: format!("v{}", self.number),
            subject: String::new(),
            dirty: false,
            built_at: Timestamp::default(),
            manifest: String::new(),
            artifacts: self
                .pieces
                .iter()
                .map(|piece| (piece.name.parse().unwrap(), artifact(piece)))
                .collect(),
        };
        compile(Request {
            deployment,
            kind,
            scope: &environment.scope,
            manifest: &manifest,
            release: &release,
            current: &current(environment),
        })
        .unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
    }
}

/// What is there, as the engine tells it to the plan.
fn current(environment: &Environment) -> Current {
    let spec = |revision: &RevisionId| {
        environment.revisions.get(revision).map(|wanted| (wanted.spec.clone(), wanted.replicas))
    };
    let running = |component: &tidegate_core::Component| Running {
        serving: component.serving.as_ref().and_then(|id| {
            let (spec, replicas) = spec(id)?;
            Some((id.clone(), spec, replicas))
        }),
        warm: component
            .warm
            .as_ref()
            .and_then(|warm| Some((warm.revision.clone(), spec(&warm.revision)?.0))),
    };
    let components: BTreeMap<ComponentName, Running> = environment
        .components
        .iter()
        .map(|(name, component)| (name.clone(), running(component)))
        .collect();
    components
}
