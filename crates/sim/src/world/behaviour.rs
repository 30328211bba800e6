//! How the instances of one revision behave.

use serde::{Deserialize, Serialize};

/// What a revision does once it runs. Times in milliseconds, from the start of an instance unless
/// said otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Until it is ready; never when absent.
    pub ready_after: Option<u64>,
    /// It cannot be started at all.
    pub broken: bool,
    /// It exits by itself then.
    pub exits_after: Option<u64>,
    /// From then on its checks get no answer, and neither do its requests.
    pub hangs_after: Option<u64>,
    /// Once ready it is unready for the second half of each such period.
    pub flaps_every: Option<u64>,
    /// From being told to stop to being gone.
    pub stops_after: u64,
    /// The share of its requests that fail, 0 to 1.
    pub errors: f64,
    /// The share that fails once an instance is old.
    pub errors_when_old: f64,
    /// The median latency in microseconds.
    pub latency: f64,
    /// The latency is that many times longer once an instance is old.
    pub slower_when_old: f64,
    /// An instance is old then; never when absent.
    pub old_after: Option<u64>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ready_after: Some(300),
            broken: false,
            exits_after: None,
            hangs_after: None,
            flaps_every: None,
            stops_after: 200,
            errors: 0.0,
            errors_when_old: 0.0,
            latency: 20_000.0,
            slower_when_old: 1.0,
            old_after: None,
        }
    }
}

impl Behaviour {
    /// The share of requests that fail in an instance of this age.
    #[must_use]
    pub fn error_rate(&self, age: u64) -> f64 {
        if self.hangs_after.is_some_and(|after| age >= after) {
            return 1.0;
        }
        let rate =
            if self.is_old(age) { self.errors.max(self.errors_when_old) } else { self.errors };
        rate.clamp(0.0, 1.0)
    }

    /// The median latency in microseconds of an instance of this age.
    #[must_use]
    pub fn median_latency(&self, age: u64) -> f64 {
        if self.is_old(age) { self.latency * self.slower_when_old } else { self.latency }
    }

    fn is_old(&self, age: u64) -> bool {
        self.old_after.is_some_and(|after| age >= after)
    }

    /// Whether an instance of this age would pass its checks, were it not told to stop.
    #[must_use]
    pub fn is_ready(&self, age: u64) -> bool {
        let Some(after) = self.ready_after.filter(|after| *after <= age) else { return false };
        let hangs = self.hangs_after.is_some_and(|hangs| age >= hangs);
        let flaps = self
            .flaps_every
            .filter(|period| *period > 1)
            .is_some_and(|period| (age - after) % period >= period / 2);
        !hangs && !flaps
    }

    /// The ages, after `age`, at which something about an instance changes.
    pub(crate) fn next_change(&self, age: u64) -> Option<u64> {
        let flap = self.ready_after.zip(self.flaps_every.filter(|period| *period > 1)).map(
            |(after, period)| {
                let half = (period / 2).max(1);
                if age < after { after } else { after + ((age - after) / half + 1) * half }
            },
        );
        [self.ready_after, self.exits_after, self.hangs_after, self.old_after, flap]
            .into_iter()
            .flatten()
            .filter(|change| *change > age)
            .min()
    }
}
