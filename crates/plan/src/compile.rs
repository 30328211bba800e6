//! The plan of one deployment.

use std::collections::BTreeMap;

use tidegate_manifest::{Component, Environment, Manifest, Strategy, Workload};
use tidegate_types::{
    ComponentName, DeploymentId, DeploymentKind, Duration, EnvironmentName, Guard, Plan,
    PlannedRevision, ProcessSpec, Release, RevisionId, RevisionSpec, Rollout, Scope, Share,
    StaticSpec, Step, WithoutEvidence,
};

use crate::{
    order::by_dependency,
    strategy::{self, Situation},
};

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The number of the deployment.
    pub deployment: DeploymentId,
    /// Why there is one.
    pub kind: DeploymentKind,
    /// Where it goes.
    pub scope: &'a Scope,
    /// The manifest of the release's own commit.
    pub manifest: &'a Manifest,
    /// What goes there.
    pub release: &'a Release,
    /// What is there.
    pub current: &'a Current,
}

/// What is there before the deployment.
pub type Current = BTreeMap<ComponentName, Running>;

/// What is there of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// What serves, and its number of instances.
    pub serving: Option<(RevisionId, RevisionSpec, u32)>,
    /// What is kept warm.
    pub warm: Option<(RevisionId, RevisionSpec)>,
}

/// Why there is no plan. All that is wrong at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The release's manifest has no such environment.
    #[error("the manifest of this release has no environment `{environment}`; it has {known}")]
    NoEnvironment {
        /// The one that was asked for.
        environment: EnvironmentName,
        /// The ones it has.
        known: String,
    },
    /// Variables are missing or wrong.
    #[error("{} cannot be used: {}", .component, .problems.join("; "))]
    Variables {
        /// Of this component.
        component: ComponentName,
        /// Each a sentence.
        problems: Vec<String>,
    },
    /// The release was built without a component that its manifest names.
    #[error(
        "release {release} has no artifact for `{component}`; deploy its commit again to build it"
    )]
    NoArtifact {
        /// The release.
        release: String,
        /// The component.
        component: ComponentName,
    },
}

