//! Everything around the state machine that can happen in any order: a target that follows late,
//! instances, a data plane, looks that are of now or of before, time, and people.
//!
//! The search takes every action that is possible, the walk takes random ones. What the engine
//! promises around the state machine is kept: the performer tells the table before it tells what
//! leaves, one thing after the other.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use tidegate_core::{
    Command, Decision, Environment, Event, Input, Place, Rejected, Seen, Stage, step,
};
use tidegate_invariants::{Breach, Stopped, Watch, again, transition};
use tidegate_types::{
    Condition, DeploymentId, DeploymentKind, Generation, GuardReading, InstanceFailure, InstanceId,
    Observation, Plan, RevisionFacts, RevisionId, RouteRefusal, RouteTable, Scope, Share,
    Timestamp, Verdict, WantedRevision, Workload,
};

use crate::shop::Shipment;

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The engine looks. A look that is not fresh saw nothing new.
    Look { fresh: bool },
    /// Nothing happens until the next moment at which something may.
    Wait,
    /// The target or the data plane takes the next part of the wish.
    Perform,
    /// The data plane refuses the wanted table for good.
    Refuse,
    /// The target starts what is missing.
    Start(RevisionId),
    /// All instances that were started become ready.
    Ready(RevisionId),
    /// One that was ready fails its checks.
    Unready(RevisionId),
    /// One that runs dies.
    Die(RevisionId),
    /// One that was started had all the time that it may have.
    Hang(RevisionId),
    /// All that drain are gone.
    Drained(RevisionId),
    /// The guards on traffic say this of the candidates from now on.
    Say(Verdict),
    /// A person's word, on a look that is fresh or not.
    Word { command: Command, fresh: bool, meant: Meant },
    /// The next deployment is asked for.
    Request,
    /// The same request comes once more.
    RequestAgain,
    /// The release and the plan are there.
    Prepare,
    /// The plan comes once more, late.
    PrepareAgain,
    /// There is no release.
    NotPrepare,
    /// The engine is killed and starts again.
    Crash,
    /// An older copy of the store was put back: target and data plane are ahead.
    Ahead,
}

/// What a word names besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meant {
    Nothing,
    Deployment,
    Place,
    /// A deployment that is over.
    Former,
    /// A step that is over.
    Passed,
}

/// The next deployment.
#[derive(Debug, Clone)]
pub(crate) struct Next {
    pub shipment: Shipment,
    pub kind: DeploymentKind,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Fleet {
    starting: u32,
    ready: u32,
    draining: u32,
    exits: u32,
    failed_checks: u32,
    failure: Option<(u64, bool)>,
}

/// The world.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub environment: Environment,
    pub now: u64,
    pub wake_at: Option<u64>,
    pub events: Vec<Event>,
    followed: Option<(Generation, BTreeMap<RevisionId, WantedRevision>)>,
    running: BTreeMap<RevisionId, Fleet>,
    table: Option<RouteTable>,
    refused: Option<RouteRefusal>,
    seen: Observation,
    verdict: Verdict,
    next: Arc<[Next]>,
    pub requested: usize,
    plan: Option<Arc<Plan>>,
    /// Faults that may still happen.
    pub faults: u32,
    /// Follows the whole life; the search has no use for it, as its states have many pasts.
    watch: Option<Box<Watch>>,
}

/// Longer than every deadline.
const LONG: u64 = 3_600_000;

pub(crate) fn time(at: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(at).unwrap())
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap()
}

impl Model {
    pub(crate) fn new(next: Vec<Next>, faults: u32) -> Self {
        let scope: Scope = "shop/production".parse().unwrap();
        Self {
            environment: Environment::new(scope),
            now: 100 * LONG,
            wake_at: None,
            events: Vec::new(),
            followed: None,
            running: BTreeMap::new(),
            table: None,
            refused: None,
            seen: Observation::default(),
            verdict: Verdict::Pass,
            next: next.into(),
            requested: 0,
            plan: None,
            faults,
            watch: None,
        }
    }

    /// A world that is followed from its first to its last day.
    pub(crate) fn watched(next: Vec<Next>) -> Self {
        Self { watch: Some(Box::default()), ..Self::new(next, u32::MAX) }
    }

