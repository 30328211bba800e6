//! A world in which time moves only when told: instances start, become ready, die and drain; the
//! proxy confirms late; guards say what the scenario says.

use std::collections::BTreeMap;

use tidegate_core::{Command, Environment, Event, Input, Outcome, Rejected, Seen, Stage, step};
use tidegate_invariants::transition;
use tidegate_manifest::Strategy;
use tidegate_plan::strategy::{Situation, keep, steps};
use tidegate_types::{
    ComponentName, Condition, DeploymentId, DeploymentKind, Digest, Duration, Epoch, Gateway,
    Guard, GuardReading, HealthCheck, InstanceFailure, InstanceId, LogLimits, Plan,
    PlannedRevision, Probe, ProcessSpec, ReleaseId, RevisionFacts, RevisionId, RevisionSpec,
    Rollout, RouteRefusal, RouteRule, RouteTable, Scope, Share, Signal, StopPolicy, Timestamp,
    Verdict, WithoutEvidence, Workload,
};

use crate::shop::Shipment;

pub(crate) const TICK: u64 = 100;

/// More ticks than any story takes.
const LIMIT: u32 = 8_000;

/// How the instances of one revision behave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behaviour {
    /// Time from start to ready; none is never.
    pub ready_after: Option<u64>,
    /// Time from start to an exit that nobody asked for.
    pub dies_after: Option<u64>,
    /// Time from being told to stop to being gone.
    pub drains_for: u64,
    /// From this time on after the first start its guard on errors fails.
    pub bad_after: Option<u64>,
}

pub(crate) const GOOD: Behaviour =
    Behaviour { ready_after: Some(200), dies_after: None, drains_for: 300, bad_after: None };

#[derive(Debug, Clone)]
struct Instance {
    started: u64,
    stopping: Option<u64>,
}

#[derive(Debug, Default)]
struct Fleet {
    instances: Vec<Instance>,
    exits: u32,
    failure: Option<InstanceFailure>,
    first: Option<u64>,
}

/// The state machine and everything around it.
pub(crate) struct World {
    pub environment: Environment,
    pub now: u64,
    ticks: u32,
    pub events: Vec<(u64, Event)>,
    pub behaviours: BTreeMap<RevisionId, Behaviour>,
    /// The path of every component that is deployed from now on, in place of its name.
    pub(crate) route: Option<String>,
    /// Whether requests are not counted at the moment.
    pub(crate) uncounted: bool,
    /// When the latest decision wants to look again.
    pub(crate) wake_at: Option<Timestamp>,
    /// How long the proxy takes to confirm.
    pub confirm_after: u64,
    /// Whether the proxy refuses every table that it gets, as when its address is taken.
    pub(crate) refuses: bool,
    refused: Option<RouteRefusal>,
    fleets: BTreeMap<RevisionId, Fleet>,
    asked: Option<(u64, RouteTable)>,
    confirmed: Option<RouteTable>,
    /// Every table that was ever confirmed, for the invariants.
    pub tables: Vec<RouteTable>,
}

pub(crate) fn component(name: &str) -> ComponentName {
    name.parse().unwrap()
}

pub(crate) fn scope() -> Scope {
    "shop/production".parse().unwrap()
}

