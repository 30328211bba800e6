//! The simulated target in a place of its own, without an engine over it.
//!
//! What it promises is tried there by the suite that every target passes.

use std::{sync::Arc, time::Duration};

use tidegate_sim::world::{Behaviour, Fleet};
use tidegate_targets::Target;
use tidegate_types::{Digest, InstanceId};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    project,
    scenario::{Made, Scenario},
    shared::{Caller, Crash, Shared},
    target::SimulatedTarget,
};

const CONTROL_PLANE: Caller = 0;
/// Listens to the fleet as control planes do.
const VISITORS: Caller = 1;

/// A fleet, and one control plane after the other over it. Nobody sends requests but
/// [`Visitors`], and no call goes wrong.
pub struct Place {
    shared: Arc<Shared>,
    target: Option<Arc<SimulatedTarget>>,
    _crashes: mpsc::UnboundedReceiver<Crash>,
}

/// Whoever sends requests to a place.
#[derive(Clone)]
pub struct Visitors(Arc<Shared>);

impl Place {
    /// An empty one with a control plane. The instances of [`Self::artifact`] `n` behave as the nth
    /// of `component` does. Has to be called on a clock that is paused.
    pub async fn new(component: &str, behaviours: &[Behaviour]) -> Self {
        // From here on the clock stands at whole milliseconds, as in a trial.
        sleep(Duration::from_millis(1)).await;
        let made = |behaviour: &Behaviour| Made {
            changes: [(component.to_owned(), behaviour.clone())].into(),
            ..Made::default()
        };
        let scenario = Scenario {
            seed: 1,
            rate: 0.0,
            components: Vec::new(),
            guards: Vec::new(),
            without_evidence: tidegate_types::WithoutEvidence::Hold,
            releases: behaviours.iter().map(made).collect(),
            acts: Vec::new(),
            faults: Vec::new(),
        };
        let (told, crashes) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(Arc::new(scenario), told));
        let mut place = Self { shared, target: None, _crashes: crashes };
        place.start();
        place
    }

    /// What instances of the nth behaviour run.
    #[must_use]
    pub fn artifact(n: usize) -> Digest {
        project::artifact(n)
    }

    /// The target of the control plane that lives; none when it was killed.
    #[must_use]
    pub fn target(&self) -> Option<Arc<dyn Target>> {
        self.target.clone().map(|target| target as Arc<dyn Target>)
    }

    /// The control plane dies.
    pub fn crash(&mut self) {
        self.target = None;
    }

    /// Another one comes up, and with it the proxy should it be down.
    pub fn start(&mut self) {
        self.with_fleet(|fleet| fleet.set_proxy(true));
        self.target = Some(Arc::new(SimulatedTarget::new(CONTROL_PLANE, Arc::clone(&self.shared))));
    }

    /// Does something to the fleet.
    pub fn with_fleet<T>(&self, act: impl FnOnce(&mut Fleet) -> T) -> T {
        self.shared.with_fleet(act)
    }

    /// Who sends requests.
    #[must_use]
    pub fn visitors(&self) -> Visitors {
        Visitors(Arc::clone(&self.shared))
    }
}

impl Visitors {
    /// A request that takes so long. The instance that answered it; none when nobody did.
    pub async fn visit(&self, takes: Duration) -> Option<InstanceId> {
        let shared = &self.0;
        let mut changes = shared.changes(VISITORS);
        let instance = shared.with_fleet(Fleet::begin_visit)?;
        let end = Instant::now() + takes;
        while Instant::now() < end && shared.fleet().runs(&instance) {
            changes.mark_unchanged();
            let left = shared.fleet().next_change().map(|at| at.saturating_sub(shared.elapsed()));
            let next = left.map_or(end, |left| Instant::now() + Duration::from_millis(left));
            tokio::select! {
                biased;
                _ = changes.changed() => {}
                () = sleep_until(end.min(next)) => {}
            }
        }
        shared.with_fleet(|fleet| fleet.end_visit(&instance)).then_some(instance)
    }
}
