//! One transition: state, input, what was seen and the time to the next state.

use tidegate_types::{
    ComponentName, DeploymentId, DeploymentKind, Gateway, GuardReading, Maintenance, Observation,
    Plan, RevisionFacts, RevisionId, Share, Timestamp,
};

use crate::{
    Deployment, Ended, Environment, Event, Failure, FailureCode, Outcome, Pause, Place, Position,
    Progress, Stage, back, forward,
};

/// What came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Something changed outside, or a time came: look.
    Look,
    /// A deployment is asked for.
    Request {
        /// Its number.
        deployment: DeploymentId,
        /// Why there is one.
        kind: DeploymentKind,
        /// Who asks.
        actor: String,
    },
    /// The release is there and the plan is made.
    Prepared(Plan),
    /// There is no release, or no plan.
    NotPrepared {
        /// The deployment that was being prepared.
        deployment: DeploymentId,
        /// Why.
        failure: Failure,
    },
    /// A person's word on whether requests are let in, whatever is under way.
    Maintain {
        /// What those who come are told; they are let in when absent.
        maintenance: Option<Maintenance>,
        /// Who.
        actor: String,
    },
    /// A person's word to a deployment.
    Command {
        /// What.
        command: Command,
        /// The deployment that was meant; refused when another one is under way.
        deployment: Option<DeploymentId>,
        /// The step that was meant; refused when another one is under way. A word that is said
        /// twice, because its answer was lost, must not act on the step after.
        place: Option<Place>,
        /// Who.
        actor: String,
    },
}

/// What a person can say to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Take no further step.
    Pause,
    /// Go on.
    Resume,
    /// End this bake now.
    Skip,
    /// Go back.
    Abort,
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// By the target, when it was last looked at.
    pub observation: Observation,
    /// Whether `observation` is of now. What was seen before and may have changed since finishes
    /// nothing and makes nothing late; what has failed has failed all the same.
    pub fresh: bool,
    /// By the guards: for each rollout that has begun, in the order of the plan, one reading for
    /// each of its guards. A missing rollout is one without evidence.
    pub readings: Vec<Vec<GuardReading>>,
}

impl Seen {
    /// What is known about a revision; nothing when the target does not know it.
    #[must_use]
    pub fn facts(&self, revision: &RevisionId) -> RevisionFacts {
        self.observation.revisions.get(revision).cloned().unwrap_or_default()
    }
}

/// What follows from an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The next state.
    pub environment: Environment,
    /// Why it is so, in order.
    pub events: Vec<Event>,
    /// When to look again at the latest; none when only something outside can change anything.
    pub wake_at: Option<Timestamp>,
}

/// An input that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Another deployment is under way.
    #[error("deployment {holder} of {actor} is under way in {scope}")]
    Busy {
        /// Its number.
        holder: DeploymentId,
        /// Who asked for it.
        actor: String,
        /// Where.
        scope: String,
    },
    /// No deployment is under way.
    #[error("no deployment is under way in {scope}")]
    Idle {
        /// Where.
        scope: String,
    },
    /// Another deployment than the one that was meant is under way.
    #[error("deployment {meant} is over; deployment {running} is under way now")]
    Stale {
        /// The one that was meant.
        meant: DeploymentId,
        /// The one that is under way.
        running: DeploymentId,
    },
    /// Another step than the one that was meant is under way.
    #[error("step {} of {component} is over", meant.step.saturating_add(1))]
    Passed {
        /// The one that was meant.
        meant: Place,
        /// The component of its rollout.
        component: String,
    },
    /// The command makes no sense at this moment.
    #[error("{why}")]
    Pointless {
        /// Why.
        why: String,
    },
}

/// The state in the middle of a transition.
pub(crate) struct Turn<'a> {
    /// As it was.
    before: &'a Environment,
    pub(crate) environment: Environment,
    pub(crate) events: Vec<Event>,
    pub(crate) seen: &'a Seen,
    pub(crate) now: Timestamp,
    rerouted: bool,
    renumbered: bool,
}

