//! A target that lives in memory and outlives engines, a store that can be full, a clock that
//! follows tokio's paused time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration as StdDuration,
};

use async_trait::async_trait;
use serde_json::json;
use tidegate_core::{Failure, FailureCode, Outcome};
use tidegate_engine::{
    Clock, Current, DeploymentRequest, Engine, EnvironmentView, Prepare, Progress, Wish,
};
use tidegate_manifest::{Strategy, StrategyStep};
use tidegate_plan::strategy::{Situation, keep, steps};
use tidegate_store::{MemoryStore, Store};
use tidegate_targets::{Target, TargetError};
use tidegate_types::{
    ComponentName, Condition, Counters, DeploymentId, DeploymentKind, Digest, Duration, Epoch,
    Gateway, Generation, Guard, InstanceId, LogLine, Observation, Plan, PlannedRevision, ReleaseId,
    RevisionFacts, RevisionId, RevisionSpec, Rollout, RouteRefusal, RouteRule, RouteTable, Scope,
    Share, StaticSpec, Timestamp, WantedRevision, WithoutEvidence, Workload, data_plane::Traffic,
};
use tokio::{sync::watch, time::Instant};

pub(crate) fn scope() -> Scope {
    "shop/production".parse().unwrap()
}

pub(crate) fn revision(deployment: u64) -> RevisionId {
    RevisionId::new(format!("api@{deployment}"))
}

#[derive(Default)]
struct Inside {
    wanted: BTreeMap<RevisionId, (Instant, WantedRevision)>,
    generation: Option<Generation>,
    table: Option<RouteTable>,
    counted: BTreeMap<RevisionId, Counters>,
    counted_at: Option<Instant>,
    refused: Option<RouteRefusal>,
    /// Every table that was taken, for the checks.
    tables: Vec<RouteTable>,
}

/// Instances are ready 300 ms after they are wanted; the table takes 10 ms.
pub(crate) struct SimulatedTarget {
    inside: Mutex<Inside>,
    changes: watch::Sender<u64>,
    /// Revisions of which every tenth request fails.
    pub(crate) bad: Mutex<Vec<RevisionId>>,
    pub(crate) counters_hang: AtomicBool,
    pub(crate) no_traffic: AtomicBool,
    pub(crate) refuse: AtomicBool,
    pub(crate) route_calls: AtomicU32,
}

impl SimulatedTarget {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inside: Mutex::default(),
            changes: watch::channel(0).0,
            bad: Mutex::default(),
            counters_hang: AtomicBool::new(false),
            no_traffic: AtomicBool::new(false),
            refuse: AtomicBool::new(false),
            route_calls: AtomicU32::new(0),
        })
    }

    pub(crate) fn share(&self, revision: &RevisionId) -> Share {
        let inside = self.inside.lock().unwrap();
        let backends = inside.table.iter().flat_map(|table| &table.routes);
        backends
            .flat_map(|route| &route.backends)
            .find(|backend| &backend.revision == revision)
            .map_or(Share::NONE, |backend| backend.share)
    }

    pub(crate) fn tables(&self) -> Vec<RouteTable> {
        self.inside.lock().unwrap().tables.clone()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// A thousand requests a second, by the shares in force.
    fn count(&self, inside: &mut Inside) {
        let now = Instant::now();
        let since = inside.counted_at.replace(now).map_or(StdDuration::ZERO, |at| now - at);
        let Some(table) = inside.table.clone() else { return };
        for backend in table.routes.iter().flat_map(|route| &route.backends) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let requests = (since.as_secs_f64() * 1_000.0 * backend.share.fraction()) as u64;
            let requests = if self.no_traffic.load(Ordering::Relaxed) { 0 } else { requests };
            let bad = self.bad.lock().unwrap().contains(&backend.revision);
            let counters = inside.counted.entry(backend.revision.clone()).or_default();
            let errors = if bad { requests / 10 } else { 0 };
            counters.merge(&Counters::answered(requests, errors));
            counters.latency.add(100, requests);
        }
    }
}

#[async_trait]
impl Target for SimulatedTarget {
    async fn apply(
        &self,
        _: &Scope,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), TargetError> {
        let mut inside = self.inside.lock().unwrap();
        assert!(
            inside.generation.is_none_or(|known| known <= generation),
            "19: no list is ever replaced by an older one"
        );
        inside.generation = Some(generation);
        let now = Instant::now();
        let before = std::mem::take(&mut inside.wanted);
        for revision in wanted {
            let since = before.get(&revision.id).map_or(now, |(since, _)| *since);
            inside.wanted.insert(revision.id.clone(), (since, revision.clone()));
        }
        drop(inside);
        self.changed();
        Ok(())
    }

