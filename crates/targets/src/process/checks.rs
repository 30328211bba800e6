//! What the checks of one instance add up to, and the task that makes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_types::{Duration, HealthCheck};
use tokio::{sync::Notify, task::AbortHandle};

use super::{
    decide::Health,
    probe::{Subject, ask},
};

/// The pause after the first check of an instance that is not ready yet.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// The sum of all checks so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    /// Asked at least once.
    pub(crate) checked: bool,
    /// Was ready at some time.
    pub(crate) was_ready: bool,
    ready: bool,
    /// Readiness checks failed in a row since it was ready.
    pub(crate) failed: u32,
    live_failed: u32,
    /// Not alive by its own checks.
    pub(crate) broken: bool,
    /// What the last check that failed said.
    pub(crate) said: Option<String>,
}

impl Checks {
    /// Those of an instance that was ready before this control plane started: it is trusted until
    /// its checks say otherwise.
    pub(crate) fn of_adopted(was_ready: bool) -> Self {
        Self { was_ready, ready: was_ready, ..Self::default() }
    }

    pub(crate) const fn health(&self) -> Health {
        match (self.was_ready, self.ready) {
            (false, _) => Health::Starting,
            (true, false) => Health::Unready,
            (true, true) => Health::Ready,
        }
    }

    fn ready_answer(&mut self, answer: &Result<(), String>, retries: u32) {
        self.checked = true;
        match answer {
            Ok(()) => {
                self.ready = true;
                self.was_ready = true;
                self.failed = 0;
            }
            Err(said) => {
                self.said = Some(said.clone());
                if self.was_ready {
                    self.failed = self.failed.saturating_add(1);
                    self.ready = self.ready && self.failed < retries;
                }
            }
        }
    }

    fn live_answer(&mut self, answer: &Result<(), String>, retries: u32, in_start_period: bool) {
        match answer {
            Ok(()) => {
                self.live_failed = 0;
                self.broken = false;
            }
            // Before it is ready for the first time the deadline is what ends it.
            Err(_) if in_start_period || !self.was_ready => {}
            Err(said) => {
                self.said = Some(said.clone());
                self.live_failed = self.live_failed.saturating_add(1);
                self.broken = self.live_failed >= retries;
            }
        }
    }

    /// How many checks in a row made it broken.
    pub(crate) const fn live_failed(&self) -> u32 {
        self.live_failed
    }
}

/// Checks an instance for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Prober {
    checks: Arc<Mutex<Checks>>,
    task: AbortHandle,
}

impl Prober {
    /// Starts to check; `wake` is told whenever the sum changes.
    pub(crate) fn start(
        checks: Checks,
        policy: HealthCheck,
        subject: Subject,
        wake: Arc<Notify>,
    ) -> Self {
        let checks = Arc::new(Mutex::new(checks));
        let task = tokio::spawn(check(Arc::clone(&checks), policy, subject, wake));
        Self { checks, task: task.abort_handle() }
    }

    pub(crate) fn checks(&self) -> Checks {
        lock(&self.checks).clone()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(checks: &Mutex<Checks>) -> MutexGuard<'_, Checks> {
    checks.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn check(
    checks: Arc<Mutex<Checks>>,
    policy: HealthCheck,
    subject: Subject,
    wake: Arc<Notify>,
) {
    let retries = policy.retries.max(1);
    let mut pause = FIRST_PAUSE.min(policy.interval);
    loop {
        let ready_probe = policy.ready.as_ref().unwrap_or(&policy.live);
        let ready = ask(ready_probe, &subject, policy.timeout).await;
        let live = match &policy.ready {
            Some(_) => ask(&policy.live, &subject, policy.timeout).await,
            None => ready.clone(),
        };
        let age = subject.clock.now().since(subject.started);
        let was_ready = {
            let mut checks = lock(&checks);
            let before = Checks { said: None, ..checks.clone() };
            checks.ready_answer(&ready, retries);
            checks.live_answer(&live, retries, age < policy.start_period);
            let after = Checks { said: None, ..checks.clone() };
            if before != after {
                wake.notify_one();
            }
            checks.was_ready
        };
        let wait = if was_ready { policy.interval } else { pause };
        // Never quite without a pause, whatever the interval.
        tokio::time::sleep(wait.max(Duration::from_millis(1)).into()).await;
        let longer = Duration::from_millis(pause.as_millis() * 3 / 2);
        pause = longer.min(policy.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad() -> Result<(), String> {
        Err("GET /health answered 503".to_owned())
    }

    #[test]
    fn ready_once_unready_after_retries_ready_after_one() {
        let mut checks = Checks::default();
        for _ in 0..5 {
            checks.ready_answer(&bad(), 3);
        }
        assert_eq!((checks.health(), checks.failed), (Health::Starting, 0));
        checks.ready_answer(&Ok(()), 3);
        assert_eq!(checks.health(), Health::Ready);
        checks.ready_answer(&bad(), 3);
        checks.ready_answer(&bad(), 3);
        assert_eq!((checks.health(), checks.failed), (Health::Ready, 2));
        checks.ready_answer(&bad(), 3);
        assert_eq!((checks.health(), checks.failed), (Health::Unready, 3));
        checks.ready_answer(&Ok(()), 3);
        assert_eq!((checks.health(), checks.failed), (Health::Ready, 0));
    }

    #[test]
    fn failures_before_it_is_ready_and_in_the_start_period_do_not_break_it() {
        let mut checks = Checks::default();
        for _ in 0..5 {
            checks.live_answer(&bad(), 3, false);
        }
        checks.ready_answer(&Ok(()), 3);
        for _ in 0..5 {
            checks.live_answer(&bad(), 3, true);
        }
        assert!(!checks.broken);
        for _ in 0..3 {
            assert!(!checks.broken);
            checks.live_answer(&bad(), 3, false);
        }
        assert!(checks.broken);
        checks.live_answer(&Ok(()), 3, false);
        assert!(!checks.broken);
    }

    #[test]
    fn an_adopted_instance_is_what_it_was() {
        assert_eq!(Checks::of_adopted(true).health(), Health::Ready);
        assert_eq!(Checks::of_adopted(false).health(), Health::Starting);
    }
}