    /// Whether there is another deployment to come.
    pub(crate) fn more(&self) -> bool {
        self.requested < self.next.len()
    }

    /// What can happen now. The fair ones first: with those alone every deployment ends.
    pub(crate) fn possible(&self) -> (Vec<Action>, usize) {
        let mut actions = vec![Action::Look { fresh: true }];
        if self.may_wait() {
            actions.push(Action::Wait);
        }
        if self.wish() != Wish::Done {
            actions.push(Action::Perform);
        }
        for (id, fleet) in &self.running {
            if self.missing(id) > 0 {
                actions.push(Action::Start(id.clone()));
            }
            if fleet.starting > 0 {
                actions.push(Action::Ready(id.clone()));
            }
            if fleet.draining > 0 {
                actions.push(Action::Drained(id.clone()));
            }
        }
        let stage = self.environment.deployment.as_ref().map(|deployment| &deployment.stage);
        if stage == Some(&Stage::Preparing) {
            actions.push(Action::Prepare);
        }
        let fair = actions.len();
        if stage.is_none() && self.requested < self.next.len() {
            actions.push(Action::Request);
        }
        if let Some(stage) = stage {
            let word = |command, fresh| Action::Word { command, fresh, meant: Meant::Deployment };
            actions.push(word(Command::Abort, true));
            let paused =
                self.environment.deployment.as_ref().is_some_and(|one| one.pause.is_some());
            if matches!(stage, Stage::Rolling(_)) {
                let command = if paused { Command::Resume } else { Command::Pause };
                actions.extend([word(command, true), word(Command::Skip, true)]);
            }
            if self.faults > 0 {
                actions.extend([
                    word(Command::Abort, false),
                    word(Command::Skip, false),
                    Action::Look { fresh: false },
                ]);
                if self.seen != Observation::default() {
                    actions.push(Action::Crash);
                }
            }
            if self.faults > 0 && matches!(stage, Stage::Preparing) {
                actions.push(Action::NotPrepare);
            }
        }
        if self.faults > 0 {
            for verdict in [Verdict::Pass, Verdict::Fail, Verdict::InsufficientEvidence] {
                if verdict != self.verdict && stage.is_some() {
                    actions.push(Action::Say(verdict));
                }
            }
            if matches!(self.wish(), Wish::Table) && self.environment.deployment.is_some() {
                actions.push(Action::Refuse);
            }
            for (id, fleet) in &self.running {
                if self.is_site(id) {
                    continue;
                }
                if fleet.starting > 0 {
                    actions.push(Action::Hang(id.clone()));
                }
                if fleet.ready > 0 {
                    actions.extend([Action::Die(id.clone()), Action::Unready(id.clone())]);
                }
            }
        }
        (actions, fair)
    }

    /// What a good world does next; none when it is at rest.
    pub(crate) fn fair(&self) -> Option<Action> {
        let (actions, fair) = self.possible();
        let act = |action: &&Action| !matches!(action, Action::Look { .. } | Action::Wait);
        if let Some(action) = actions[..fair].iter().find(act) {
            return Some(action.clone());
        }
        self.environment.deployment.as_ref()?;
        // A look that changes nothing more is followed by time.
        let look = Action::Look { fresh: true };
        let mut looked = self.clone();
        let _ = looked.act(&look);
        let news = looked.environment != self.environment;
        Some(if news { look } else { Action::Wait })
    }

    /// Whether this is one of those that a good world does not do.
    pub(crate) fn is_fault(action: &Action) -> bool {
        match action {
            Action::Look { fresh } | Action::Word { fresh, .. } => !fresh,
            Action::Wait
            | Action::Perform
            | Action::Start(_)
            | Action::Ready(_)
            | Action::Drained(_)
            | Action::Request
            | Action::RequestAgain
            | Action::Prepare
            | Action::PrepareAgain => false,
            Action::Refuse
            | Action::Unready(_)
            | Action::Die(_)
            | Action::Hang(_)
            | Action::Say(_)
            | Action::NotPrepare
            | Action::Crash
            | Action::Ahead => true,
        }
    }

