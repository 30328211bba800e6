//! One environment's task: the only one that changes its state.
//!
//! What a crash leaves, by the place where it happens:
//!
//! | killed | found at the next start |
//! |---|---|
//! | before an input is stored | nothing happened, and nobody was told otherwise |
//! | after it is stored, before the transition | the input in the inbox; it is taken first |
//! | after the transition, before the performer acted | the wish in the state; it is published again |
//! | in the middle of acting | the same; the target finds what is there already |
//! | while preparing | the stage says so; the preparation begins again and attaches to its build |

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_core::{Decision, Environment, Event, Failure, FailureCode, Input, Seen, Stage, step};
use tidegate_store::{DeploymentUpdate, NewDeployment, NewInput, Store, Transition};
use tidegate_targets::{Effect, Target, TargetError};
use tidegate_types::{
    DeploymentId, Duration, Plan, RevisionId, Sample, Scope, Timestamp, shortened,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use crate::{
    Clock, Command, DeploymentRequest, EnvironmentView, Error, Prepare, Verb,
    earlier::{current, earlier},
    evidence::{self, Samples},
    performer::{Wanted, perform},
    record::{stored, text, update},
    sampler::sample,
    view::{Sources, view},
};

/// How long to wait before trying again to store a transition.
const STORE_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// While a deployment is under way nothing is missed for longer than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Between two looks during a deployment there is never so much, unless nothing ran at all.
const STOOD_STILL: Duration = Duration::from_secs(4);
/// The target needs this long after a start to know how its instances are.
const FIRST_LOOK: Duration = Duration::from_millis(300);
/// … and this long after it stood still.
const SECOND_LOOK: Duration = Duration::from_millis(1_500);
/// A look that was not answered by then saw nothing.
const LOOK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// So many lines of a bad candidate's output are kept with its deployment.
const LOG_LINES: usize = 10;
const LOG_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// What the engine lends its actors.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) preparer: Arc<dyn Prepare>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What others say to an actor.
pub(crate) enum Message {
    Deploy { request: DeploymentRequest, answer: oneshot::Sender<Result<DeploymentId, Error>> },
    Command { command: Command, answer: oneshot::Sender<Result<(), Error>> },
}

/// An actor seen from outside.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) view: watch::Receiver<Arc<EnvironmentView>>,
    tasks: [AbortHandle; 3],
}

