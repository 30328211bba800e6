//! One trial from its first act to the silence after its end.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tidegate_core::{Environment, Outcome};
use tidegate_engine::{
    Command, DeploymentRequest, Engine, EnvironmentView, Error, Prepare, Verb, Wish,
};
use tidegate_sim::world::Fleet;
use tidegate_store::{MemoryStore, Store};
use tidegate_targets::Target;
use tidegate_types::DeploymentId;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    clock::SimulatedClock,
    oracle::{Breach, Routing},
    preparer::SimulatedPreparer,
    project,
    scenario::{Act, Call, Scenario},
    shared::{Caller, Crash, Shared},
    store::FaultyStore,
    target::SimulatedTarget,
};

/// The control plane that is really in charge.
const CHIEF: Caller = 0;
/// So long the faults go on after the last act.
const AFTERMATH: u64 = 120_000;
/// Once faults stop, everything ends within this time.
const LIVENESS: u64 = 45 * 60_000;
/// A person looks after a held deployment this often.
const PERSON: u64 = 60_000;

/// What became of a trial.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Every invariant that did not hold.
    pub breaches: Vec<Breach>,
    /// How each deployment ended.
    pub outcomes: BTreeMap<DeploymentId, Outcome>,
    /// What is stored at the end.
    pub environment: Option<Environment>,
    /// Transitions that were stored.
    pub commits: u32,
    /// Faults that came.
    pub faults: u32,
    /// How often each call was made while faults could come.
    pub calls: BTreeMap<Call, u32>,
    /// Simulated milliseconds.
    pub simulated: u64,
    /// Every table that came into force.
    pub routings: Vec<Routing>,
    /// What was stored and when, a line for each event.
    pub story: Vec<String>,
}

/// Runs a trial. The same scenario gives the same verdict.
///
/// # Panics
///
/// When the engine makes calls without end while no time passes.
#[must_use]
pub fn run(scenario: &Scenario) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("a runtime needs nothing but memory: {error}"));
    runtime.block_on(async {
        // From here on the runtime's clock stands at whole milliseconds, as all that is asked of it
        // is; before, it stands wherever it was made.
        sleep(Duration::from_millis(1)).await;
        Life::new(scenario).live().await
    })
}

/// What is to happen at a time.
#[derive(Debug, Clone)]
enum Happening {
    Act(Act),
    Start(Caller),
    End(Caller),
    ProxyUp,
    Noise,
}

/// A person's word under way.
struct Said {
    to: Caller,
    answer: JoinHandle<Answer>,
}

enum Answer {
    Deployed(Result<DeploymentId, Error>),
    Told(Verb, Option<DeploymentId>, Result<(), Error>),
}

struct Life {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    crashes: mpsc::UnboundedReceiver<Crash>,
    engines: BTreeMap<Caller, Engine>,
    agenda: BTreeMap<(u64, usize), Happening>,
    planned: usize,
    callers: Caller,
    said: VecDeque<Said>,
    accepted: Vec<DeploymentId>,
    aborted: Vec<DeploymentId>,
    calls: BTreeMap<Call, u32>,
}