/// Follows `input` and then everything that what was `seen` allows.
pub fn step(
    environment: &Environment,
    input: &Input,
    seen: &Seen,
    now: Timestamp,
) -> Result<Decision, Rejected> {
    let mut turn = Turn {
        before: environment,
        environment: environment.clone(),
        events: Vec::new(),
        seen,
        now,
        rerouted: false,
        renumbered: false,
    };
    // First of all, so that what changes now has a number that counts.
    turn.catch_up();
    turn.take(input)?;
    while turn.advance() {}
    turn.retire_warm();
    turn.number_the_table();
    turn.number_the_revisions();
    let wake_at = turn.wake_at();
    Ok(Decision { environment: turn.environment, events: turn.events, wake_at })
}

impl Turn<'_> {
    fn take(&mut self, input: &Input) -> Result<(), Rejected> {
        match input {
            Input::Look => Ok(()),
            Input::Request { deployment, kind, actor } => self.request(*deployment, *kind, actor),
            Input::Prepared(plan) => {
                self.prepared(plan);
                Ok(())
            }
            Input::NotPrepared { deployment, failure } => {
                if self.is_preparing(*deployment) {
                    self.event(Event::Failed { failure: failure.clone() });
                    self.end(Outcome::Failed, Some(failure.clone()));
                }
                Ok(())
            }
            Input::Maintain { maintenance, actor } => {
                self.maintain(maintenance.as_ref(), actor);
                Ok(())
            }
            Input::Command { command, deployment, place, actor } => {
                self.command(*command, *deployment, *place, actor)
            }
        }
    }

    fn maintain(&mut self, maintenance: Option<&Maintenance>, actor: &str) {
        if self.environment.maintenance.as_ref() == maintenance {
            return;
        }
        self.environment.maintenance = maintenance.cloned();
        let actor = actor.to_owned();
        self.event(match maintenance {
            Some(Maintenance { message }) => {
                Event::MaintenanceBegan { actor, message: message.clone() }
            }
            None => Event::MaintenanceEnded { actor },
        });
    }

    fn request(
        &mut self,
        id: DeploymentId,
        kind: DeploymentKind,
        actor: &str,
    ) -> Result<(), Rejected> {
        if let Some(running) = &self.environment.deployment {
            if running.id == id {
                return Ok(());
            }
            return Err(Rejected::Busy {
                holder: running.id,
                actor: running.actor.clone(),
                scope: self.environment.scope.to_string(),
            });
        }
        // A request that comes once more, after its deployment has ended, begins nothing.
        if self.environment.latest.as_ref().is_some_and(|latest| latest.deployment == id) {
            return Ok(());
        }
        self.environment.deployment = Some(Deployment {
            id,
            kind,
            actor: actor.to_owned(),
            requested_at: self.now,
            plan: None,
            stage: Stage::Preparing,
            pause: None,
            progress: Vec::new(),
            gateway_before: self.environment.gateway.clone(),
            touched: false,
        });
        self.event(Event::Requested { kind, actor: actor.to_owned() });
        Ok(())
    }

    fn is_preparing(&self, id: DeploymentId) -> bool {
        self.environment
            .deployment
            .as_ref()
            .is_some_and(|deployment| deployment.id == id && deployment.stage == Stage::Preparing)
    }

    fn prepared(&mut self, plan: &Plan) {
        // A plan that comes late, for a deployment that was aborted meanwhile, changes nothing.
        if !self.is_preparing(plan.deployment) {
            return;
        }
        self.event(Event::Planned {
            release: plan.release.clone(),
            version: plan.version.clone(),
            components: plan.rollouts.iter().map(|rollout| rollout.component.clone()).collect(),
        });
        self.set_gateway(plan.gateway.clone());
        for rollout in &plan.rollouts {
            let component =
                self.environment.components.entry(rollout.component.clone()).or_default();
            // What is warm stays so until its successor has proved itself; the one that comes back
            // is the candidate now.
            let candidate = rollout.candidate.as_ref().map(|candidate| &candidate.id);
            if component.warm.as_ref().map(|warm| &warm.revision) == candidate {
                component.warm = None;
            }
        }
        let now = self.now;
        if let Some(deployment) = &mut self.environment.deployment {
            deployment.progress = vec![Progress::default(); plan.rollouts.len()];
            deployment.plan = Some(plan.clone());
            deployment.stage = Stage::Rolling(Position {
                rollout: 0,
                step: 0,
                since: now,
                entered: false,
                held: false,
            });
        }
    }

    fn command(
        &mut self,
        command: Command,
        meant: Option<DeploymentId>,
        place: Option<Place>,
        actor: &str,
    ) -> Result<(), Rejected> {
        let Some(deployment) = &mut self.environment.deployment else {
            return Err(Rejected::Idle { scope: self.environment.scope.to_string() });
        };
        if let Some(meant) = meant
            && meant != deployment.id
        {
            return Err(Rejected::Stale { meant, running: deployment.id });
        }
        if let (Some(meant), Stage::Rolling(position)) = (place, &deployment.stage)
            && meant != position.place()
        {
            let rollouts = deployment.plan.as_ref().map(|plan| plan.rollouts.as_slice());
            let rollout = rollouts.and_then(|rollouts| rollouts.get(meant.rollout));
            let component = rollout
                .map_or_else(|| "the plan".to_owned(), |rollout| rollout.component.to_string());
            return Err(Rejected::Passed { meant, component });
        }
        let pointless = |why: &str| Err(Rejected::Pointless { why: why.to_owned() });
        let actor = actor.to_owned();
        match (command, &mut deployment.stage) {
            (Command::Abort, Stage::GoingBack { .. }) => Ok(()),
            (Command::Abort, Stage::Preparing) => {
                self.event(Event::Aborted { actor: actor.clone() });
                let what = format!("aborted by {actor} before anything was changed");
                self.end(Outcome::Failed, Some(Failure::new(FailureCode::Aborted, what)));
                Ok(())
            }
            (Command::Abort, Stage::Rolling(_)) => {
                self.event(Event::Aborted { actor: actor.clone() });
                let what = format!("aborted by {actor}");
                back::begin(self, Failure::new(FailureCode::Aborted, what));
                Ok(())
            }
            (_, Stage::GoingBack { .. }) => {
                pointless("the deployment is going back already; that cannot be held or hurried")
            }
            (_, Stage::Preparing) => pointless("the release is being prepared; only abort helps"),
            (Command::Pause, Stage::Rolling(_)) => {
                if deployment.pause.is_none() {
                    deployment.pause = Some(Pause { actor: actor.clone(), since: self.now });
                    self.event(Event::Paused { actor });
                }
                Ok(())
            }
            (Command::Resume, Stage::Rolling(position)) => {
                let Some(pause) = deployment.pause.take() else {
                    return pointless("the deployment is not paused");
                };
                // A step that came up during the pause, by a skip, has waited from then on only.
                let waited = self.now.since(pause.since.max(position.since));
                position.since = position.since.after(waited);
                self.event(Event::Resumed { actor });
                Ok(())
            }
            (Command::Skip, Stage::Rolling(_)) => forward::skip(self, actor),
        }
    }

    fn advance(&mut self) -> bool {
        match self.environment.deployment.as_ref().map(|deployment| &deployment.stage) {
            None | Some(Stage::Preparing) => false,
            Some(Stage::Rolling(_)) => forward::advance(self),
            Some(Stage::GoingBack { .. }) => back::advance(self),
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The epoch grows once in a transition, however much of the routing changes in it.
    fn rerouted(&mut self) {
        if !self.rerouted {
            self.rerouted = true;
            self.environment.epoch = self.environment.epoch.next();
        }
    }

    /// The data plane follows a newer table than any that is known here: an older copy of the store
    /// was put back. What is wanted now is said again, with an epoch that counts.
    ///
    /// The same for the list of revisions.
    fn catch_up(&mut self) {
        if let Some(ahead) = self.seen.observation.routes.epoch
            && self.environment.epoch.0 > 0
            && ahead > self.environment.epoch
        {
            self.environment.epoch = ahead;
            self.rerouted();
            let epoch = self.environment.epoch;
            self.event(Event::CaughtUp { found: ahead, epoch });
        }
        if let Some(ahead) = self.seen.observation.generation
            && ahead > self.environment.generation
        {
            self.environment.generation = ahead.next();
            self.renumbered = true;
            let generation = self.environment.generation;
            self.event(Event::RevisionsCaughtUp { found: ahead, generation });
        }
    }

    /// Two tables with one epoch are never different, whatever it was that changed: a role, too, is
    /// part of the table.
    fn number_the_table(&mut self) {
        let before = self.before.route_table();
        let after = self.environment.route_table();
        if (before.gateway, before.routes) != (after.gateway, after.routes)
            && self.environment.epoch.0 > 0
        {
            self.rerouted();
        }
    }

    /// Two lists of revisions with one generation are never different.
    fn number_the_revisions(&mut self) {
        if self.environment.revisions != self.before.revisions && !self.renumbered {
            self.environment.generation = self.environment.generation.next();
        }
    }

    pub(crate) fn set_gateway(&mut self, gateway: Gateway) {
        if self.environment.gateway != gateway {
            self.environment.gateway = gateway;
            if self.environment.epoch.0 > 0 {
                self.rerouted();
            }
        }
    }

    pub(crate) fn set_shares(
        &mut self,
        component: &ComponentName,
        shares: Vec<(RevisionId, Share)>,
    ) {
        if self.environment.set_shares(component, shares) {
            self.rerouted();
            let shares = self.environment.components[component].shares.clone();
            let epoch = self.environment.epoch;
            self.event(Event::Routed { epoch, component: component.clone(), shares });
        }
    }

    /// Whether the data plane follows the table that is wanted.
    pub(crate) fn routes_confirmed(&self) -> bool {
        self.environment.epoch.0 == 0
            || (!self.rerouted
                && self.seen.observation.routes.epoch == Some(self.environment.epoch))
    }

    /// Whether the target follows the list of revisions that is wanted. What it counted before may
    /// change by itself, as when an instance that died is started again.
    pub(crate) fn revisions_followed(&self) -> bool {
        !self.renumbered
            && self.environment.revisions == self.before.revisions
            && self.seen.observation.generation == Some(self.environment.generation)
    }

    /// Why the table that is wanted will never be in force.
    pub(crate) fn routes_refused(&self) -> Option<String> {
        let refused = self.seen.observation.routes.refused.as_ref()?;
        (!self.rerouted && refused.epoch == self.environment.epoch).then(|| refused.reason.clone())
    }

    /// Sets how many instances of a revision shall run, on the way back.
    pub(crate) fn resize(&mut self, revision: &RevisionId, replicas: u32, why: &str) {
        let known = self.environment.revisions.get(revision).map(|wanted| wanted.replicas);
        if known.is_some_and(|known| known != replicas) {
            self.environment.set_replicas(revision, replicas);
            let (revision, why) = (revision.clone(), why.to_owned());
            self.event(Event::Resized { revision, replicas, why });
        }
    }

    pub(crate) fn retire(&mut self, revision: &RevisionId, why: &str) {
        if self.environment.revisions.remove(revision).is_some() {
            self.event(Event::Retired { revision: revision.clone(), why: why.to_owned() });
        }
    }

    pub(crate) fn end(&mut self, outcome: Outcome, failure: Option<Failure>) {
        let Some(deployment) = self.environment.deployment.take() else {
            return;
        };
        self.event(Event::Ended { outcome, failure: failure.clone() });
        self.environment.latest = Some(Ended {
            deployment: deployment.id,
            kind: deployment.kind,
            release: deployment.plan.as_ref().map(|plan| plan.release.clone()),
            version: deployment.plan.map(|plan| plan.version),
            outcome,
            failure,
            at: self.now,
        });
    }

    /// Warm revisions whose time is over stop, but never while a deployment might need them.
    fn retire_warm(&mut self) {
        if self.environment.deployment.is_some() {
            return;
        }
        let over: Vec<RevisionId> = self
            .environment
            .components
            .values_mut()
            .filter(|component| component.warm.as_ref().is_some_and(|warm| warm.until <= self.now))
            .filter_map(|component| component.warm.take())
            .map(|warm| warm.revision)
            .collect();
        for revision in over {
            self.retire(&revision, "the time to keep it warm is over");
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let Some(deployment) = &self.environment.deployment else {
            let warm = self
                .environment
                .components
                .values()
                .filter_map(|component| component.warm.as_ref());
            return warm.map(|warm| warm.until).min();
        };
        match &deployment.stage {
            Stage::Preparing => None,
            Stage::Rolling(_) if deployment.pause.is_some() => None,
            Stage::Rolling(_) => forward::wake_at(deployment, self.now),
            Stage::GoingBack { .. } => {
                back::due(&self.environment, deployment).filter(|due| *due > self.now)
            }
        }
    }
}