impl Handle {
    /// Ends the environment's tasks wherever they are.
    pub(crate) fn halt(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Actor {
    parts: Parts,
    environment: Environment,
    version: u64,
    seen: Seen,
    samples: Samples,
    wishes: watch::Sender<Option<Wanted>>,
    sampling: watch::Sender<bool>,
    trouble: watch::Receiver<Option<String>>,
    store_trouble: Option<String>,
    /// Something may be in the inbox that could not be said to be there.
    inbox_unknown: bool,
    target_trouble: Option<String>,
    view: watch::Sender<Arc<EnvironmentView>>,
    wake_at: Option<Timestamp>,
    preparing: Option<(DeploymentId, AbortHandle)>,
    prepared: (mpsc::Sender<Prepared>, mpsc::Receiver<Prepared>),
    progress: watch::Sender<Option<String>>,
    /// A preparation's result that could not be stored yet.
    held: Option<Input>,
    /// When this environment was last looked at, if a deployment was under way then.
    looked_at: Option<Timestamp>,
    /// Nothing is decided before: what can be seen is older than it seems.
    blind_until: Timestamp,
}

struct Prepared {
    deployment: DeploymentId,
    result: Result<Plan, Failure>,
}

/// Starts the task of an environment from what is stored of it.
pub(crate) async fn start(scope: Scope, parts: Parts) -> Result<Handle, Error> {
    let stored = parts.store.load(&scope).await?;
    let (environment, version) = match stored {
        None => (Environment::new(scope.clone()), 0),
        Some(stored) => {
            let environment = serde_json::from_value(stored.state).map_err(|error| {
                Error::State { scope: scope.clone(), reason: error.to_string() }
            })?;
            (environment, stored.version)
        }
    };
    let (messages, inbox) = mpsc::channel(64);
    let (wishes, latest_wish) = watch::channel(None);
    let (sampling, is_sampling) = watch::channel(false);
    let (samples_in, samples_out) = mpsc::channel(16);
    let (trouble_in, trouble) = watch::channel(None);
    let (progress, _) = watch::channel(None);
    let empty = view(Sources {
        environment: &environment,
        seen: &Seen::default(),
        samples: &Samples::default(),
        trouble: Vec::new(),
        progress: None,
        now: parts.clock.now(),
    });
    let (view_in, view_out) = watch::channel(Arc::new(empty));
    let performer =
        tokio::spawn(perform(scope.clone(), Arc::clone(&parts.target), latest_wish, trouble_in));
    let counting = tokio::spawn(sample(
        scope.clone(),
        Arc::clone(&parts.target),
        Arc::clone(&parts.clock),
        is_sampling,
        samples_in,
    ));
    let now = parts.clock.now();
    let under_way = environment.deployment.is_some();
    let mut actor = Actor {
        parts,
        environment,
        version,
        seen: Seen::default(),
        samples: Samples::default(),
        wishes,
        sampling,
        trouble,
        store_trouble: None,
        inbox_unknown: false,
        target_trouble: None,
        view: view_in,
        wake_at: None,
        preparing: None,
        prepared: mpsc::channel(4),
        progress,
        held: None,
        looked_at: None,
        blind_until: if under_way { now.after(FIRST_LOOK) } else { now },
    };
    actor.recall_samples().await?;
    actor.publish_wish();
    let actor = tokio::spawn(actor.run(inbox, samples_out));
    let tasks = [actor.abort_handle(), performer.abort_handle(), counting.abort_handle()];
    Ok(Handle { messages, view: view_out, tasks })
}

impl Actor {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        mut samples: mpsc::Receiver<Vec<(RevisionId, Sample)>>,
    ) {
        let mut changes = self.parts.target.changes(&self.environment.scope);
        let mut trouble = self.trouble.clone();
        let mut progress = self.progress.subscribe();
        self.take_pending().await;
        loop {
            self.look().await;
            let pause = self.pause();
            // A person's word first; with a fixed order the same world gives the same life.
            tokio::select! {
                biased;
                message = inbox.recv() => match message {
                    None => return,
                    Some(message) => self.hear(message).await,
                },
                Some(Prepared { deployment, result }) = self.prepared.1.recv() => {
                    self.preparing = None;
                    self.progress.send_replace(None);
                    self.held = Some(match result {
                        Ok(plan) => Input::Prepared(plan),
                        Err(failure) => Input::NotPrepared { deployment, failure },
                    });
                }
                Some(taken) = samples.recv() => self.keep_samples(taken).await,
                told = changes.changed() => if told.is_err() {
                    // The target ended; without it there is nothing to decide on.
                    return;
                },
                told = trouble.changed() => if told.is_err() { return },
                _ = progress.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    fn pause(&self) -> std::time::Duration {
        let longest =
            if self.environment.deployment.is_some() { LONGEST_SLEEP } else { LONGEST_SLEEP_IDLE };
        if self.store_trouble.is_some() {
            return STORE_PAUSE;
        }
        let due = self.wake_at.map(|wake_at| wake_at.since(self.parts.clock.now()));
        due.map_or(longest, |due| due.min(longest)).into()
    }

    /// Inputs that were stored and whose transition was not.
    async fn take_pending(&mut self) {
        let pending = match self.parts.store.pending(&self.environment.scope).await {
            Ok(pending) => {
                self.inbox_unknown = false;
                pending
            }
            Err(error) => {
                self.store_trouble = Some(error.to_string());
                return;
            }
        };
        for pending in pending {
            let input = if let Some(deployment) = pending.deployment {
                serde_json::from_value::<DeploymentRequest>(pending.payload).ok().map(|request| {
                    Input::Request {
                        deployment,
                        kind: request.wish.kind(),
                        actor: pending.actor.clone(),
                    }
                })
            } else {
                serde_json::from_value::<Command>(pending.payload)
                    .ok()
                    .map(|command| command.input())
            };
            let refused = match input {
                None => Some("it cannot be read by this version".to_owned()),
                Some(input) => match self.decide(&input) {
                    Ok(decision) => {
                        let _ = self.store(decision, vec![pending.key.clone()], None).await;
                        None
                    }
                    Err(rejected) => Some(rejected.to_string()),
                },
            };
            if let Some(why) = refused {
                warn!(scope = %self.environment.scope, key = pending.key, why, "input refused");
                let unchanged = Decision {
                    environment: self.environment.clone(),
                    events: Vec::new(),
                    wake_at: self.wake_at,
                };
                let refused = pending.deployment.map(|id| (id, why));
                let _ = self.store(unchanged, vec![pending.key], refused).await;
            }
        }
    }

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Deploy { request, answer } => {
                let result = self.request(request).await;
                let _ = answer.send(result);
            }
            Message::Command { command, answer } => {
                let result = self.command(command).await;
                let _ = answer.send(result);
            }
        }
    }

    async fn request(&mut self, request: DeploymentRequest) -> Result<DeploymentId, Error> {
        let kind = request.wish.kind();
        let input = |deployment| Input::Request { deployment, kind, actor: request.actor.clone() };
        // Asked for what is not possible, nothing is stored and no number is used up.
        self.decide(&input(DeploymentId(0)))?;
        earlier(&self.environment, &request.wish)?;
        let requested = self
            .parts
            .store
            .request_deployment(NewDeployment {
                key: None,
                scope: request.scope.clone(),
                kind,
                actor: request.actor.clone(),
                reason: request.reason.clone(),
                request: serde_json::to_value(&request).unwrap_or(Value::Null),
                requested_at: self.parts.clock.now(),
            })
            .await
            // It may have been stored all the same: then it begins now, and not at the next start.
            .inspect_err(|_| self.inbox_unknown = true)?;
        let decision = self.decide(&input(requested.id))?;
        let key = tidegate_store::Input::key_of(requested.id);
        self.store(decision, vec![key], None).await?;
        info!(scope = %self.environment.scope, deployment = %requested.id, "deployment begins");
        Ok(requested.id)
    }

    async fn command(&mut self, command: Command) -> Result<(), Error> {
        // What was seen is renewed, so that a command is judged by what is and not by what was.
        self.observe().await;
        let meant = self.environment.deployment.as_ref().map(|deployment| deployment.id);
        let input = command.input();
        let decision = self.decide(&input)?;
        let key = format!(
            "command/{}/{}/{}/{}",
            self.environment.scope,
            meant.unwrap_or(DeploymentId(0)),
            self.version,
            command.verb.name()
        );
        self.parts
            .store
            .accept(NewInput {
                key: key.clone(),
                scope: self.environment.scope.clone(),
                kind: command.verb.name().to_owned(),
                actor: command.actor.clone(),
                payload: serde_json::to_value(&command).unwrap_or(Value::Null),
                received_at: self.parts.clock.now(),
            })
            .await
            .inspect_err(|_| self.inbox_unknown = true)?;
        self.store(decision, vec![key], None).await?;
        if command.verb == Verb::Abort
            && let Some((deployment, preparing)) = self.preparing.take()
        {
            preparing.abort();
            let preparer = Arc::clone(&self.parts.preparer);
            tokio::spawn(async move { preparer.abandon(deployment).await });
        }
        Ok(())
    }

    fn decide(&self, input: &Input) -> Result<Decision, tidegate_core::Rejected> {
        step(&self.environment, input, &self.seen, self.parts.clock.now())
    }

    async fn observe(&mut self) {
        let looked = timeout(LOOK_PATIENCE, self.parts.target.observe(&self.environment.scope));
        let looked = looked.await.unwrap_or_else(|_| {
            Err(TargetError {
                operation: format!("look at {}", self.environment.scope),
                reason: format!("no answer within {LOOK_PATIENCE:?}"),
                retry: true,
                effect: Effect::None,
            })
        });
        let now = self.parts.clock.now();
        self.seen.fresh = looked.is_ok() && now >= self.blind_until;
        match looked {
            Ok(observation) => {
                self.target_trouble = None;
                self.seen.observation = observation;
            }
            Err(error) => self.target_trouble = Some(error.to_string()),
        }
        self.seen.readings =
            evidence::readings(&self.environment, &self.seen.observation, &self.samples, now);
    }

    /// Notices a standstill: what can be seen is then older than it seems. A control plane that was
    /// just started, or that stood still, has to let its target look before it ends a bake on what
    /// was true before.
    fn notice_standstill(&mut self) {
        let now = self.parts.clock.now();
        let under_way = self.environment.deployment.is_some();
        let before = std::mem::replace(&mut self.looked_at, under_way.then_some(now));
        if let Some(gap) = before.map(|before| now.since(before)).filter(|gap| *gap > STOOD_STILL) {
            warn!(scope = %self.environment.scope, %gap, "the control plane stood still");
            self.blind_until = now.after(SECOND_LOOK);
        }
    }

    /// The next time to look: that of the state machine, or when there is something to see.
    fn wake_for(&self, wake_at: Option<Timestamp>) -> Option<Timestamp> {
        let sees_at = Some(self.blind_until).filter(|until| *until > self.parts.clock.now());
        wake_at.into_iter().chain(sees_at).min()
    }

    /// Looks until there is nothing more to decide on what can be seen now.
    async fn look(&mut self) {
        if self.store_trouble.is_some() || self.inbox_unknown {
            self.take_pending().await;
        }
        self.notice_standstill();
        loop {
            self.observe().await;
            let input = self.held.clone().unwrap_or(Input::Look);
            let mut decision = match self.decide(&input) {
                Ok(decision) => decision,
                Err(rejected) => {
                    error!(%rejected, "the engine's own input was refused");
                    self.held = None;
                    break;
                }
            };
            self.wake_at = self.wake_for(decision.wake_at);
            let changed = decision.environment != self.environment || !decision.events.is_empty();
            self.attach_log(&mut decision).await;
            if changed && self.store(decision, Vec::new(), None).await.is_err() {
                break;
            }
            let taken = self.held.take().is_some();
            if !changed && !taken {
                break;
            }
        }
        self.begin_preparation().await;
        self.sampling.send_if_modified(|sampling| {
            let wanted = self
                .environment
                .deployment
                .as_ref()
                .is_some_and(|deployment| deployment.stage != Stage::Preparing);
            std::mem::replace(sampling, wanted) != wanted
        });
        if self.environment.deployment.is_none() {
            self.samples = Samples::default();
        }
        self.publish_view();
    }

    /// Adds what the instances of a bad candidate last said to the end of its deployment: they are
    /// about to go. The traffic is back by then, so that nothing of importance waits for it.
    async fn attach_log(&self, decision: &mut Decision) {
        let Some(running) = &self.environment.deployment else { return };
        let ended = decision.environment.latest.as_mut();
        let Some(failure) = ended
            .filter(|ended| {
                decision.environment.deployment.is_none() && ended.deployment == running.id
            })
            .and_then(|ended| ended.failure.as_mut())
            .filter(|failure| failure.log.is_empty())
        else {
            return;
        };
        let rollouts = running.plan.iter().flat_map(|plan| &plan.rollouts);
        let candidate = rollouts
            .filter(|rollout| Some(&rollout.component) == failure.component.as_ref())
            .find_map(|rollout| rollout.candidate.as_ref());
        let Some(candidate) = candidate else { return };
        let asked = self.parts.target.logs(
            &self.environment.scope,
            std::slice::from_ref(&candidate.id),
            LOG_LINES,
        );
        if let Ok(Ok(lines)) = timeout(LOG_PATIENCE, asked).await {
            let first = lines.len().saturating_sub(LOG_LINES);
            failure.log = lines[first..].iter().map(|line| shortened(&line.text)).collect();
            for event in &mut decision.events {
                if let Event::Ended { failure: Some(told), .. } = event {
                    told.log.clone_from(&failure.log);
                }
            }
        }
    }

    /// Stores a decision and only then lets it act.
    async fn store(
        &mut self,
        decision: Decision,
        applied: Vec<String>,
        refused: Option<(DeploymentId, String)>,
    ) -> Result<(), tidegate_store::Error> {
        let now = self.parts.clock.now();
        let expected = self.version;
        let id = [&self.environment, &decision.environment]
            .into_iter()
            .find_map(|environment| environment.deployment.as_ref())
            .map(|deployment| deployment.id);
        let mut deployments: Vec<DeploymentUpdate> =
            id.and_then(|id| update(id, &decision, now)).into_iter().collect();
        if let Some((id, why)) = refused {
            deployments.push(DeploymentUpdate {
                id,
                release: None,
                status: "refused".to_owned(),
                plan: None,
                summary: json!({ "why": why }),
                ended_at: Some(now),
            });
        }
        let transition = Transition {
            scope: self.environment.scope.clone(),
            expected_version: self.version,
            state: serde_json::to_value(&decision.environment).unwrap_or(Value::Null),
            wake_at: decision.wake_at,
            at: now,
            events: decision.events.iter().map(|event| stored(id, event)).collect(),
            applied,
            deployments,
        };
        match self.parts.store.commit(transition).await {
            Ok(committed) => {
                self.version = committed.version;
                self.environment = decision.environment;
                self.wake_at = self.wake_for(decision.wake_at);
                self.store_trouble = None;
                for event in &decision.events {
                    info!(scope = %self.environment.scope, event = event.kind(), "{}", text(event));
                }
                self.publish_wish();
                Ok(())
            }
            Err(error) => {
                if self.store_trouble.is_none() {
                    error!(scope = %self.environment.scope, %error, "a transition was not stored");
                }
                self.store_trouble = Some(error.to_string());
                self.reload().await;
                // That somebody else came first is no trouble once their state is known.
                if matches!(error, tidegate_store::Error::Conflict { .. })
                    && self.version > expected
                {
                    self.store_trouble = None;
                }
                Err(error)
            }
        }
    }

    /// After a failed commit its outcome may be unknown: what is stored is the truth.
    async fn reload(&mut self) {
        let Ok(Some(stored)) = self.parts.store.load(&self.environment.scope).await else {
            return;
        };
        if stored.version != self.version
            && let Ok(environment) = serde_json::from_value(stored.state)
        {
            self.version = stored.version;
            self.environment = environment;
            self.publish_wish();
        }
    }

    fn publish_wish(&self) {
        let wish = Wanted {
            generation: self.environment.generation,
            revisions: self.environment.wanted(),
            table: (self.environment.epoch.0 > 0).then(|| self.environment.route_table()),
        };
        self.wishes.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&wish);
            *known = Some(wish);
            changed
        });
    }

    fn publish_view(&self) {
        let performer = self.trouble.borrow().clone();
        let trouble = [&self.store_trouble, &self.target_trouble, &performer];
        let seen = view(Sources {
            environment: &self.environment,
            seen: &self.seen,
            samples: &self.samples,
            trouble: trouble.into_iter().flatten().cloned().collect(),
            progress: self.progress.borrow().clone(),
            now: self.parts.clock.now(),
        });
        self.view.send_replace(Arc::new(seen));
    }

    async fn begin_preparation(&mut self) {
        let Some(deployment) = &self.environment.deployment else {
            return;
        };
        if deployment.stage != Stage::Preparing || self.preparing.is_some() || self.held.is_some() {
            return;
        }
        let id = deployment.id;
        let request = match self.parts.store.deployment(id).await {
            Ok(Some(detail)) => serde_json::from_value::<DeploymentRequest>(detail.request)
                .map_err(|error| error.to_string()),
            Ok(None) => Err(format!("deployment {id} is not in the store")),
            Err(error) => {
                self.store_trouble = Some(error.to_string());
                return;
            }
        };
        let earlier = request.as_ref().map_err(Clone::clone).and_then(|request| {
            earlier(&self.environment, &request.wish).map_err(|error| error.to_string())
        });
        let (request, earlier) = match (request, earlier) {
            (Ok(request), Ok(earlier)) => (request, earlier),
            (Err(what), _) | (_, Err(what)) => {
                let failure = Failure::new(FailureCode::Prepare, what);
                self.held = Some(Input::NotPrepared { deployment: id, failure });
                // Taken at the next look, which comes at once.
                self.wake_at = Some(self.parts.clock.now());
                return;
            }
        };
        let preparer = Arc::clone(&self.parts.preparer);
        let current = current(&self.environment);
        let results = self.prepared.0.clone();
        let progress = self.progress.clone();
        let task = tokio::spawn(async move {
            let says = Arc::new(move |sentence: String| {
                progress.send_replace(Some(sentence));
            });
            let result = preparer.prepare(id, &request, earlier, &current, says).await;
            let _ = results.send(Prepared { deployment: id, result }).await;
        });
        // A preparation that panics must not leave the deployment waiting for ever.
        let results = self.prepared.0.clone();
        let abort = task.abort_handle();
        tokio::spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                let failure = Failure::new(
                    FailureCode::Prepare,
                    "the preparation ended by a fault of Tidegate; please report it",
                );
                let _ = results.send(Prepared { deployment: id, result: Err(failure) }).await;
            }
        });
        self.preparing = Some((id, abort));
    }

    async fn keep_samples(&mut self, taken: Vec<(RevisionId, Sample)>) {
        let Some(deployment) = &self.environment.deployment else {
            return;
        };
        let id = deployment.id;
        self.samples.add(taken.clone());
        let keep = evidence::longest_window(&self.environment);
        self.samples.forget(keep, self.parts.clock.now());
        // Evidence that cannot be stored still counts while the control plane lives.
        if let Err(error) = self.parts.store.put_samples(id, taken).await {
            warn!(%error, "samples were not stored");
        }
    }

    async fn recall_samples(&mut self) -> Result<(), Error> {
        let Some(deployment) = &self.environment.deployment else {
            return Ok(());
        };
        let keep = evidence::longest_window(&self.environment);
        let now = self.parts.clock.now().as_millis();
        let since = i64::try_from(keep.as_millis()).map_or(0, |keep| now - keep);
        for revision in self.environment.revisions.keys() {
            let samples = self
                .parts
                .store
                .samples(deployment.id, revision, Timestamp::from_millis(since))
                .await?;
            self.samples
                .add(samples.into_iter().map(|sample| (revision.clone(), sample)).collect());
        }
        Ok(())
    }
}

/// Without a deployment the target's changes are enough to wake for; this is for the rest.
const LONGEST_SLEEP_IDLE: Duration = Duration::from_mins(5);