impl Life {
    fn new(scenario: &Scenario) -> Self {
        let (told, crashes) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(Arc::new(scenario.clone()), told));
        let mut life = Self {
            shared,
            store: Arc::new(MemoryStore::new()),
            crashes,
            engines: BTreeMap::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            callers: CHIEF,
            said: VecDeque::new(),
            accepted: Vec::new(),
            aborted: Vec::new(),
            calls: BTreeMap::new(),
        };
        life.plan(0, Happening::Start(CHIEF));
        for timed in &scenario.acts {
            life.plan(timed.at, Happening::Act(timed.act.clone()));
        }
        life
    }

    fn plan(&mut self, at: u64, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), happening);
    }

    async fn live(mut self) -> Verdict {
        let heart = tokio::spawn(beat(Arc::clone(&self.shared)));
        while self.turn(None).await {}
        let until = self.shared.elapsed() + AFTERMATH;
        while self.shared.elapsed() < until && !self.is_over().await {
            let next = (self.shared.elapsed() + 1_000).min(until);
            self.turn(Some(next)).await;
        }
        self.calm_down().await;
        let ended = self.end().await;
        if ended {
            self.check_the_end().await;
            self.check_the_silence().await;
        }
        heart.abort();
        for engine in self.engines.values() {
            engine.halt().await;
        }
        self.verdict().await
    }

    /// Lets the next thing happen, or time pass up to `until`. Says whether anything is planned.
    async fn turn(&mut self, until: Option<u64>) -> bool {
        let next = self.agenda.keys().next().copied();
        let Some(time) = next.map(|(at, _)| at).into_iter().chain(until).min() else {
            return false;
        };
        let wait = time.saturating_sub(self.shared.elapsed());
        let due = Instant::now() + Duration::from_millis(wait);
        tokio::select! {
            biased;
            Some((caller, away)) = self.crashes.recv() => self.kill(caller, Some(away)).await,
            () = sleep_until(due) => {
                if let Some(key) = next.filter(|(at, _)| *at <= time)
                    && let Some(happening) = self.agenda.remove(&key)
                {
                    self.happen(happening).await;
                }
            }
        }
        self.listen().await;
        true
    }

    async fn kill(&mut self, caller: Caller, away: Option<u64>) {
        // Who had a question open gets no answer.
        self.said.retain(|said| {
            if said.to == caller {
                said.answer.abort();
            }
            said.to != caller
        });
        if let Some(engine) = self.engines.remove(&caller) {
            // An aborted question lets go of what it held when it is next polled.
            tokio::task::yield_now().await;
            engine.halt().await;
        }
        if caller == CHIEF
            && let Some(away) = away
        {
            self.plan(self.shared.elapsed() + away, Happening::Start(CHIEF));
        }
    }

    async fn start(&mut self, caller: Caller) {
        if self.engines.contains_key(&caller) {
            return;
        }
        let shared = || Arc::clone(&self.shared);
        let inside = Arc::clone(&self.store);
        let store = Arc::new(FaultyStore { caller, inside, shared: shared() });
        let target = Arc::new(SimulatedTarget::new(caller, shared()));
        let preparer = Arc::new(SimulatedPreparer { caller, shared: shared() });
        let clock = Arc::new(SimulatedClock(shared()));
        let starting = Engine::start(
            store as Arc<dyn Store>,
            target as Arc<dyn Target>,
            preparer as Arc<dyn Prepare>,
            clock,
        );
        // A fault may kill it while it starts.
        let started = tokio::select! {
            biased;
            started = starting => started.ok(),
            Some((_, away)) = self.crashes.recv() => {
                self.plan(self.shared.elapsed() + away.max(1), Happening::Start(caller));
                return;
            }
        };
        match started {
            Some(engine) => {
                self.engines.insert(caller, engine);
            }
            None => self.plan(self.shared.elapsed() + 1_000, Happening::Start(caller)),
        }
    }

    async fn happen(&mut self, happening: Happening) {
        let now = self.shared.elapsed();
        match happening {
            Happening::Start(caller) => self.start(caller).await,
            Happening::End(caller) => self.kill(caller, None).await,
            Happening::ProxyUp => self.shared.with_fleet(|fleet| fleet.set_proxy(true)),
            Happening::Noise => self.shared.set_rate(true),
            Happening::Act(act) => match act {
                Act::Deploy(index) => {
                    let wish = Wish::Commit {
                        repository: "/project".into(),
                        reference: index.to_string(),
                        // Nobody asks git for it.
                        dirty: true,
                    };
                    self.ask(wish);
                }
                Act::RollBack => self.ask(Wish::Earlier { release: None, unverified: false }),
                Act::Pause => self.say(Verb::Pause).await,
                Act::Resume => self.say(Verb::Resume).await,
                Act::Skip => self.say(Verb::Skip).await,
                Act::Abort => self.say(Verb::Abort).await,
                Act::Crash(away) => self.kill(CHIEF, Some(away)).await,
                Act::Zombie(lives) => {
                    self.callers += 1;
                    let caller = self.callers;
                    self.start(caller).await;
                    self.plan(now + lives, Happening::End(caller));
                }
                Act::Jump(millis) => self.shared.with_fleet(|fleet| fleet.jump(millis)),
                Act::ProxyDown(millis) => {
                    self.shared.with_fleet(|fleet| fleet.set_proxy(false));
                    self.plan(now + millis, Happening::ProxyUp);
                }
                Act::KillInstance => {
                    self.shared.with_fleet(Fleet::kill_one);
                }
                Act::Silence(millis) => {
                    self.shared.set_rate(false);
                    self.plan(now + millis, Happening::Noise);
                }
            },
        }
    }

    /// The control plane that people reach: any that lives.
    fn reached(&self) -> Option<(Caller, Engine)> {
        self.engines.iter().next().map(|(caller, engine)| (*caller, engine.clone()))
    }

    fn ask(&mut self, wish: Wish) {
        let Some((to, engine)) = self.reached() else { return };
        let request =
            DeploymentRequest { scope: project::scope(), wish, actor: "ana".into(), reason: None };
        let answer = tokio::spawn(async move { Answer::Deployed(engine.deploy(request).await) });
        self.said.push_back(Said { to, answer });
    }

    async fn say(&mut self, verb: Verb) {
        let Some((to, engine)) = self.reached() else { return };
        let Some(view) = self.view().await else { return };
        let deployment = view.deployment.as_ref().map(|deployment| deployment.id);
        let place = view.deployment.as_ref().and_then(|deployment| deployment.place);
        let place = place.filter(|_| verb == Verb::Skip);
        let command = Command { verb, deployment, place, message: None, actor: "bo".into() };
        let answer = tokio::spawn(async move {
            let told = engine.command(&project::scope(), command).await;
            Answer::Told(verb, deployment, told)
        });
        self.said.push_back(Said { to, answer });
    }

    /// Takes the answers that have come.
    async fn listen(&mut self) {
        let mut left = VecDeque::new();
        while let Some(said) = self.said.pop_front() {
            if !said.answer.is_finished() {
                left.push_back(said);
                continue;
            }
            match said.answer.await {
                Ok(Answer::Deployed(Ok(id))) => self.accepted.push(id),
                Ok(Answer::Told(Verb::Abort, Some(id), Ok(()))) => self.aborted.push(id),
                Ok(_) => {}
                Err(error) => {
                    if error.is_panic() {
                        self.shared.oracle().breach(0, "a fault of the engine: it panicked");
                    }
                }
            }
        }
        self.said = left;
    }

    async fn view(&self) -> Option<EnvironmentView> {
        let view = self.reached()?.1.view(&project::scope()).await.ok()?;
        Some((**view.borrow()).clone())
    }

    async fn is_over(&self) -> bool {
        self.agenda.is_empty()
            && self.said.is_empty()
            && self.view().await.is_none_or(|view| view.deployment.is_none())
    }

    /// Faults stop: one control plane, a proxy that runs, visitors, and nothing that goes wrong.
    async fn calm_down(&mut self) {
        self.shared.calm_down();
        self.calls = self.shared.calls();
        let zombies: Vec<Caller> =
            self.engines.keys().copied().filter(|caller| *caller != CHIEF).collect();
        for caller in zombies {
            self.kill(caller, None).await;
        }
        self.agenda.clear();
        self.shared.with_fleet(|fleet| fleet.set_proxy(true));
        self.shared.set_rate(true);
        // Calls that were lost before are lost with the control plane that made them.
        self.kill(CHIEF, None).await;
        self.start(CHIEF).await;
    }

    /// Waits until no deployment is under way; looks after those that wait for a person.
    async fn end(&mut self) -> bool {
        let began = self.shared.elapsed();
        let mut looked_after = began;
        while !self.is_over().await {
            let now = self.shared.elapsed();
            if now - began > LIVENESS {
                let waiting = self.view().await.and_then(|view| view.deployment);
                let waiting = waiting.map(|deployment| (deployment.stage, deployment.waiting));
                self.shared.oracle().breach(17, format!("it never ends: {waiting:?}"));
                return false;
            }
            if now - looked_after >= PERSON {
                looked_after = now;
                let view = self.view().await;
                let deployment = view.and_then(|view| view.deployment);
                let paused = deployment.as_ref().is_some_and(|d| d.stage == "paused");
                let held = deployment.and_then(|deployment| deployment.waiting);
                if paused {
                    self.say(Verb::Resume).await;
                } else if held.is_some_and(|waiting| waiting.on.contains("enough evidence")) {
                    self.say(Verb::Skip).await;
                }
            }
            self.turn(Some(now + 1_000)).await;
        }
        true
    }

    async fn environment(&self) -> Option<Environment> {
        let stored = self.store.load(&project::scope()).await.ok().flatten()?;
        serde_json::from_value(stored.state).ok()
    }

    /// What is wanted is, and what was promised was kept.
    async fn check_the_end(&mut self) {
        for _ in 0..120 {
            if self.is_as_wanted().await {
                break;
            }
            let next = self.shared.elapsed() + 1_000;
            self.turn(Some(next)).await;
        }
        if !self.is_as_wanted().await {
            let wanted = self.environment().await.map(|environment| {
                (environment.epoch, environment.generation, environment.wanted().len())
            });
            let found = self.shared.fleet().observe();
            self.shared
                .oracle()
                .breach(5, format!("what is wanted does not come: {wanted:?}, {found:?}"));
        }
        for id in self.accepted.clone() {
            let detail = self.store.deployment(id).await.ok().flatten();
            if detail.is_none_or(|detail| detail.deployment.ended_at.is_none()) {
                self.shared.oracle().breach(17, format!("deployment {id} was taken and is lost"));
            }
        }
        let outcomes = self.outcomes().await;
        for id in &self.aborted {
            if outcomes.get(id) == Some(&Outcome::Succeeded) {
                self.shared.oracle().breach(10, format!("deployment {id} was aborted and serves"));
            }
        }
    }

    async fn is_as_wanted(&self) -> bool {
        let Some(environment) = self.environment().await else { return true };
        let fleet = self.shared.fleet();
        let table = environment.route_table();
        let routed = environment.epoch.0 == 0 || fleet.table() == Some(&table);
        let observed = fleet.observe();
        let wanted = environment.revisions.keys().eq(observed.revisions.keys());
        routed && (wanted || environment.generation.0 == 0)
    }

    /// Ended is a fixed point: after what is warm has gone, nothing moves any more.
    async fn check_the_silence(&mut self) {
        sleep(Duration::from_mins(3)).await;
        let count = |shared: &Shared| {
            let calls = shared.calls();
            [Call::Commit, Call::Apply, Call::Route, Call::Prepare]
                .map(|call| calls.get(&call).copied().unwrap_or(0))
        };
        let before = count(&self.shared);
        sleep(Duration::from_mins(20)).await;
        let after = count(&self.shared);
        // A task that panicked is heard of by nobody who does not ask.
        let command = Command {
            verb: Verb::Pause,
            deployment: None,
            place: None,
            message: None,
            actor: "bo".into(),
        };
        let answer = match self.reached() {
            Some((_, engine)) => engine.command(&project::scope(), command).await.err(),
            None => Some(Error::Stopping),
        };
        if matches!(answer, Some(Error::Stopping)) {
            self.shared.oracle().breach(0, "the control plane does not answer any more");
        }
        if before != after {
            self.shared.oracle().breach(
                21,
                format!("commits, applies, routes and preparations went on: {before:?}, {after:?}"),
            );
        }
    }

    async fn outcomes(&self) -> BTreeMap<DeploymentId, Outcome> {
        let all = tidegate_store::DeploymentFilter::All;
        let rows = self.store.deployments(&all, None, 1_000).await.unwrap_or_default();
        rows.into_iter()
            .filter_map(|row| {
                let outcome = serde_json::from_value(serde_json::Value::String(row.status)).ok()?;
                Some((row.id, outcome))
            })
            .collect()
    }

    async fn verdict(self) -> Verdict {
        let outcomes = self.outcomes().await;
        let environment = self.environment().await;
        let shared = Arc::clone(&self.shared);
        let oracle = shared.oracle();
        Verdict {
            breaches: oracle.breaches.clone(),
            commits: oracle.commits,
            outcomes,
            environment,
            faults: self.shared.struck(),
            calls: self.calls,
            simulated: self.shared.elapsed(),
            routings: oracle.routings.clone(),
            story: oracle.story.clone(),
        }
    }
}

/// Lets the fleet live: wakes whenever something in it changes by itself.
async fn beat(shared: Arc<Shared>) {
    loop {
        let next = shared.fleet().next_change();
        let now = shared.elapsed();
        let wait = next.map(|next| Duration::from_millis(next.saturating_sub(now)));
        tokio::select! {
            biased;
            () = shared.touched.notified() => {}
            () = sleep(wait.unwrap_or(Duration::from_hours(1))) => {}
        }
        shared.tell();
    }
}