    async fn route(&self, table: &RouteTable) -> Result<Epoch, TargetError> {
        self.route_calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(StdDuration::from_millis(10)).await;
        let mut inside = self.inside.lock().unwrap();
        if self.refuse.load(Ordering::Relaxed) {
            let reason = "cannot listen on 127.0.0.1:80: address in use".to_owned();
            inside.refused = Some(RouteRefusal { epoch: table.epoch, reason: reason.clone() });
            drop(inside);
            self.changed();
            return Err(TargetError {
                operation: "publish the route table".into(),
                reason,
                retry: false,
                effect: tidegate_targets::Effect::None,
            });
        }
        assert!(
            inside.table.as_ref().is_none_or(|known| known.epoch <= table.epoch),
            "19: no table is ever replaced by an older one"
        );
        self.count(&mut inside);
        inside.refused = None;
        inside.table = Some(table.clone());
        inside.tables.push(table.clone());
        drop(inside);
        self.changed();
        Ok(table.epoch)
    }

    async fn observe(&self, _: &Scope) -> Result<Observation, TargetError> {
        let inside = self.inside.lock().unwrap();
        let mut observation = Observation::default();
        for (id, (since, wanted)) in &inside.wanted {
            let ready = since.elapsed() >= StdDuration::from_millis(300);
            let facts = RevisionFacts {
                ready: if ready { wanted.replicas.max(1) } else { 0 },
                running: wanted.replicas,
                ..RevisionFacts::default()
            };
            observation.revisions.insert(id.clone(), facts);
        }
        observation.routes.epoch = inside.table.as_ref().map(|table| table.epoch);
        observation.generation = inside.generation;
        observation.routes.refused.clone_from(&inside.refused);
        Ok(observation)
    }

    async fn traffic(&self, _: &Scope) -> Result<Traffic, TargetError> {
        if self.counters_hang.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let mut inside = self.inside.lock().unwrap();
        self.count(&mut inside);
        Ok(Traffic { revisions: inside.counted.clone(), ..Traffic::default() })
    }

    async fn logs(
        &self,
        _: &Scope,
        _: &[RevisionId],
        _: usize,
    ) -> Result<Vec<LogLine>, TargetError> {
        let _: Option<InstanceId> = None;
        Ok(Vec::new())
    }

    fn changes(&self, _: &Scope) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Tokio's paused time, and what it is told to jump.
pub(crate) struct PausedClock(Instant, AtomicU64);

impl PausedClock {
    pub(crate) fn jump(&self, time: StdDuration) {
        self.1.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let millis = u64::try_from(self.0.elapsed().as_millis()).unwrap();
        let millis = millis + self.1.load(Ordering::Relaxed);
        Timestamp::from_millis(1_000_000 + i64::try_from(millis).unwrap())
    }
}

/// Plans without building: canary 10 → 100 % with bakes of 5 s and a guard on errors.
pub(crate) struct Plans {
    pub(crate) takes: StdDuration,
    pub(crate) fails: AtomicBool,
    pub(crate) unguarded: AtomicBool,
    pub(crate) calls: AtomicU32,
}

#[async_trait]
impl Prepare for Plans {
    async fn prepare(
        &self,
        deployment: DeploymentId,
        request: &DeploymentRequest,
        earlier: Option<ReleaseId>,
        current: &Current,
        progress: Progress,
    ) -> Result<Plan, Failure> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        progress("building".to_owned());
        tokio::time::sleep(self.takes).await;
        if self.fails.load(Ordering::Relaxed) {
            return Err(Failure::new(FailureCode::Build, "the build failed"));
        }
        let bake = Duration::from_secs(5);
        let step = |percent| StrategyStep { share: Share::percent(percent), bake };
        let strategy =
            Strategy::Canary { steps: vec![step(10), step(100)], keep: Duration::from_secs(30) };
        let name: ComponentName = "api".parse().unwrap();
        let running = current.get(&name).cloned().unwrap_or_default();
        let stable = running.serving;
        let release = earlier.unwrap_or_else(|| ReleaseId::new(format!("r-{deployment}")));
        let warm = running.warm.filter(|(_, spec)| spec.release == release);
        let id = warm.as_ref().map_or_else(|| RevisionId::of(&name, deployment), |w| w.0.clone());
        let spec = RevisionSpec {
            component: name.clone(),
            release: release.clone(),
            version: release.to_string(),
            artifact: Digest::new("sha256-0"),
            replicas: 1,
            workload: Workload::Static(StaticSpec {
                single_page: false,
                keep_assets: StaticSpec::default_keep_assets(),
            }),
            route: Some(RouteRule::everything()),
        };
        Ok(Plan {
            deployment,
            scope: request.scope.clone(),
            kind: request.wish.kind(),
            version: release.to_string(),
            release,
            gateway: Gateway::default(),
            rollouts: vec![Rollout {
                component: name,
                stable: stable.as_ref().map(|(id, _, _)| id.clone()),
                stable_replicas: stable.as_ref().map_or(0, |(_, _, replicas)| *replicas),
                exclusive: false,
                steps: steps(
                    &strategy,
                    Situation { replicas: 1, stable: stable.map(|s| s.2), routed: true },
                ),
                candidate: Some(PlannedRevision { id, spec, warm: warm.is_some() }),
                guards: if self.unguarded.load(Ordering::Relaxed) {
                    Vec::new()
                } else {
                    vec![Guard {
                        text: "error_rate > 5% for 2s".into(),
                        condition: Condition::ErrorRate {
                            above: 0.05,
                            window: Duration::from_secs(2),
                            min_requests: 20,
                        },
                    }]
                },
                without_evidence: WithoutEvidence::Hold,
                keep: keep(&strategy),
            }],
            unchanged: Vec::new(),
        })
    }

