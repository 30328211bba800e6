//! What is asked, and the real plan that answers it.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_core::{Environment, Outcome};
use tidegate_manifest::{Component, Manifest, Workload};
use tidegate_plan::{Request, compile};
use tidegate_types::{
    Artifact, ComponentName, DeploymentId, DeploymentKind, Digest, Duration, EnvironmentName, Plan,
    Release, ReleaseId, RevisionId, RevisionSpec, Scope, Step, Timestamp,
};

use super::{Fault, Rate, fault::Needs, life};
use crate::world::{Behaviour, P95_OF_MEDIAN};

/// What is to be forecast.
#[derive(Debug, Clone)]
pub struct Question {
    /// Of the project.
    pub manifest: Manifest,
    /// Where the new version goes.
    pub environment: EnvironmentName,
    /// The component whose new version is bad; the first that takes requests when absent.
    pub component: Option<ComponentName>,
    /// Requests to each component that takes some.
    pub rate: Rate,
    /// The share of requests that fail without any fault, 0 to 1.
    pub errors: f64,
    /// The 95th percentile of the latency without any fault.
    pub p95: Duration,
    /// How often each fault is run.
    pub runs: u32,
    /// The same gives the same.
    pub seed: u64,
    /// Which faults; `healthy` is always run as well.
    pub faults: Vec<Fault>,
}

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The plan cannot be made.
    #[error("the plan cannot be made: {0}")]
    Plan(String),
    /// There is no such component.
    #[error("there is no component `{asked}`; there are {known}")]
    NoComponent {
        /// The one that was asked for.
        asked: ComponentName,
        /// Those that are there.
        known: String,
    },
    /// The fault cannot show in the component.
    #[error("`{fault}` cannot show in `{component}`: {why}")]
    NoSuchFault {
        /// The fault.
        fault: Fault,
        /// The component.
        component: ComponentName,
        /// Why not.
        why: &'static str,
    },
}

/// The release that serves.
const OLD: DeploymentId = DeploymentId(1);
/// The one that comes.
pub(crate) const NEW: DeploymentId = DeploymentId(2);

/// A question with its plan: all that the runs have in common.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The environment with the old release in place.
    pub(crate) before: Environment,
    pub(crate) plan: Plan,
    pub(crate) component: ComponentName,
    pub(crate) rate: f64,
    pub(crate) usual: Behaviour,
    /// Whether a guard looks at latencies.
    pub(crate) latencies: bool,
    pub(crate) pace: Pace,
    pub(crate) seed: u64,
}

/// How often is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Pace {
    /// Milliseconds between two looks; none when no guard counts requests.
    pub(crate) every: Option<u64>,
    /// A bake that is held so much longer for evidence is held for good.
    pub(crate) patience: u64,
    /// All bakes together.
    pub(crate) watched: u64,
}

/// As often as the engine looks.
#[expect(clippy::cast_possible_truncation, reason = "half a second")]
pub(crate) const FINEST: u64 = tidegate_engine::SAMPLING_PERIOD.as_millis() as u64;
/// A plan that takes no more of the finest looks is not looked at more coarsely.
const FEW_LOOKS: u64 = 1_200;
/// A plan of many hours is looked at so often all in all, as far as its guards allow.
const MANY_LOOKS: u64 = 4_000;
const COARSEST: u64 = 5_000;
/// What did not come in so many windows does not come.
const WINDOWS: u64 = 10;
const LEAST_PATIENCE: u64 = 60_000;

impl Pace {
    fn of(plan: &Plan) -> Self {
        let bakes = plan.rollouts.iter().flat_map(|rollout| &rollout.steps).filter_map(|step| {
            let Step::Bake { time } = step else { return None };
            Some(time.as_millis()).filter(|time| *time > 0)
        });
        let watched = bakes.clone().fold(0, u64::saturating_add);
        let windows = plan
            .rollouts
            .iter()
            .flat_map(|rollout| &rollout.guards)
            .filter_map(|guard| Some(guard.condition.window()?.as_millis()));
        let longest = windows.clone().max().unwrap_or(0);
        let every = windows.clone().min().map(|window| {
            if watched / FINEST <= FEW_LOOKS {
                return FINEST;
            }
            let smallest = bakes.min().map_or(window, |bake| bake.min(window));
            let fine = (smallest / 20).clamp(FINEST, COARSEST);
            let coarse = fine.max(watched / MANY_LOOKS).min((window / 8).max(FINEST));
            coarse / FINEST * FINEST
        });
        Self { every, patience: longest.saturating_mul(WINDOWS).max(LEAST_PATIENCE), watched }
    }
}

