//! The forecast's own loop against the real engine on tokio's paused clock, with the same fleet.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration as StdDuration,
};

use async_trait::async_trait;
use tidegate_core::{Failure, Outcome};
use tidegate_engine::{Clock, Current, DeploymentRequest, Engine, Prepare, Progress, Wish};
use tidegate_store::MemoryStore;
use tidegate_targets::{Target, TargetError};
use tidegate_types::{
    DeploymentId, DeploymentKind, Duration, Epoch, Generation, LogLine, Observation, Plan,
    ReleaseId, RevisionId, RouteTable, Scope, Step, Timestamp, WantedRevision, data_plane::Traffic,
};
use tokio::{sync::watch, time::Instant};

use super::{
    Fault, Question,
    life::{End, run},
    subject::{Subject, release},
};
use crate::world::{Fleet, Settings};

/// A target whose fleet follows tokio's time.
struct Followed {
    fleet: Mutex<Fleet>,
    began: Instant,
    changes: watch::Sender<u64>,
}

impl Followed {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn with<T>(&self, what: impl FnOnce(&mut Fleet) -> T) -> T {
        let mut fleet = self.fleet.lock().unwrap_or_else(PoisonError::into_inner);
        fleet.advance(self.now());
        let found = what(&mut fleet);
        let changes = fleet.changes();
        drop(fleet);
        self.changes.send_if_modified(|known| std::mem::replace(known, changes) != changes);
        found
    }

    /// Tells of changes that come by themselves.
    async fn tell(self: Arc<Self>) {
        loop {
            let next = self.with(|fleet| fleet.next_change());
            let now = self.now();
            let pause = next.map_or(100, |next| next.saturating_sub(now).clamp(1, 100));
            tokio::time::sleep(StdDuration::from_millis(pause)).await;
        }
    }
}

#[async_trait]
impl Target for Followed {
    async fn apply(
        &self,
        _: &Scope,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), TargetError> {
        self.with(|fleet| fleet.apply(generation, wanted)).expect("there is one control plane");
        Ok(())
    }

    async fn route(&self, table: &RouteTable) -> Result<Epoch, TargetError> {
        self.with(|fleet| fleet.route(table)).expect("every revision is known");
        Ok(table.epoch)
    }

    async fn observe(&self, _: &Scope) -> Result<Observation, TargetError> {
        Ok(self.with(|fleet| fleet.observe()))
    }

    async fn traffic(&self, _: &Scope) -> Result<Traffic, TargetError> {
        Ok(self.with(|fleet| fleet.traffic()).unwrap_or_default())
    }

    async fn logs(
        &self,
        _: &Scope,
        _: &[RevisionId],
        _: usize,
    ) -> Result<Vec<LogLine>, TargetError> {
        Ok(Vec::new())
    }

    fn changes(&self, _: &Scope) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::default().after(Duration::from_millis(
            u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX),
        ))
    }
}

/// Compiles as the forecast does; the first release has no bakes.
struct Plans(Question);

#[async_trait]
impl Prepare for Plans {
    async fn prepare(
        &self,
        deployment: DeploymentId,
        request: &DeploymentRequest,
        _: Option<ReleaseId>,
        current: &Current,
        _: Progress,
    ) -> Result<Plan, Failure> {
        let plan = tidegate_plan::compile(tidegate_plan::Request {
            deployment,
            kind: DeploymentKind::Deploy,
            scope: &request.scope,
            manifest: &self.0.manifest,
            release: &release(&self.0.manifest, deployment),
            current,
        });
        let mut plan = plan.expect("a plan");
        if deployment == DeploymentId(1) {
            for rollout in &mut plan.rollouts {
                rollout.steps.retain(|step| !matches!(step, Step::Bake { .. }));
            }
        }
        Ok(plan)
    }

    async fn abandon(&self, _: DeploymentId) {}
}

async fn deploy(engine: &Engine, scope: &Scope) -> (DeploymentId, Outcome) {
    let request = DeploymentRequest {
        scope: scope.clone(),
        wish: Wish::Commit { repository: "/nowhere".into(), reference: "HEAD".into(), dirty: true },
        actor: "ana".into(),
        reason: None,
    };
    let id = engine.deploy(request).await.expect("nothing is under way");
    let mut view = engine.view(scope).await.expect("a view");
    loop {
        let seen = view.borrow_and_update().clone();
        if let Some(latest) = seen.latest.as_ref().filter(|latest| latest.deployment == id)
            && seen.deployment.is_none()
        {
            return (id, latest.outcome);
        }
        view.changed().await.expect("the engine lives");
    }
}

/// How the real engine ends the same deployment, and how long that takes.
async fn really(question: &Question, fault: Fault) -> (Outcome, u64) {
    let subject = Subject::new(question).expect("a plan");
    let scope = subject.plan.scope.clone();
    let (rate, latencies) = (subject.rate, subject.latencies);
    let fleet = Fleet::new(Settings {
        seed: 7,
        rate,
        latencies,
        behaviour: Box::new(move |spec| subject.behaviour(spec, fault)),
        began: Timestamp::default(),
    });
    let target = Arc::new(Followed {
        fleet: Mutex::new(fleet),
        began: Instant::now(),
        changes: watch::channel(0).0,
    });
    let telling = tokio::spawn(Arc::clone(&target).tell());
    let clock = Arc::new(PausedClock(Instant::now()));
    let engine = Engine::start(
        Arc::new(MemoryStore::default()),
        Arc::clone(&target) as Arc<dyn Target>,
        Arc::new(Plans(question.clone())),
        clock,
    )
    .await
    .expect("an engine");
    assert_eq!(deploy(&engine, &scope).await, (DeploymentId(1), Outcome::Succeeded));
    tokio::time::sleep(StdDuration::from_secs(2)).await;
    let began = Instant::now();
    let (_, outcome) = deploy(&engine, &scope).await;
    telling.abort();
    (outcome, u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

#[tokio::test(start_paused = true)]
async fn the_real_engine_ends_the_same_way_at_the_same_time() {
    for strategy in [
        "canary: { steps: [10%, 100%], bake: 30s }",
        "blue_green: { canary: 20%, bake: 30s }",
        "rolling: { bake: 30s }",
        "recreate: { bake: 30s }",
    ] {
        let manifest = super::life::tests::manifest(strategy, "error_rate > 20% for 10s");
        let question = super::life::tests::question(&manifest);
        for fault in
            [Fault::CrashLoop, Fault::NeverReady, Fault::Errors50, Fault::Errors2, Fault::Healthy]
        {
            let subject = Subject::new(&question).expect("a plan");
            let forecast = run(&subject, fault, 7);
            let (outcome, took) = really(&question, fault).await;
            assert_eq!(forecast.end, End::Ended(outcome), "{strategy}, {fault}");
            // A look more or less at each step.
            let apart = forecast.took.abs_diff(took);
            assert!(apart <= 1_500, "{strategy}, {fault}: {} and {took}", forecast.took);
        }
    }
}