    /// Whether nothing goes on without a person, or nothing is under way.
    pub(crate) fn at_rest(&self) -> bool {
        let Some(deployment) = &self.environment.deployment else { return true };
        let held = matches!(&deployment.stage, Stage::Rolling(position) if position.held);
        held || deployment.pause.is_some()
    }

    /// Does it, and says what did not hold.
    pub(crate) fn act(&mut self, action: &Action) -> Vec<Breach> {
        if Self::is_fault(action) {
            self.faults = self.faults.saturating_sub(1);
        }
        let mut breaches = Vec::new();
        match action {
            Action::Look { fresh } => {
                self.feed(&Input::Look, *fresh, &mut breaches);
            }
            Action::Wait => {
                self.now = self.wake_at.filter(|at| *at > self.now).unwrap_or(self.now + LONG);
            }
            Action::Perform => self.perform(&mut breaches),
            Action::Refuse => {
                self.refused = Some(RouteRefusal {
                    epoch: self.environment.epoch,
                    reason: "the address is in use".to_owned(),
                });
            }
            Action::Start(_)
            | Action::Ready(_)
            | Action::Unready(_)
            | Action::Die(_)
            | Action::Hang(_)
            | Action::Drained(_) => self.live(action, &mut breaches),
            Action::Say(verdict) => self.verdict = *verdict,
            Action::Word { command, fresh, meant } => {
                let input = self.word(*command, *meant);
                self.feed(&input, *fresh, &mut breaches);
            }
            Action::Request => {
                let kind = self.next[self.requested].kind;
                self.requested += 1;
                self.request(kind, &mut breaches);
            }
            Action::RequestAgain => {
                let kind = self.next[self.requested - 1].kind;
                self.request(kind, &mut breaches);
            }
            Action::Prepare => {
                let Next { shipment, kind } = &self.next[self.requested - 1];
                let id = DeploymentId(self.requested as u64);
                let plan = shipment.plan(&self.environment, id, *kind);
                self.plan = Some(Arc::new(plan.clone()));
                self.feed(&Input::Prepared(plan), true, &mut breaches);
            }
            Action::PrepareAgain => {
                if let Some(plan) = self.plan.clone() {
                    self.feed(&Input::Prepared((*plan).clone()), true, &mut breaches);
                }
            }
            Action::NotPrepare => {
                let failure = tidegate_core::Failure::new(
                    tidegate_core::FailureCode::Build,
                    "the build failed",
                );
                let deployment = DeploymentId(self.requested as u64);
                self.feed(&Input::NotPrepared { deployment, failure }, true, &mut breaches);
            }
            Action::Crash => {
                let stored = serde_json::to_string(&self.environment).unwrap();
                let loaded: Environment = serde_json::from_str(&stored).unwrap();
                if loaded != self.environment {
                    breaches.push(breach(19, "the state does not survive being stored"));
                }
                self.environment = loaded;
                self.seen = Observation::default();
            }
            Action::Ahead => {
                if let Some((generation, _)) = &mut self.followed {
                    generation.0 += 3;
                }
                if let Some(table) = &mut self.table {
                    table.epoch.0 += 3;
                }
            }
        }
        breaches
    }

    /// Something happens to the instances of a revision.
    fn live(&mut self, action: &Action, breaches: &mut Vec<Breach>) {
        match action {
            Action::Start(id) => {
                let missing = self.missing(id);
                let site = self.is_site(id);
                if let Some(watch) = &mut self.watch
                    && !site
                {
                    breaches.extend(watch.started(id));
                }
                let fleet = self.running.get_mut(id).unwrap();
                if site {
                    fleet.ready = 1;
                } else {
                    fleet.starting += missing;
                }
                self.alone(breaches);
            }
            Action::Ready(id) => {
                let fleet = self.running.get_mut(id).unwrap();
                fleet.ready += std::mem::take(&mut fleet.starting);
                fleet.failed_checks = 0;
            }
            Action::Unready(id) => {
                let fleet = self.running.get_mut(id).unwrap();
                fleet.ready -= 1;
                fleet.starting += 1;
                fleet.failed_checks += 1;
            }
            Action::Die(id) => {
                let now = self.now;
                let fleet = self.running.get_mut(id).unwrap();
                fleet.ready -= 1;
                fleet.exits += 1;
                fleet.failure = Some((now, false));
            }
            Action::Hang(id) => {
                let now = self.now;
                let fleet = self.running.get_mut(id).unwrap();
                fleet.starting -= 1;
                fleet.exits += 1;
                fleet.failure = Some((now, true));
            }
            Action::Drained(id) => {
                self.running.get_mut(id).unwrap().draining = 0;
                self.forget();
            }
            _ => {}
        }
    }