impl Subject {
    pub(crate) fn new(question: &Question) -> Result<Self, Error> {
        let component = question.component()?;
        let scope = Scope {
            project: question.manifest.project.clone(),
            environment: question.environment.clone(),
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let p95 = question.p95.as_millis() as f64 * 1_000.0;
        let usual = Behaviour {
            errors: question.errors,
            latency: p95 / P95_OF_MEDIAN,
            ..Behaviour::default()
        };
        let make = |deployment: DeploymentId, current: &tidegate_plan::Current| {
            compile(Request {
                deployment,
                kind: DeploymentKind::Deploy,
                scope: &scope,
                manifest: &question.manifest,
                release: &release(&question.manifest, deployment),
                current,
            })
            .map_err(|errors| {
                let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Error::Plan(sentences.join("; "))
            })
        };
        let mut first = make(OLD, &BTreeMap::new())?;
        for rollout in &mut first.rollouts {
            // What serves has proved itself long ago.
            rollout.steps.retain(|step| !matches!(step, Step::Bake { .. }));
        }
        let before = life::first(Environment::new(scope.clone()), first, &usual);
        if before.latest.as_ref().is_none_or(|ended| ended.outcome != Outcome::Succeeded) {
            return Err(Error::Plan("the release that shall serve before cannot start".to_owned()));
        }
        let plan = make(NEW, &tidegate_engine::current(&before))?;
        let mut guards = plan.rollouts.iter().flat_map(|rollout| &rollout.guards);
        let latencies = guards
            .any(|guard| matches!(guard.condition, tidegate_types::Condition::Latency { .. }));
        let pace = Pace::of(&plan);
        Ok(Self {
            before,
            plan,
            component: component.name.clone(),
            rate: question.rate.per_second(),
            usual,
            latencies,
            pace,
            seed: question.seed,
        })
    }

    /// How a revision behaves when the new version of the component has this fault.
    pub(crate) fn behaviour(&self, spec: &RevisionSpec, fault: Fault) -> Behaviour {
        if spec.component == self.component && spec.release == release_id(NEW) {
            fault.behaviour(&self.usual)
        } else {
            self.usual.clone()
        }
    }

    pub(crate) fn candidate(&self) -> RevisionId {
        RevisionId::of(&self.component, NEW)
    }

    pub(crate) fn stable(&self) -> RevisionId {
        RevisionId::of(&self.component, OLD)
    }
}

impl Question {
    /// The component whose new version is bad.
    pub(crate) fn component(&self) -> Result<&Component, Error> {
        let components = &self.manifest.components;
        let Some(asked) = &self.component else {
            let routed = components.iter().find(|component| component.route.is_some());
            return routed
                .or(components.first())
                .ok_or_else(|| Error::Plan("the manifest has no component".to_owned()));
        };
        components.iter().find(|component| component.name == *asked).ok_or_else(|| {
            let known: Vec<&str> =
                components.iter().map(|component| component.name.as_str()).collect();
            Error::NoComponent { asked: asked.clone(), known: known.join(", ") }
        })
    }

    /// The faults that are run: those that were asked for, or all that can show in the component.
    pub(crate) fn faults(&self) -> Result<Vec<Fault>, Error> {
        let component = self.component()?;
        let cannot = |fault: Fault| match (fault.needs(), &component.workload, &component.route) {
            (Needs::Instances, Workload::Static { .. }, _) => {
                Some("a static site has no instances")
            }
            (Needs::Requests, _, None) => Some("it has no route, and so no requests"),
            _ => None,
        };
        for fault in &self.faults {
            if let Some(why) = cannot(*fault) {
                let component = component.name.clone();
                return Err(Error::NoSuchFault { fault: *fault, component, why });
            }
        }
        Ok(Fault::ALL
            .into_iter()
            .filter(|fault| {
                let asked = self.faults.is_empty() || self.faults.contains(fault);
                *fault == Fault::Healthy || (asked && cannot(*fault).is_none())
            })
            .collect())
    }
}

fn release_id(deployment: DeploymentId) -> ReleaseId {
    ReleaseId::new(format!("r-{deployment}"))
}

/// A release of which every component differs from those of any other.
pub(crate) fn release(manifest: &Manifest, deployment: DeploymentId) -> Release {
    let artifact = |component: &Component| Artifact {
        digest: Digest::new(format!("sha256-{}-{deployment}", component.name)),
        bytes: 0,
        files: 0,
    };
    Release {
        id: release_id(deployment),
        project: manifest.project.clone(),
        commit: format!("{deployment:0>40}"),
        version: if deployment == OLD { "old".to_owned() } else { "new".to_owned() },
        subject: String::new(),
        dirty: false,
        built_at: Timestamp::default(),
        manifest: String::new(),
        artifacts: manifest
            .components
            .iter()
            .map(|component| (component.name.clone(), artifact(component)))
            .collect(),
    }
}