/// One component of a deployment.
pub(crate) struct Part {
    pub name: &'static str,
    pub replicas: u32,
    pub strategy: Strategy,
    pub routed: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            environment: Environment::new(scope()),
            now: 1_000_000,
            ticks: 0,
            events: Vec::new(),
            behaviours: BTreeMap::new(),
            route: None,
            uncounted: false,
            wake_at: None,
            confirm_after: 100,
            refuses: false,
            refused: None,
            fleets: BTreeMap::new(),
            asked: None,
            confirmed: None,
            tables: Vec::new(),
        }
    }

    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.now).unwrap())
    }

    /// Requests a deployment and gives it its plan at once.
    pub(crate) fn deploy(&mut self, id: u64, parts: &[Part]) -> Result<(), Rejected> {
        self.request(id, DeploymentKind::Deploy)?;
        let plan = self.plan(id, parts);
        self.feed(&Input::Prepared(plan))
    }

    /// The same with the plan that is really compiled, which alone knows of roll backs by hand,
    /// other sizes and removed components.
    pub(crate) fn ship(
        &mut self,
        id: u64,
        kind: DeploymentKind,
        shipment: &Shipment,
    ) -> Result<(), Rejected> {
        self.request(id, kind)?;
        let plan = shipment.plan(&self.environment, DeploymentId(id), kind);
        self.feed(&Input::Prepared(plan))
    }

    fn request(&mut self, id: u64, kind: DeploymentKind) -> Result<(), Rejected> {
        self.feed(&Input::Request { deployment: DeploymentId(id), kind, actor: "ana".into() })
    }

    fn plan(&self, id: u64, parts: &[Part]) -> Plan {
        let release = ReleaseId::new(format!("r-{id}"));
        let rollouts = parts
            .iter()
            .map(|part| {
                let name = component(part.name);
                let stable = self
                    .environment
                    .components
                    .get(&name)
                    .and_then(|component| component.serving.clone());
                let stable_replicas = stable
                    .as_ref()
                    .and_then(|stable| self.environment.revisions.get(stable))
                    .map_or(0, |wanted| wanted.replicas);
                let candidate = RevisionId::of(&name, DeploymentId(id));
                Rollout {
                    component: name.clone(),
                    exclusive: stable.is_some()
                        && matches!(part.strategy, Strategy::Recreate { .. }),
                    steps: steps(
                        &part.strategy,
                        Situation {
                            replicas: part.replicas,
                            stable: stable.as_ref().map(|_| stable_replicas),
                            routed: part.routed,
                        },
                    ),
                    stable,
                    stable_replicas,
                    candidate: Some(PlannedRevision {
                        id: candidate,
                        spec: spec(&name, &release, part, self.route.as_deref()),
                        warm: false,
                    }),
                    guards: vec![
                        Guard {
                            text: "error_rate > 5%".into(),
                            condition: Condition::ErrorRate {
                                above: 0.05,
                                window: Duration::from_secs(1),
                                min_requests: 1,
                            },
                        },
                        Guard {
                            text: "restarts >= 3".into(),
                            condition: Condition::Restarts { at_least: 3 },
                        },
                    ],
                    without_evidence: WithoutEvidence::Hold,
                    keep: if part.routed { keep(&part.strategy) } else { Duration::ZERO },
                }
            })
            .collect();
        Plan {
            deployment: DeploymentId(id),
            scope: scope(),
            kind: DeploymentKind::Deploy,
            version: format!("v{id}"),
            release,
            gateway: Gateway::default(),
            rollouts,
            unchanged: Vec::new(),
        }
    }

    pub(crate) fn command(&mut self, command: Command) -> Result<(), Rejected> {
        let deployment = self.environment.deployment.as_ref().map(|deployment| deployment.id);
        self.feed(&Input::Command { command, deployment, place: None, actor: "bo".into() })
    }

    pub(crate) fn feed(&mut self, input: &Input) -> Result<(), Rejected> {
        let seen = self.look();
        let result = step(&self.environment, input, &seen, self.time());
        let breaches = transition(&self.environment, input, &seen, self.time(), &result);
        assert_eq!(breaches, [], "after {:?}", self.events.last());
        let decision = result?;
        // What is stored is what is loaded: a restart at any moment changes nothing.
        let stored = serde_json::to_string(&decision.environment).unwrap();
        let loaded: Environment = serde_json::from_str(&stored).unwrap();
        assert_eq!(loaded, decision.environment, "the state survives being stored");
        self.environment = loaded;
        self.wake_at = decision.wake_at;
        let now = self.now;
        self.events.extend(decision.events.into_iter().map(|event| (now, event)));
        self.act();
        Ok(())
    }

    /// Does what is wanted: starts and stops instances, asks the proxy for the table.
    fn act(&mut self) {
        let now = self.now;
        for wanted in self.environment.wanted() {
            let fleet = self.fleets.entry(wanted.id.clone()).or_default();
            fleet.first.get_or_insert(now);
            let running = fleet.instances.iter().filter(|i| i.stopping.is_none()).count();
            for _ in running..wanted.replicas as usize {
                fleet.instances.push(Instance { started: now, stopping: None });
            }
            let surplus = running.saturating_sub(wanted.replicas as usize);
            let leaving = fleet.instances.iter_mut().rev().filter(|i| i.stopping.is_none());
            for instance in leaving.take(surplus) {
                instance.stopping = Some(now);
            }
        }
        for (id, fleet) in &mut self.fleets {
            if !self.environment.revisions.contains_key(id) {
                // The proxy must have taken the traffic away before anything stops.
                for instance in fleet.instances.iter_mut().filter(|i| i.stopping.is_none()) {
                    instance.stopping = Some(now);
                }
            }
        }
        let table = self.environment.route_table();
        if let Some((_, asked)) = &self.asked
            && asked.epoch == table.epoch
        {
            assert_eq!(*asked, table, "one epoch is one table");
        }
        if table.epoch > Epoch::default()
            && self.asked.as_ref().is_none_or(|(_, asked)| asked.epoch < table.epoch)
        {
            self.asked = Some((now, table));
        }
    }

    /// Lets one tick pass.
    pub(crate) fn tick(&mut self) {
        self.now += TICK;
        // Whoever waits for what never comes is told so, and does not wait for ever.
        self.ticks += 1;
        assert!(self.ticks < LIMIT, "still waiting after {LIMIT} ticks: {:?}", self.events.last());
        if let Some((at, table)) = &self.asked
            && self.now - at >= self.confirm_after
            && self.confirmed.as_ref() != Some(table)
        {
            if self.refuses {
                let reason = "the address is in use".to_owned();
                self.refused = Some(RouteRefusal { epoch: table.epoch, reason });
            } else {
                self.refused = None;
                self.confirmed = Some(table.clone());
                self.tables.push(table.clone());
            }
        }
        let now = self.now;
        let behaviours = self.behaviours.clone();
        for (id, fleet) in &mut self.fleets {
            let behaviour = behaviours.get(id).copied().unwrap_or(GOOD);
            let before = fleet.instances.len();
            fleet.instances.retain(|instance| {
                instance.stopping.is_none_or(|at| now - at < behaviour.drains_for)
            });
            let drained = before - fleet.instances.len();
            fleet.instances.retain(|instance| {
                instance.stopping.is_some()
                    || behaviour.dies_after.is_none_or(|after| now - instance.started < after)
            });
            let died = before - drained - fleet.instances.len();
            if died > 0 {
                fleet.exits += u32::try_from(died).unwrap();
                fleet.failure = Some(InstanceFailure {
                    instance: InstanceId::of(id, fleet.exits),
                    at: Timestamp::from_millis(i64::try_from(now).unwrap()),
                    what: "exited with code 1".into(),
                    fatal: false,
                    log: vec!["boom".into()],
                });
            }
        }
        self.act();
        self.feed(&Input::Look).expect("a look is never refused");
    }

    pub(crate) fn facts(&self, id: &RevisionId) -> RevisionFacts {
        let Some(fleet) = self.fleets.get(id) else {
            return RevisionFacts::default();
        };
        let behaviour = self.behaviours.get(id).copied().unwrap_or(GOOD);
        let ready = |instance: &&Instance| {
            instance.stopping.is_none()
                && behaviour.ready_after.is_some_and(|after| self.now - instance.started >= after)
        };
        let count = |n: usize| u32::try_from(n).unwrap();
        RevisionFacts {
            ready: count(fleet.instances.iter().filter(ready).count()),
            running: count(fleet.instances.len()),
            draining: count(fleet.instances.iter().filter(|i| i.stopping.is_some()).count()),
            exits: fleet.exits,
            failed_checks: 0,
            failure: fleet.failure.clone(),
            instances: Vec::new(),
        }
    }

    pub(crate) fn look(&self) -> Seen {
        let mut seen = Seen { fresh: true, ..Seen::default() };
        for id in self.fleets.keys() {
            seen.observation.revisions.insert(id.clone(), self.facts(id));
        }
        seen.observation.generation = Some(self.environment.generation);
        seen.observation.routes.epoch = self.confirmed.as_ref().map(|table| table.epoch);
        seen.observation.routes.refused.clone_from(&self.refused);
        if let Some(deployment) = &self.environment.deployment {
            seen.readings = deployment
                .begun()
                .iter()
                .map(|rollout| {
                    let Some(candidate) = &rollout.candidate else { return Vec::new() };
                    let candidate = &candidate.id;
                    let fleet = self.fleets.get(candidate);
                    let behaviour = self.behaviours.get(candidate).copied().unwrap_or(GOOD);
                    let bad = behaviour.bad_after.zip(fleet.and_then(|fleet| fleet.first));
                    let bad = bad.is_some_and(|(after, first)| {
                        self.now - first >= after
                            && self.environment.share(&rollout.component, candidate) > Share::NONE
                    });
                    let exits = fleet.map_or(0, |fleet| fleet.exits);
                    let read = |guard: &Guard| {
                        let fails = match guard.condition {
                            Condition::ErrorRate { .. } => bad,
                            Condition::Restarts { at_least } => exits >= at_least,
                            Condition::Latency { .. } | Condition::HealthCheckFailures { .. } => {
                                false
                            }
                        };
                        GuardReading {
                            guard: guard.text.clone(),
                            verdict: match fails {
                                true => Verdict::Fail,
                                false if self.uncounted => Verdict::InsufficientEvidence,
                                false => Verdict::Pass,
                            },
                            evidence: format!("{}: {fails}", guard.text),
                        }
                    };
                    rollout.guards.iter().map(read).collect()
                })
                .collect();
        }
        seen
    }

    /// Ticks until no deployment is under way. Fails when that takes longer than ten simulated minutes.
    pub(crate) fn settle(&mut self) -> Outcome {
        for _ in 0..6_000 {
            self.check();
            if self.environment.deployment.is_none() {
                return self.environment.latest.as_ref().unwrap().outcome;
            }
            self.tick();
        }
        panic!("still under way after ten minutes: {:?}", self.environment.deployment);
    }

    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..6_000 {
            self.check();
            if condition(self) {
                return;
            }
            self.tick();
        }
        panic!("{what} did not come within ten minutes");
    }

    pub(crate) fn share(&self, name: &str, deployment: u64) -> Share {
        let name = component(name);
        self.environment.share(&name, &RevisionId::of(&name, DeploymentId(deployment)))
    }

    pub(crate) fn serving(&self, name: &str) -> Option<String> {
        self.environment.components.get(&component(name))?.serving.as_ref().map(ToString::to_string)
    }

    /// Whether the deployment under way goes back.
    pub(crate) fn going_back(&self) -> bool {
        self.environment
            .deployment
            .as_ref()
            .is_some_and(|deployment| matches!(deployment.stage, Stage::GoingBack { .. }))
    }

    /// The invariants that hold at every moment, by their numbers in the research.
    pub(crate) fn check(&self) {
        let table = self.environment.route_table();
        for route in &table.routes {
            // 1: shares add up, and only known revisions have one.
            let sum: u32 = route.backends.iter().map(|backend| backend.share.hundredths()).sum();
            assert!(route.backends.is_empty() || sum == 10_000, "1: {route:?}");
            for backend in &route.backends {
                assert!(
                    self.environment.revisions.contains_key(&backend.revision),
                    "1: {} is routed to and not wanted",
                    backend.revision
                );
            }
        }
        // 7: the candidate never has more than the step under way allows.
        if let Some(deployment) = &self.environment.deployment
            && let Stage::Rolling(position) = &deployment.stage
        {
            let rollout = deployment.plan.as_ref().unwrap().rollouts.get(position.rollout);
            if let Some(rollout) = rollout
                && let Some(candidate) = &rollout.candidate
                && rollout.stable.as_ref() != Some(&candidate.id)
            {
                let allowed = rollout.steps[..rollout.steps.len().min(position.step + 1)]
                    .iter()
                    .filter_map(|step| match step {
                        tidegate_types::Step::Shift { share } => Some(*share),
                        _ => None,
                    })
                    .max()
                    .unwrap_or_default();
                let share = self.environment.share(&rollout.component, &candidate.id);
                assert!(share <= allowed, "7: {share} where {allowed} is allowed");
            }
        }
    }
}

fn spec(
    name: &ComponentName,
    release: &ReleaseId,
    part: &Part,
    route: Option<&str>,
) -> RevisionSpec {
    RevisionSpec {
        component: name.clone(),
        release: release.clone(),
        version: release.to_string(),
        artifact: Digest::new(format!("sha256-{release}")),
        replicas: part.replicas,
        workload: Workload::Process(ProcessSpec {
            command: "./run".into(),
            fixed_port: None,
            listens: part.routed,
            environment: BTreeMap::new(),
            health: HealthCheck {
                live: Probe::Tcp,
                ready: None,
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                retries: 3,
                start_period: Duration::ZERO,
                deadline: Duration::from_secs(5),
            },
            stop: StopPolicy {
                drain: Duration::from_secs(1),
                signal: Signal::Sigterm,
                timeout: Duration::from_secs(1),
            },
            log: LogLimits { file_bytes: 1_000, files: 1 },
        }),
        route: part.routed.then(|| RouteRule {
            host: None,
            path: route.map_or_else(|| format!("/{name}"), ToOwned::to_owned),
            strip_prefix: false,
            handling: tidegate_types::Handling::default(),
        }),
    }
}