    fn request(&mut self, kind: DeploymentKind, breaches: &mut Vec<Breach>) {
        let deployment = DeploymentId(self.requested as u64);
        let actor = "ana".to_owned();
        self.feed(&Input::Request { deployment, kind, actor }, true, breaches);
    }

    fn word(&self, command: Command, meant: Meant) -> Input {
        let running = self.environment.deployment.as_ref();
        let position = running.and_then(|running| match &running.stage {
            Stage::Rolling(position) => Some(*position),
            _ => None,
        });
        let place = match meant {
            Meant::Place => position.map(|position| position.place()),
            Meant::Passed => {
                position.map(|position| Place { step: position.step + 1, ..position.place() })
            }
            _ => None,
        };
        let deployment = match meant {
            Meant::Nothing => None,
            Meant::Former => Some(DeploymentId(99)),
            _ => running.map(|running| running.id),
        };
        Input::Command { command, deployment, place, actor: "bo".to_owned() }
    }

    fn feed(&mut self, input: &Input, fresh: bool, breaches: &mut Vec<Breach>) {
        if fresh {
            self.seen = self.observe();
            if let Some(watch) = &mut self.watch {
                breaches.extend(watch.fleets(&self.seen.revisions, time(self.now)));
            }
        }
        let seen = Seen { observation: self.seen.clone(), fresh, readings: self.readings() };
        let now = time(self.now);
        let result = step(&self.environment, input, &seen, now);
        self.judge(input, &seen, &result, breaches);
        if let Ok(decision) = result {
            self.environment = decision.environment;
            self.events = decision.events;
            self.wake_at = decision.wake_at.map(millis);
        }
    }

    fn judge(
        &mut self,
        input: &Input,
        seen: &Seen,
        result: &Result<Decision, Rejected>,
        breaches: &mut Vec<Breach>,
    ) {
        let now = time(self.now);
        breaches.extend(match &mut self.watch {
            Some(watch) => watch.decided(&self.environment, input, seen, now, result),
            None => transition(&self.environment, input, seen, now, result),
        });
        let quiet = result.as_ref().is_ok_and(|decision| decision.events.is_empty())
            && *input == Input::Look;
        if !quiet {
            breaches.extend(again(&self.environment, input, seen, now, result));
        }
    }

    /// 5: one that must not run beside the other does not.
    fn alone(&self, breaches: &mut Vec<Breach>) {
        let plan = self.environment.deployment.as_ref().and_then(|one| one.plan.as_ref());
        let count = |id: &RevisionId| {
            let fleet = self.running.get(id).filter(|_| !self.is_site(id));
            fleet.map_or(0, |fleet| fleet.starting + fleet.ready + fleet.draining)
        };
        // One that does not stop is not waited for for ever; that is told as a failure.
        let given_up = self.environment.deployment.as_ref().is_some_and(|deployment| {
            matches!(deployment.stage, Stage::GoingBack { degraded: true, .. })
        });
        if given_up {
            return;
        }
        for rollout in plan.into_iter().flat_map(|plan| &plan.rollouts) {
            if let (true, Some(stable), Some(candidate)) =
                (rollout.exclusive, &rollout.stable, &rollout.candidate)
                && !candidate.warm
                && count(stable) > 0
                && count(&candidate.id) > 0
            {
                breaches.push(breach(5, &format!("{stable} and {} both run", candidate.id)));
            }
        }
    }

