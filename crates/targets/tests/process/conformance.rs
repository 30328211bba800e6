//! What every target promises, tried with real processes and the real proxy.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process};
use tidegate_conformance::target::{Answer, Behaviour, Harness, Visitor};
use tidegate_targets::{ProcessTarget, Target, TargetError};
use tidegate_types::{
    Duration, Epoch, Generation, InstanceId, LogLine, Observation, RevisionId, RevisionSpec,
    RouteTable, Scope, WantedRevision, Workload, data_plane::Traffic,
};
use tokio::{
    runtime::{Handle, Runtime},
    sync::watch,
};

use crate::world::{World, app, get, is_alive, kill, spec, until_true};

tidegate_conformance::target_suite!(
    #[tokio::test]
    Home::new().await
);

/// A home, and one control plane after the other in it.
struct Home {
    world: World,
    control_plane: Option<ControlPlane>,
}

/// A target with a runtime of its own. When that ends, all that the target was doing ends with it
/// and is waited for, as the threads of a process end with the process.
struct ControlPlane {
    runtime: Runtime,
    target: Arc<ProcessTarget>,
}

impl Home {
    async fn new() -> Self {
        let mut home = Self { world: World::without_target(), control_plane: None };
        home.start().await;
        home
    }
}

/// Runtimes may not be dropped where others run.
fn end(control_plane: Option<ControlPlane>) {
    std::thread::spawn(move || drop(control_plane)).join().expect("a runtime ends");
}

impl Drop for Home {
    fn drop(&mut self) {
        end(self.control_plane.take());
    }
}

#[async_trait]
impl Harness for Home {
    fn target(&self) -> Arc<dyn Target> {
        let control_plane = self.control_plane.as_ref().expect("a control plane lives");
        let runtime = control_plane.runtime.handle().clone();
        Arc::new(Within { runtime, target: Arc::clone(&control_plane.target) })
    }

    async fn crash(&mut self) {
        end(self.control_plane.take());
    }

    async fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let target = {
            let _entered = runtime.enter();
            Arc::new(ProcessTarget::new(self.world.options()).unwrap())
        };
        self.control_plane = Some(ControlPlane { runtime, target });
    }

    fn specification(&self, behaviour: Behaviour) -> RevisionSpec {
        spec(Workload::Process(match behaviour {
            Behaviour::Good => app(&self.world, ""),
            Behaviour::Slow => app(&self.world, "ready_after=300"),
            Behaviour::Dying => app(&self.world, "die_after=20"),
        }))
    }

    fn visitor(&self) -> Visitor {
        Arc::new(|address, takes| {
            let address = address.parse().unwrap();
            Box::pin(async move {
                let path = match takes {
                    Duration::ZERO => "/".to_owned(),
                    takes => format!("/slow?ms={}", takes.as_millis()),
                };
                let (status, body) = get(address, &path).await.unwrap_or_default();
                // `version instance path`
                let instance = (status == 200).then(|| body.split(' ').nth(1)).flatten();
                let revision = instance.and_then(|id| id.rsplit_once('.'));
                Answer {
                    status,
                    instance: instance.map(InstanceId::new),
                    revision: revision.map(|(revision, _)| RevisionId::new(revision)),
                }
            })
        })
    }

    fn starts(&self, revision: &RevisionId) -> u32 {
        let reported = self.world.reported_lines().into_iter().filter(|(what, instance, _)| {
            what == "started"
                && instance.rsplit_once('.').is_some_and(|(of, _)| of == revision.as_str())
        });
        u32::try_from(reported.count()).unwrap()
    }

    async fn kill_instances(&self) {
        let started = self.world.reported("started");
        started.iter().copied().for_each(kill);
        until_true("all to be dead", || !started.iter().copied().any(is_alive)).await;
    }

    async fn kill_everything(&self) {
        until_true("all to be dead", || {
            let left = self.world.processes();
            for (pid, _) in &left {
                kill(*pid);
            }
            left.is_empty()
        })
        .await;
    }

    async fn silence(&self, silent: bool) -> bool {
        let pid = self.world.proxy().expect("a proxy runs");
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, if silent { Signal::STOP } else { Signal::CONT }).unwrap();
        true
    }

    async fn end(&mut self) {
        self.crash().await;
        self.world.end_everything();
    }
}

/// The target as it is reached from another runtime: what it begins belongs to its own.
struct Within {
    runtime: Handle,
    target: Arc<ProcessTarget>,
}

impl Within {
    async fn call<T>(&self, mut call: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> T {
        std::future::poll_fn(move |context: &mut Context<'_>| -> Poll<T> {
            let _entered = self.runtime.enter();
            call.as_mut().poll(context)
        })
        .await
    }
}

#[async_trait]
impl Target for Within {
    async fn apply(
        &self,
        scope: &Scope,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), TargetError> {
        self.call(self.target.apply(scope, generation, wanted)).await
    }

    async fn route(&self, table: &RouteTable) -> Result<Epoch, TargetError> {
        self.call(self.target.route(table)).await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation, TargetError> {
        self.call(self.target.observe(scope)).await
    }

    async fn traffic(&self, scope: &Scope) -> Result<Traffic, TargetError> {
        self.call(self.target.traffic(scope)).await
    }

    async fn logs(
        &self,
        scope: &Scope,
        revisions: &[RevisionId],
        lines: usize,
    ) -> Result<Vec<LogLine>, TargetError> {
        self.call(self.target.logs(scope, revisions, lines)).await
    }

    fn changes(&self, scope: &Scope) -> watch::Receiver<u64> {
        let _entered = self.runtime.enter();
        self.target.changes(scope)
    }
}
