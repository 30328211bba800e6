//! An environment as people and programs see it.

use serde::{Deserialize, Serialize};
use tidegate_core::{Ended, Environment, Place, Seen, Stage, Verified, Waiting};
use tidegate_types::{
    ComponentName, DeploymentId, DeploymentKind, Epoch, GuardReading, InstanceFacts,
    InstanceFailure, Maintenance, ReleaseId, RevisionId, Scope, Share, Step, Timestamp,
    WantedRevision,
};

use crate::evidence::Samples;

/// Everything that is known about one environment, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentView {
    /// Which one.
    pub scope: Scope,
    /// When this was seen.
    pub at: Timestamp,
    /// Where it is reached, as `127.0.0.1:8080`; none before the first route table.
    pub address: Option<String>,
    /// It is reached by HTTPS.
    #[serde(default)]
    pub secure: bool,
    /// No request is let in, as a person said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Of the route table that is wanted.
    pub epoch: Epoch,
    /// Whether the data plane follows it.
    pub confirmed: bool,
    /// What there is.
    pub components: Vec<ComponentView>,
    /// The deployment under way.
    pub deployment: Option<DeploymentView>,
    /// How the latest one ended.
    pub latest: Option<Ended>,
    /// The release that serves.
    pub release: Option<ReleaseId>,
    /// Releases that can be rolled back to, in the order in which they were first verified.
    pub verified: Vec<Verified>,
    /// What does not work at the moment, each as a sentence.
    pub trouble: Vec<String>,
}

impl EnvironmentView {
    /// Where it is reached, as `https://127.0.0.1:8443`; none before the first route table.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let scheme = if self.secure { "https" } else { "http" };
        self.address.as_ref().map(|address| format!("{scheme}://{address}"))
    }
}

/// One component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentView {
    /// Its name.
    pub name: ComponentName,
    /// Its revisions: what serves, the candidate, what is warm.
    pub revisions: Vec<RevisionView>,
}

/// One revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionView {
    /// Which one.
    pub id: RevisionId,
    /// Of this release.
    pub release: ReleaseId,
    /// What people call that.
    pub version: String,
    /// `stable`, `candidate` or `warm`.
    pub role: String,
    /// Its share of the traffic; none for a component that takes none.
    pub share: Option<Share>,
    /// How many instances shall run; 0 for a static site.
    pub wanted: u32,
    /// How many are fit for traffic.
    pub ready: u32,
    /// Exits that nobody asked for.
    pub exits: u32,
    /// Its instances.
    pub instances: Vec<InstanceFacts>,
    /// The latest failure of one of them.
    pub failure: Option<InstanceFailure>,
    /// When it is stopped, if it is warm.
    pub warm_until: Option<Timestamp>,
    /// What it did in the last minute, while a deployment is under way.
    pub traffic: Option<TrafficView>,
}

/// What a revision did in the last minute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficView {
    /// How many requests.
    pub requests: u64,
    /// The share of them that failed, 0 to 1; none without requests.
    pub error_rate: Option<f64>,
    /// Latency in microseconds that half of them did not exceed.
    pub p50: Option<u64>,
    /// … that 95 % did not exceed.
    pub p95: Option<u64>,
    /// … that 99 % did not exceed.
    pub p99: Option<u64>,
}

/// A deployment under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// Its number.
    pub id: DeploymentId,
    /// Why there is one.
    pub kind: DeploymentKind,
    /// Who asked for it.
    pub actor: String,
    /// When.
    pub requested_at: Timestamp,
    /// `preparing`, `rolling`, `paused` or `going back`.
    pub stage: String,
    /// The step under way; none before the plan is made and on the way back.
    #[serde(default)]
    pub place: Option<Place>,
    /// What goes in; none while it is being prepared.
    pub release: Option<ReleaseId>,
    /// What people call that.
    pub version: Option<String>,
    /// What happens to each component.
    pub rollouts: Vec<RolloutView>,
    /// Components that stay as they are.
    pub unchanged: Vec<ComponentName>,
    /// On what it waits.
    pub waiting: Option<Waiting>,
    /// Why it goes back, if it does.
    pub failure: Option<tidegate_core::Failure>,
    /// What the preparation says, while there is one.
    pub progress: Option<String>,
}

/// The rollout of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    /// The component.
    pub component: ComponentName,
    /// What served before.
    pub stable: Option<RevisionId>,
    /// What comes; none when the component goes.
    pub candidate: Option<RevisionId>,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// Its guards.
    pub guards: Vec<GuardView>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// What it does.
    pub step: Step,
    /// How far it is.
    pub state: StepState,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Behind.
    Done,
    /// Under way.
    Running,
    /// Ahead.
    Ahead,
    /// Not taken any more.
    Dropped,
}

/// One guard and what it says now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardView {
    /// As the user wrote it.
    pub guard: String,
    /// What it says; none before there was a look.
    pub reading: Option<GuardReading>,
}

pub(crate) struct Sources<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) seen: &'a Seen,
    pub(crate) samples: &'a Samples,
    pub(crate) trouble: Vec<String>,
    pub(crate) progress: Option<String>,
    pub(crate) now: Timestamp,
}

