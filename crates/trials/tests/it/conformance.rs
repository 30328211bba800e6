//! What every target promises, tried with the simulated one on a clock that stands until all wait.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_conformance::target::{Answer, Behaviour, Harness, Visitor};
use tidegate_sim::world;
use tidegate_targets::Target;
use tidegate_trials::Place;
use tidegate_types::{
    Duration, HealthCheck, LogLimits, Probe, ProcessSpec, ReleaseId, RevisionId, RevisionSpec,
    RouteRule, Signal, StopPolicy, Workload,
};

tidegate_conformance::target_suite!(
    #[tokio::test(start_paused = true)]
    Simulated::new().await;
    without one_scope_is_nothing_to_another: "a simulated world has one scope and refuses others"
);

struct Simulated(Place);

impl Simulated {
    async fn new() -> Self {
        let ready = |after| world::Behaviour {
            ready_after: Some(after),
            stops_after: 50,
            ..world::Behaviour::default()
        };
        let dying = world::Behaviour { exits_after: Some(20), ..ready(5) };
        Self(Place::new("api", &[ready(30), ready(300), dying]).await)
    }
}

#[async_trait]
impl Harness for Simulated {
    fn target(&self) -> Arc<dyn Target> {
        self.0.target().expect("a control plane lives")
    }

    async fn crash(&mut self) {
        self.0.crash();
    }

    async fn start(&mut self) {
        self.0.start();
    }

    fn specification(&self, behaviour: Behaviour) -> RevisionSpec {
        let behaviour = match behaviour {
            Behaviour::Good => 0,
            Behaviour::Slow => 1,
            Behaviour::Dying => 2,
        };
        RevisionSpec {
            component: "api".parse().expect("a name"),
            release: ReleaseId::new("r-1"),
            version: "v1".to_owned(),
            artifact: Place::artifact(behaviour),
            replicas: 1,
            workload: Workload::Process(ProcessSpec {
                command: "run".to_owned(),
                fixed_port: None,
                listens: true,
                environment: [].into(),
                health: HealthCheck {
                    live: Probe::Tcp,
                    ready: None,
                    interval: Duration::from_millis(100),
                    timeout: Duration::from_millis(100),
                    retries: 3,
                    start_period: Duration::ZERO,
                    deadline: Duration::from_secs(30),
                },
                stop: StopPolicy {
                    drain: Duration::from_hours(1),
                    signal: Signal::Sigterm,
                    timeout: Duration::from_secs(5),
                },
                log: LogLimits { file_bytes: 1, files: 1 },
            }),
            route: Some(RouteRule::everything()),
        }
    }

    fn visitor(&self) -> Visitor {
        let visitors = self.0.visitors();
        Arc::new(move |_, takes| {
            let visitors = visitors.clone();
            Box::pin(async move {
                let takes = std::time::Duration::from_millis(takes.as_millis());
                let instance = visitors.visit(takes).await;
                let revision = instance.as_ref().and_then(|id| id.as_str().rsplit_once('.'));
                Answer {
                    status: if instance.is_some() { 200 } else { 0 },
                    revision: revision.map(|(revision, _)| RevisionId::new(revision)),
                    instance,
                }
            })
        })
    }

    fn starts(&self, revision: &RevisionId) -> u32 {
        self.0.with_fleet(|fleet| fleet.started(revision))
    }

    async fn kill_instances(&self) {
        self.0.with_fleet(world::Fleet::kill_all);
    }

    async fn kill_everything(&self) {
        self.0.with_fleet(|fleet| {
            fleet.kill_all();
            fleet.set_proxy(false);
        });
    }

    async fn silence(&self, silent: bool) -> bool {
        self.0.with_fleet(|fleet| fleet.set_silent(silent));
        true
    }

    async fn end(&mut self) {
        self.0.crash();
    }
}