/// Makes the plan.
pub fn compile(request: Request<'_>) -> Result<Plan, Vec<Error>> {
    let name = &request.scope.environment;
    let Some(environment) =
        request.manifest.environments.iter().find(|environment| environment.name == *name)
    else {
        let known: Vec<&str> =
            request.manifest.environments.iter().map(|known| known.name.as_str()).collect();
        return Err(vec![Error::NoEnvironment {
            environment: name.clone(),
            known: known.join(", "),
        }]);
    };
    let mut errors = Vec::new();
    let mut rollouts = Vec::new();
    let mut unchanged = Vec::new();
    for component in by_dependency(&request.manifest.components) {
        match spec(request, component, environment) {
            Ok(spec) => match rollout(request, component, environment, spec) {
                Some(rollout) => rollouts.push(rollout),
                None => unchanged.push(component.name.clone()),
            },
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    rollouts.extend(removed(request, environment));
    Ok(Plan {
        deployment: request.deployment,
        scope: request.scope.clone(),
        kind: request.kind,
        release: request.release.id.clone(),
        version: request.release.version.clone(),
        gateway: environment.gateway.clone(),
        rollouts,
        unchanged,
    })
}

/// What the component shall run here.
fn spec(
    request: Request<'_>,
    component: &Component,
    environment: &Environment,
) -> Result<RevisionSpec, Error> {
    let artifact =
        request.release.artifacts.get(&component.name).ok_or_else(|| Error::NoArtifact {
            release: request.release.id.to_string(),
            component: component.name.clone(),
        })?;
    let variables = tidegate_manifest::resolve(component, environment).map_err(|problems| {
        Error::Variables {
            component: component.name.clone(),
            problems: problems.iter().map(ToString::to_string).collect(),
        }
    })?;
    let workload = match &component.workload {
        Workload::Static { single_page, keep_assets } => {
            let (single_page, keep_assets) = (*single_page, *keep_assets);
            tidegate_types::Workload::Static(StaticSpec { single_page, keep_assets })
        }
        Workload::Process { command, fixed_port, listens, health, stop, log } => {
            tidegate_types::Workload::Process(ProcessSpec {
                command: command.clone(),
                fixed_port: *fixed_port,
                listens: *listens,
                environment: variables,
                health: health.clone(),
                stop: stop.clone(),
                log: log.clone(),
            })
        }
    };
    let replicas = match &component.workload {
        Workload::Static { .. } => 0,
        Workload::Process { .. } => {
            environment.replicas.get(&component.name).copied().unwrap_or(component.replicas)
        }
    };
    Ok(RevisionSpec {
        component: component.name.clone(),
        release: request.release.id.clone(),
        version: request.release.version.clone(),
        artifact: artifact.digest.clone(),
        replicas,
        workload,
        route: component.route.clone(),
    })
}

/// The way from what serves to `spec`; none when it serves already.
fn rollout(
    request: Request<'_>,
    component: &Component,
    environment: &Environment,
    spec: RevisionSpec,
) -> Option<Rollout> {
    let nothing = Running::default();
    let running = request.current.get(&component.name).unwrap_or(&nothing);
    let chosen = component.strategy.as_ref().unwrap_or(&environment.strategy);
    let routed = spec.route.is_some();
    let replicas = spec.replicas;
    let guards = guards(environment, routed);
    let without_evidence = environment.rollback.without_evidence;
    if let Some((serving, served, instances)) = &running.serving
        && served.runs_the_same_as(&spec)
    {
        return (*instances != replicas).then(|| Rollout {
            component: component.name.clone(),
            stable: Some(serving.clone()),
            stable_replicas: *instances,
            candidate: Some(PlannedRevision { id: serving.clone(), spec, warm: true }),
            exclusive: false,
            steps: vec![Step::Scale { instances: replicas }],
            guards,
            without_evidence,
            keep: Duration::ZERO,
        });
    }
    let warm = running.warm.as_ref().filter(|(_, kept)| kept.runs_the_same_as(&spec));
    let stable = running.serving.as_ref();
    let situation =
        Situation { replicas, stable: stable.map(|(_, _, instances)| *instances), routed };
    // A person who rolls back wants the old release now: all of it at once, and still watched.
    let hurried = Strategy::BlueGreen {
        canary: None,
        bake: strategy::last_bake(chosen),
        keep: strategy::keep(chosen),
    };
    let exclusive = stable.is_some() && matches!(chosen, Strategy::Recreate { .. });
    let chosen = match request.kind {
        DeploymentKind::Rollback if !exclusive => &hurried,
        DeploymentKind::Rollback | DeploymentKind::Deploy => chosen,
    };
    let id = warm.map_or_else(
        || RevisionId::of(&component.name, request.deployment),
        |(revision, _)| revision.clone(),
    );
    Some(Rollout {
        component: component.name.clone(),
        stable: stable.map(|(revision, _, _)| revision.clone()),
        stable_replicas: situation.stable.unwrap_or(0),
        candidate: Some(PlannedRevision { id, spec, warm: warm.is_some() }),
        exclusive,
        steps: strategy::steps(chosen, situation),
        guards,
        // The first release has nothing to go back to, and often no visitors yet: to wait for them
        // would keep it from ever being there.
        without_evidence: if stable.is_some() {
            without_evidence
        } else {
            WithoutEvidence::Proceed
        },
        // A worker that is kept warm would go on working.
        keep: if routed { strategy::keep(chosen) } else { Duration::ZERO },
    })
}

/// The environment's guards, without those on traffic where there is none.
fn guards(environment: &Environment, routed: bool) -> Vec<Guard> {
    let applies = |guard: &&Guard| routed || guard.condition.window().is_none();
    environment.rollback.when.iter().filter(applies).cloned().collect()
}

/// Components that run and that the manifest no longer names, the last to depend first.
fn removed(request: Request<'_>, environment: &Environment) -> Vec<Rollout> {
    let named = |name: &ComponentName| {
        request.manifest.components.iter().any(|component| component.name == *name)
    };
    let mut rollouts: Vec<Rollout> = request
        .current
        .iter()
        .filter(|(name, _)| !named(name))
        .filter_map(|(name, running)| {
            let (stable, spec, instances) = running.serving.as_ref()?;
            let shift = spec.route.is_some().then_some(Step::Shift { share: Share::ALL });
            Some(Rollout {
                component: name.clone(),
                stable: Some(stable.clone()),
                stable_replicas: *instances,
                candidate: None,
                exclusive: false,
                steps: shift.into_iter().collect(),
                guards: Vec::new(),
                without_evidence: environment.rollback.without_evidence,
                keep: Duration::ZERO,
            })
        })
        .collect();
    rollouts.reverse();
    rollouts
}