    async fn abandon(&self, _: DeploymentId) {}
}

/// Everything that outlives an engine.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) target: Arc<SimulatedTarget>,
    pub(crate) plans: Arc<Plans>,
    pub(crate) clock: Arc<PausedClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_store(Arc::new(MemoryStore::default()))
    }

    pub(crate) fn with_store(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            target: SimulatedTarget::new(),
            plans: Arc::new(Plans {
                takes: StdDuration::from_secs(1),
                fails: AtomicBool::new(false),
                unguarded: AtomicBool::new(false),
                calls: AtomicU32::new(0),
            }),
            clock: Arc::new(PausedClock(Instant::now(), AtomicU64::new(0))),
        }
    }

    pub(crate) async fn engine(&self) -> Engine {
        Engine::start(
            Arc::clone(&self.store),
            Arc::clone(&self.target) as Arc<dyn Target>,
            Arc::clone(&self.plans) as Arc<dyn Prepare>,
            Arc::clone(&self.clock) as Arc<dyn Clock>,
        )
        .await
        .unwrap()
    }

    /// An engine with deployment 1 in place.
    pub(crate) async fn with_first(&self) -> Engine {
        let engine = self.engine().await;
        let id = deploy(&engine).await.unwrap();
        assert_eq!(ended(&engine, id).await, Outcome::Succeeded);
        until(&engine, "confirmation", |view| view.confirmed).await;
        engine
    }
}

pub(crate) fn request() -> DeploymentRequest {
    DeploymentRequest {
        scope: scope(),
        // Dirty: nothing asks git whether the reference exists.
        wish: Wish::Commit { repository: "/nowhere".into(), reference: "HEAD".into(), dirty: true },
        actor: "ana".into(),
        reason: None,
    }
}

pub(crate) async fn deploy(engine: &Engine) -> Result<DeploymentId, tidegate_engine::Error> {
    engine.deploy(request()).await
}

/// Waits until the environment looks like this; an hour of simulated time at most.
pub(crate) async fn until(
    engine: &Engine,
    what: &str,
    condition: impl Fn(&EnvironmentView) -> bool,
) -> EnvironmentView {
    let mut view = engine.view(&scope()).await.unwrap();
    let wait = async {
        loop {
            let seen = view.borrow_and_update().clone();
            if condition(&seen) {
                return (*seen).clone();
            }
            view.changed().await.expect("the actor lives");
        }
    };
    tokio::time::timeout(StdDuration::from_hours(1), wait)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come"))
}

pub(crate) async fn ended(engine: &Engine, id: DeploymentId) -> Outcome {
    let view = until(engine, "the end", |view| {
        view.deployment.is_none() && view.latest.as_ref().is_some_and(|l| l.deployment == id)
    })
    .await;
    view.latest.unwrap().outcome
}

pub(crate) async fn row(world: &World, id: DeploymentId) -> (String, DeploymentKind) {
    let detail = world.store.deployment(id).await.unwrap().unwrap();
    assert!(detail.deployment.summary != json!(null));
    (detail.deployment.status, detail.deployment.kind)
}