pub(crate) fn view(sources: Sources<'_>) -> EnvironmentView {
    let Sources { environment, seen, now, .. } = sources;
    let routes = &seen.observation.routes;
    EnvironmentView {
        scope: environment.scope.clone(),
        at: now,
        address: routes.address.clone(),
        secure: environment.gateway.tls.is_some(),
        maintenance: environment.maintenance.clone(),
        epoch: environment.epoch,
        confirmed: environment.epoch.0 == 0 || routes.epoch == Some(environment.epoch),
        components: components(&sources),
        deployment: deployment(&sources),
        latest: environment.latest.clone(),
        release: environment.release.clone(),
        verified: environment.verified.clone(),
        trouble: sources.trouble,
    }
}

fn components(sources: &Sources<'_>) -> Vec<ComponentView> {
    let environment = sources.environment;
    let mut names: Vec<&ComponentName> = environment.components.keys().collect();
    names.extend(environment.revisions.values().map(|revision| &revision.spec.component));
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| ComponentView {
            name: name.clone(),
            revisions: environment
                .revisions
                .values()
                .filter(|revision| &revision.spec.component == name)
                .map(|revision| revision_view(sources, name, revision))
                .collect(),
        })
        .collect()
}

fn revision_view(
    sources: &Sources<'_>,
    name: &ComponentName,
    revision: &WantedRevision,
) -> RevisionView {
    let Sources { environment, seen, samples, now, .. } = sources;
    let facts = seen.facts(&revision.id);
    let component = environment.components.get(name);
    let warm = component
        .and_then(|component| component.warm.as_ref())
        .filter(|warm| warm.revision == revision.id);
    let candidate = environment
        .deployment
        .as_ref()
        .and_then(|deployment| deployment.plan.as_ref())
        .is_some_and(|plan| {
            plan.rollouts.iter().any(|rollout| {
                rollout.stable.as_ref() != Some(&revision.id)
                    && rollout
                        .candidate
                        .as_ref()
                        .is_some_and(|candidate| candidate.id == revision.id)
            })
        });
    let role = match (warm, candidate) {
        (Some(_), _) => "warm",
        (None, true) => "candidate",
        (None, false) => "stable",
    };
    RevisionView {
        id: revision.id.clone(),
        release: revision.spec.release.clone(),
        version: revision.spec.version.clone(),
        role: role.to_owned(),
        share: revision.spec.route.is_some().then(|| environment.share(name, &revision.id)),
        wanted: revision.replicas,
        ready: facts.ready,
        exits: facts.exits,
        instances: facts.instances,
        failure: facts.failure,
        warm_until: warm.map(|warm| warm.until),
        traffic: samples.summary(&revision.id, *now).map(|summary| TrafficView {
            requests: summary.requests,
            error_rate: summary.error_rate,
            p50: summary.p50,
            p95: summary.p95,
            p99: summary.p99,
        }),
    }
}

fn deployment(sources: &Sources<'_>) -> Option<DeploymentView> {
    let deployment = sources.environment.deployment.as_ref()?;
    let plan = deployment.plan.as_ref();
    let rollouts = plan.map(|plan| plan.rollouts.as_slice()).unwrap_or_default();
    let rollouts = rollouts.iter().enumerate().map(|(index, rollout)| {
        let guards = rollout.guards.iter().enumerate().map(|(guard_index, guard)| GuardView {
            guard: guard.text.clone(),
            reading: sources
                .seen
                .readings
                .get(index)
                .and_then(|readings| readings.get(guard_index))
                .cloned(),
        });
        let steps = rollout.steps.iter().enumerate().map(|(step_index, step)| StepView {
            step: *step,
            state: match &deployment.stage {
                Stage::Rolling(position)
                    if (position.rollout, position.step) == (index, step_index) =>
                {
                    StepState::Running
                }
                Stage::Rolling(position)
                    if (position.rollout, position.step) > (index, step_index) =>
                {
                    StepState::Done
                }
                Stage::Rolling(_) | Stage::Preparing => StepState::Ahead,
                Stage::GoingBack { .. } => StepState::Dropped,
            },
        });
        RolloutView {
            component: rollout.component.clone(),
            stable: rollout.stable.clone(),
            candidate: rollout.candidate.as_ref().map(|candidate| candidate.id.clone()),
            steps: steps.collect(),
            guards: guards.collect(),
        }
    });
    let stage = match (&deployment.stage, &deployment.pause) {
        (Stage::Preparing, _) => "preparing",
        (Stage::Rolling(_), Some(_)) => "paused",
        (Stage::Rolling(_), None) => "rolling",
        (Stage::GoingBack { .. }, _) => "going back",
    };
    let failure = match &deployment.stage {
        Stage::GoingBack { failure, .. } => Some(failure.clone()),
        Stage::Preparing | Stage::Rolling(_) => None,
    };
    Some(DeploymentView {
        id: deployment.id,
        kind: deployment.kind,
        actor: deployment.actor.clone(),
        requested_at: deployment.requested_at,
        stage: stage.to_owned(),
        place: match &deployment.stage {
            Stage::Rolling(position) => Some(position.place()),
            Stage::Preparing | Stage::GoingBack { .. } => None,
        },
        release: plan.map(|plan| plan.release.clone()),
        version: plan.map(|plan| plan.version.clone()),
        rollouts: rollouts.collect(),
        unchanged: plan.map(|plan| plan.unchanged.clone()).unwrap_or_default(),
        waiting: tidegate_core::waiting(sources.environment, sources.seen),
        failure,
        progress: sources.progress.clone(),
    })
}
