//! What the wrappers around store, target and preparer share: the fleet, the faults, the crashes.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_types::Timestamp;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep},
};

use crate::{
    oracle::{self, Oracle},
    project,
    scenario::{Call, Fault, How, Scenario},
};
use tidegate_sim::world::{Fleet, Settings};

/// So many calls without that time moves, and nothing will ever move again.
const LIVELOCK: u32 = 20_000;

/// Which control plane calls.
pub(crate) type Caller = u32;

/// A control plane that is to be killed, and for how many milliseconds it is gone.
pub(crate) type Crash = (Caller, u64);

pub(crate) struct Shared {
    pub(crate) scenario: Arc<Scenario>,
    began: Instant,
    fleet: Mutex<Fleet>,
    rate: f64,
    /// One for each control plane: who of several that wait for one is woken first is left to chance.
    changes: Mutex<BTreeMap<Caller, watch::Sender<u64>>>,
    /// Control planes that live.
    present: Mutex<u32>,
    /// Something was done to the fleet: look anew when it next changes by itself.
    pub(crate) touched: Notify,
    faults: Mutex<Faults>,
    crashes: mpsc::UnboundedSender<Crash>,
    pub(crate) oracle: Mutex<Oracle>,
}

/// The faults that are still to come.
struct Faults {
    /// No fault comes any more.
    calm: bool,
    left: Vec<Fault>,
    calls: BTreeMap<Call, u32>,
    struck: u32,
    at: u64,
    at_once: u32,
}

impl Shared {
    pub(crate) fn new(scenario: Arc<Scenario>, crashes: mpsc::UnboundedSender<Crash>) -> Self {
        let behaviours = Arc::clone(&scenario);
        let latencies = scenario.guards.iter().any(|(guard, _)| guard.starts_with('p'));
        Self {
            began: Instant::now(),
            fleet: Mutex::new(Fleet::new(Settings {
                seed: scenario.seed,
                rate: scenario.rate,
                latencies,
                behaviour: Box::new(move |spec| project::behaviour(&behaviours, spec)),
                began: Timestamp::from_millis(oracle::BEGAN),
            })),
            rate: scenario.rate,
            changes: Mutex::default(),
            present: Mutex::default(),
            touched: Notify::new(),
            faults: Mutex::new(Faults {
                calm: false,
                left: scenario.faults.clone(),
                calls: BTreeMap::new(),
                struck: 0,
                at: 0,
                at_once: 0,
            }),
            crashes,
            oracle: Mutex::new(Oracle::new()),
            scenario,
        }
    }

    /// Milliseconds since the start.
    pub(crate) fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The fleet as it is now.
    pub(crate) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        let mut fleet = lock(&self.fleet);
        fleet.advance(self.elapsed());
        fleet
    }

    /// Does something to the fleet and tells everybody who waits for a change.
    pub(crate) fn with_fleet<T>(&self, act: impl FnOnce(&mut Fleet) -> T) -> T {
        let result = act(&mut self.fleet());
        self.touched.notify_one();
        self.tell();
        result
    }

    pub(crate) fn tell(&self) {
        let changes = {
            let fleet = self.fleet();
            self.oracle().looked(&fleet);
            fleet.changes()
        };
        for sender in lock(&self.changes).values() {
            sender.send_if_modified(|known| std::mem::replace(known, changes) != changes);
        }
    }

    /// What a control plane listens to.
    pub(crate) fn changes(&self, caller: Caller) -> watch::Receiver<u64> {
        let mut changes = lock(&self.changes);
        changes.entry(caller).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// A control plane comes up.
    pub(crate) fn arrive(&self) {
        *lock(&self.present) += 1;
    }

    /// One dies. When it was the last, nobody looks after the fleet.
    pub(crate) fn leave(&self) {
        let mut present = lock(&self.present);
        *present = present.saturating_sub(1);
        if *present == 0 {
            self.with_fleet(Fleet::abandon);
        }
    }

    pub(crate) fn set_rate(&self, on: bool) {
        let rate = if on { self.rate } else { 0.0 };
        self.with_fleet(|fleet| fleet.set_rate(rate));
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        lock(&self.oracle)
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm_down(&self) {
        lock(&self.faults).calm = true;
    }

    /// How many faults came.
    pub(crate) fn struck(&self) -> u32 {
        lock(&self.faults).struck
    }

    /// How often each call was made.
    pub(crate) fn calls(&self) -> BTreeMap<Call, u32> {
        lock(&self.faults).calls.clone()
    }

    fn strike(&self, call: Call) -> Option<How> {
        let elapsed = self.elapsed();
        let mut faults = lock(&self.faults);
        if std::mem::replace(&mut faults.at, elapsed) == elapsed {
            faults.at_once += 1;
        } else {
            faults.at_once = 0;
        }
        assert!(faults.at_once < LIVELOCK, "{LIVELOCK} calls at {elapsed} ms: a livelock");
        let count = faults.calls.entry(call).or_default();
        *count += 1;
        let nth = *count;
        if faults.calm {
            return None;
        }
        let index = faults.left.iter().position(|fault| fault.call == call && fault.nth == nth)?;
        faults.struck += 1;
        Some(faults.left.swap_remove(index).how)
    }

    /// Makes a call, unless something goes wrong with it. `fail` makes its error; the argument says
    /// whether it may have taken effect.
    pub(crate) async fn call<T: Send + 'static, E: Send + 'static>(
        &self,
        caller: Caller,
        call: Call,
        effect: Pin<Box<dyn Future<Output = Result<T, E>> + Send>>,
        fail: impl Fn(How) -> E + Send,
    ) -> Result<T, E> {
        let Some(how) = self.strike(call) else { return effect.await };
        match how {
            How::Slow(millis) => {
                sleep(Duration::from_millis(millis)).await;
                effect.await
            }
            How::Before | How::Partial | How::Stale | How::Refused => Err(fail(how)),
            How::After => {
                let _ = effect.await;
                Err(fail(how))
            }
            How::Hangs => never().await,
            How::Lost => {
                let _ = effect.await;
                never().await
            }
            How::Late(millis) => {
                tokio::spawn(async move {
                    sleep(Duration::from_millis(millis)).await;
                    let _ = effect.await;
                });
                Err(fail(how))
            }
            How::CrashBefore(away) => self.crash(caller, away).await,
            How::CrashAfter(away) => {
                let _ = effect.await;
                self.crash(caller, away).await
            }
        }
    }

    async fn crash<T>(&self, caller: Caller, away: u64) -> T {
        // The other side ends with the trial.
        let _ = self.crashes.send((caller, away));
        never().await
    }
}

async fn never<T>() -> T {
    std::future::pending().await
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