    fn observe(&self) -> Observation {
        let mut observation = Observation {
            generation: self.followed.as_ref().map(|(generation, _)| *generation),
            ..Observation::default()
        };
        for (id, fleet) in &self.running {
            let site = self.is_site(id);
            let facts = RevisionFacts {
                ready: fleet.ready,
                running: if site { 0 } else { fleet.starting + fleet.ready + fleet.draining },
                draining: fleet.draining,
                exits: fleet.exits,
                failed_checks: fleet.failed_checks,
                failure: fleet.failure.map(|(at, fatal)| InstanceFailure {
                    instance: InstanceId::of(id, 1),
                    at: time(at),
                    what: "exited with code 1".to_owned(),
                    fatal,
                    log: Vec::new(),
                }),
                instances: Vec::new(),
            };
            observation.revisions.insert(id.clone(), facts);
        }
        observation.routes.epoch = self.table.as_ref().map(|table| table.epoch);
        observation.routes.refused.clone_from(&self.refused);
        observation
    }

    fn readings(&self) -> Vec<Vec<GuardReading>> {
        let Some(deployment) = &self.environment.deployment else { return Vec::new() };
        let begun = deployment.begun().iter().zip(&deployment.progress);
        begun
            .map(|(rollout, progress)| {
                let Some(candidate) = &rollout.candidate else { return Vec::new() };
                let facts = self.seen.revisions.get(&candidate.id).cloned().unwrap_or_default();
                let served = progress.first_traffic_at.is_some();
                let read = |condition: &Condition| match condition {
                    Condition::ErrorRate { .. } | Condition::Latency { .. } if served => {
                        self.verdict
                    }
                    Condition::ErrorRate { .. } | Condition::Latency { .. } => {
                        Verdict::InsufficientEvidence
                    }
                    Condition::HealthCheckFailures { at_least } => {
                        verdict(facts.failed_checks >= *at_least)
                    }
                    Condition::Restarts { at_least } => {
                        verdict(facts.exits.saturating_sub(progress.exits_before) >= *at_least)
                    }
                };
                let guards = rollout.guards.iter();
                guards
                    .map(|guard| GuardReading {
                        guard: guard.text.clone(),
                        verdict: read(&guard.condition),
                        evidence: format!("{}: counted", guard.text),
                    })
                    .collect()
            })
            .collect()
    }

    fn wish(&self) -> Wish {
        let wanted = &self.environment.revisions;
        let table = (self.environment.epoch.0 > 0).then(|| self.environment.route_table());
        let in_force = self.table.as_ref();
        let table_done = table.is_none()
            || in_force.is_some_and(|in_force| in_force.epoch >= self.environment.epoch);
        let behind = self
            .followed
            .as_ref()
            .is_none_or(|(generation, _)| *generation < self.environment.generation);
        if !table_done {
            let known = |id: &RevisionId| {
                self.followed.as_ref().is_some_and(|(_, known)| known.contains_key(id))
            };
            let table = table.unwrap();
            let mut named = table.routes.iter().flat_map(|route| &route.backends);
            if behind && !named.all(|backend| known(&backend.revision)) {
                return Wish::Announce;
            }
            let refused = self.refused.as_ref().is_some_and(|refused| refused.epoch == table.epoch);
            return if refused { Wish::Done } else { Wish::Table };
        }
        if behind && (!wanted.is_empty() || self.followed.is_some()) {
            return Wish::List;
        }
        Wish::Done
    }

    fn perform(&mut self, breaches: &mut Vec<Breach>) {
        match self.wish() {
            Wish::Done => {}
            Wish::Announce => {
                let (_, mut known) = self.followed.clone().unwrap_or_default();
                for (id, wanted) in &self.environment.revisions {
                    known.entry(id.clone()).or_insert_with(|| wanted.clone());
                }
                self.follow(self.environment.generation.previous(), known, breaches);
            }
            Wish::Table => {
                let table = self.environment.route_table();
                if let Some(watch) = &mut self.watch {
                    breaches.extend(watch.in_force(&table, time(self.now)));
                }
                self.table = Some(table);
                self.refused = None;
            }
            Wish::List => {
                let list = self.environment.revisions.clone();
                self.follow(self.environment.generation, list, breaches);
            }
        }
    }

