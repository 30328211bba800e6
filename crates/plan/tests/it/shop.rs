//! A project, its releases, and what runs of it.

use std::collections::BTreeMap;

use tidegate_manifest::{FILE_NAME, Manifest};
use tidegate_plan::{Current, Error, Request, compile};
use tidegate_types::{
    Artifact, ComponentName, DeploymentId, DeploymentKind, Digest, Plan, Release, ReleaseId,
    RevisionId, Scope, Timestamp,
};

/// Each kind of component: a worker, a site, a service, and one that runs alone.
pub(crate) const SHOP: &str = "
project: shop
components:
  worker: { command: ./worker, depends_on: [db] }
  web: { static: { single_page: true }, route: /, depends_on: [api] }
  api:
    command: ./api
    port: auto
    replicas: 2
    route: /api
    depends_on: [db]
    env: { GREETING: hello, API_KEY: { required: true } }
  db: { command: ./db, port: 5432, route: none, strategy: { recreate: { bake: 30s } } }
environments:
  staging: { env: { API_KEY: for-staging } }
  production:
    listen: 127.0.0.1:8080
    strategy: { canary: { steps: [10%, 100%], bake: 1m, keep: 1h } }
    env: { API_KEY: secret }
    replicas: { api: 4 }
    rollback: { when: [error_rate > 5% for 30s, restarts >= 3] }
";

/// What there is when a deployment is asked for.
pub(crate) struct Shop {
    pub(crate) manifest: Manifest,
    pub(crate) release: Release,
    pub(crate) current: Current,
    pub(crate) kind: DeploymentKind,
    pub(crate) scope: Scope,
    deployment: u64,
}

pub(crate) fn component(name: &str) -> ComponentName {
    name.parse().unwrap()
}

pub(crate) fn revision(text: &str) -> RevisionId {
    RevisionId::new(text)
}

pub(crate) fn manifest(text: &str) -> Manifest {
    tidegate_manifest::read(text, FILE_NAME)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .manifest
}

impl Shop {
    /// Nothing runs in `production`, and release 1 is built.
    pub(crate) fn new(text: &str) -> Self {
        let manifest = manifest(text);
        let artifacts = manifest
            .components
            .iter()
            .map(|component| (component.name.clone(), artifact(component.name.as_str(), 1)))
            .collect();
        Self {
            release: release(1, artifacts),
            manifest,
            current: Current::new(),
            kind: DeploymentKind::Deploy,
            scope: "shop/production".parse().unwrap(),
            deployment: 1,
        }
    }

    /// One service of two instances under this strategy.
    pub(crate) fn with_strategy(strategy: &str) -> Self {
        Self::new(&format!(
            "
project: shop
components: {{ api: {{ command: ./api, port: auto, replicas: 2, route: / }} }}
environments: {{ production: {{ strategy: {strategy} }} }}
"
        ))
    }

    /// Builds the next release, in which these components have changed.
    pub(crate) fn change(&mut self, number: u64, components: &[&str]) {
        let mut artifacts = self.release.artifacts.clone();
        for name in components {
            artifacts.insert(component(name), artifact(name, number));
        }
        self.release = release(number, artifacts);
    }

    /// Asks for this release again.
    pub(crate) fn roll_back_to(&mut self, earlier: &Release) {
        self.release = earlier.clone();
        self.kind = DeploymentKind::Rollback;
    }

    pub(crate) fn compile(&self) -> Result<Plan, Vec<Error>> {
        compile(Request {
            deployment: DeploymentId(self.deployment),
            kind: self.kind,
            scope: &self.scope,
            manifest: &self.manifest,
            release: &self.release,
            current: &self.current,
        })
    }

    pub(crate) fn plan(&self) -> Plan {
        self.compile().unwrap()
    }

    /// Takes the plan and has it succeed.
    pub(crate) fn deploy(&mut self) {
        for rollout in self.plan().rollouts {
            let running = self.current.entry(rollout.component.clone()).or_default();
            let before = running.serving.take();
            if let Some(candidate) = rollout.candidate {
                let replicas = candidate.spec.replicas;
                running.serving = Some((candidate.id, candidate.spec, replicas));
            }
            if !rollout.keep.is_zero() {
                running.warm = before.map(|(id, spec, _)| (id, spec));
            }
        }
        self.deployment += 1;
    }
}

fn artifact(name: &str, number: u64) -> Artifact {
    Artifact { digest: Digest::new(format!("sha256-{name}-{number}")), bytes: 1, files: 1 }
}

fn release(number: u64, artifacts: BTreeMap<ComponentName, Artifact>) -> Release {
    Release {
        id: ReleaseId::new(format!("r-{number}")),
        project: "shop".parse().unwrap(),
        commit: format!("{number:040}"),
        version: format!("v{number}"),
        subject: "Sell more".to_owned(),
        dirty: false,
        built_at: Timestamp::from_millis(0),
        manifest: String::new(),
        artifacts,
    }
}