    fn follow(
        &mut self,
        generation: Generation,
        list: BTreeMap<RevisionId, WantedRevision>,
        breaches: &mut Vec<Breach>,
    ) {
        for id in list.keys() {
            self.running.entry(id.clone()).or_default();
        }
        if let Some(watch) = &mut self.watch {
            let list: Vec<WantedRevision> = list.values().cloned().collect();
            breaches.extend(watch.followed(generation, &list));
        }
        for (id, fleet) in &mut self.running {
            let wanted = list.get(id);
            let site =
                wanted.is_some_and(|wanted| matches!(wanted.spec.workload, Workload::Static(_)));
            let keep = wanted.map_or(0, |wanted| wanted.replicas) + u32::from(site);
            let surplus = (fleet.starting + fleet.ready).saturating_sub(keep);
            let from_starting = surplus.min(fleet.starting);
            let from_ready = surplus - from_starting;
            if from_ready > 0 && from_ready == fleet.ready {
                let share = self.table.as_ref().map_or(Share::NONE, |table| {
                    let backends = table.routes.iter().flat_map(|route| &route.backends);
                    let own = backends.filter(|backend| backend.revision == *id);
                    own.map(|backend| backend.share).max().unwrap_or_default()
                });
                if share > Share::NONE {
                    breaches.push(breach(6, &format!("{id} stops with {share} of the traffic")));
                }
            }
            if let Some(watch) = &mut self.watch
                && from_ready > 0
                && !site
            {
                let share = watch.share_in_force(id);
                breaches.extend(watch.stopped(&Stopped {
                    instance: &InstanceId::of(id, 1),
                    revision: id,
                    share,
                    in_flight: None,
                    drained_for: tidegate_types::Duration::ZERO,
                    others_ready: fleet.ready - from_ready,
                }));
            }
            fleet.starting -= from_starting;
            fleet.ready -= from_ready;
            fleet.draining += if site { 0 } else { surplus };
        }
        self.followed = Some((generation, list));
        self.forget();
    }

    /// Revisions that are gone and not wanted are unknown again.
    fn forget(&mut self) {
        let known = self.followed.as_ref().map(|(_, list)| list);
        self.running.retain(|id, fleet| {
            known.is_some_and(|list| list.contains_key(id))
                || fleet.starting + fleet.ready + fleet.draining > 0
        });
    }

    fn is_site(&self, id: &RevisionId) -> bool {
        let wanted = self.followed.as_ref().and_then(|(_, list)| list.get(id));
        wanted.is_some_and(|wanted| matches!(wanted.spec.workload, Workload::Static(_)))
    }

    /// Instances that the target has yet to start.
    fn missing(&self, id: &RevisionId) -> u32 {
        let wanted = self.followed.as_ref().and_then(|(_, list)| list.get(id));
        let fleet = &self.running[id];
        let wanted = match wanted {
            Some(wanted) if matches!(wanted.spec.workload, Workload::Static(_)) => 1,
            Some(wanted) => wanted.replicas,
            None => 0,
        };
        wanted.saturating_sub(fleet.starting + fleet.ready)
    }

    fn may_wait(&self) -> bool {
        // Long enough is long enough.
        self.environment.deployment.is_some()
            && (self.wake_at.is_some_and(|at| at > self.now) || self.longest() < LONG)
            || self.wake_at.is_some_and(|at| at > self.now)
    }

    /// The time since the state last changed its place.
    fn longest(&self) -> u64 {
        let Some(deployment) = &self.environment.deployment else { return LONG };
        let since = match &deployment.stage {
            Stage::Preparing => deployment.requested_at,
            Stage::Rolling(position) => {
                deployment.pause.as_ref().map_or(position.since, |pause| pause.since)
            }
            Stage::GoingBack { rollout_since, .. } => *rollout_since,
        };
        self.now.saturating_sub(millis(since))
    }

    /// Two worlds with the same number go on in the same way.
    pub(crate) fn identity(&self) -> u128 {
        let mut lanes = Lanes(0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f);
        self.hash(&mut lanes);
        u128::from(lanes.0) << 64 | u128::from(lanes.1)
    }

    fn ago(&self, at: Timestamp) -> u64 {
        self.now.saturating_sub(millis(at)).min(LONG)
    }

    fn hash(&self, hasher: &mut Lanes) {
        let environment = &self.environment;
        self.wake_at.map(|at| at.saturating_sub(self.now)).hash(hasher);
        (environment.epoch.0 == 0).hash(hasher);
        format_listen(environment).hash(hasher);
        for (name, component) in &environment.components {
            (name, &component.serving, &component.shares).hash(hasher);
            if let Some(warm) = &component.warm {
                (&warm.revision, millis(warm.until).saturating_sub(self.now)).hash(hasher);
            }
            8.hash(hasher);
        }
        for (id, wanted) in &environment.revisions {
            (id, wanted.replicas, wanted.spec.replicas).hash(hasher);
        }
        environment.release.hash(hasher);
        environment.verified.len().hash(hasher);
        if let Some(latest) = &environment.latest {
            (latest.deployment.0, latest.outcome as u8).hash(hasher);
        }
        if let Some(deployment) = &environment.deployment {
            (deployment.id.0, deployment.touched).hash(hasher);
            deployment.pause.as_ref().map(|pause| self.ago(pause.since)).hash(hasher);
            match &deployment.stage {
                Stage::Preparing => 1.hash(hasher),
                Stage::Rolling(position) => {
                    (position.rollout, position.step, position.entered, position.held).hash(hasher);
                    self.ago(position.since).hash(hasher);
                }
                Stage::GoingBack { failure, rollout, rollout_since, degraded, .. } => {
                    (failure.code as u8, rollout, degraded).hash(hasher);
                    self.ago(*rollout_since).hash(hasher);
                }
            }
            for progress in &deployment.progress {
                (progress.first_traffic_at.is_some(), progress.exits_before, progress.shrunk)
                    .hash(hasher);
            }
        }
        self.hash_world(hasher);
    }

    fn hash_world(&self, hasher: &mut Lanes) {
        let environment = &self.environment;
        let recent = |at: u64| {
            environment
                .deployment
                .as_ref()
                .is_some_and(|deployment| at >= millis(deployment.requested_at))
        };
        if let Some((generation, list)) = &self.followed {
            (*generation == environment.generation).hash(hasher);
            for (id, wanted) in list {
                (id, wanted.replicas).hash(hasher);
            }
        }
        for (id, fleet) in &self.running {
            (id, fleet.starting, fleet.ready, fleet.draining, fleet.exits).hash(hasher);
            (fleet.failed_checks, fleet.failure.map(|(at, fatal)| (recent(at), fatal)))
                .hash(hasher);
        }
        if let Some(table) = &self.table {
            (table.epoch == environment.epoch).hash(hasher);
            for backend in table.routes.iter().flat_map(|route| &route.backends) {
                (&backend.revision, backend.share).hash(hasher);
            }
        }
        self.refused.as_ref().map(|refused| refused.epoch == environment.epoch).hash(hasher);
        for (id, facts) in &self.seen.revisions {
            (id, facts.ready, facts.running, facts.exits, facts.failed_checks).hash(hasher);
            let failure = facts.failure.as_ref();
            failure.map(|failure| (recent(millis(failure.at)), failure.fatal)).hash(hasher);
        }
        (self.seen.routes.epoch == Some(environment.epoch)).hash(hasher);
        (self.seen.generation == Some(environment.generation)).hash(hasher);
        let refused = self.seen.routes.refused.as_ref();
        refused.map(|refused| refused.epoch == environment.epoch).hash(hasher);
        (self.verdict as u8, self.requested, self.faults).hash(hasher);
    }
}

/// Two hashes at once: among millions of states one of 64 bits would meet another by chance.
struct Lanes(u64, u64);

impl Hasher for Lanes {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_le_bytes(word) ^ chunk.len() as u64;
            self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25);
            self.1 = (self.1.rotate_left(37) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
            self.0 ^= self.0 >> 29;
            self.1 ^= self.1 >> 31;
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The next thing that the performer has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Done,
    /// Revisions that the table names.
    Announce,
    Table,
    List,
}

fn format_listen(environment: &Environment) -> Option<u16> {
    match environment.gateway.listen {
        tidegate_types::Listen::Automatic => None,
        tidegate_types::Listen::Address(address) => Some(address.port()),
    }
}

fn verdict(fails: bool) -> Verdict {
    if fails { Verdict::Fail } else { Verdict::Pass }
}

pub(crate) fn breach(number: u8, what: &str) -> Breach {
    Breach { number, what: what.to_owned() }
}
