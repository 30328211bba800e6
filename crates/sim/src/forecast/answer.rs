//! The figures of many runs.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_core::Outcome;
use tidegate_types::{ComponentName, Duration, Plan};

use super::{
    Fault, Rate,
    life::{End, Run},
};

/// What the plan would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// The component whose new version is bad.
    pub component: ComponentName,
    /// The plan that was run.
    #[serde(skip)]
    pub plan: Plan,
    /// Requests per second to each component that takes some.
    #[serde(rename = "requests_per_second")]
    pub rate: Rate,
    /// The share of requests that fail without any fault.
    pub errors: f64,
    /// The 95th percentile of the latency without any fault.
    pub p95_ms: Duration,
    /// How often each fault was run.
    pub runs: u32,
    /// Of what was drawn.
    pub seed: u64,
    /// Milliseconds between two looks.
    pub look_ms: u64,
    /// One for each fault, `healthy` last.
    pub faults: Vec<FaultForecast>,
}

/// What it would do with one fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultForecast {
    /// The fault.
    pub fault: Fault,
    /// What it is.
    pub meaning: &'static str,
    /// Whether going back is right.
    pub should_go_back: bool,
    /// How the runs ended.
    pub outcomes: Outcomes,
    /// The share of runs that went back: rolled back, or failed before any traffic moved.
    pub went_back: f64,
    /// From the start of the component's rollout to the decision, where there was one.
    pub decision_ms: Option<Spread>,
    /// Requests to the component during the deployment, and the spoiled ones among them.
    pub during: Harm,
    /// Requests spoiled in the hour after, in the runs in which the new version was not taken back;
    /// none when it always was.
    pub harmed_per_hour_after: Option<f64>,
    /// From the request to the end of the deployment.
    pub duration_ms: Option<Spread>,
    /// What decided, and in how many runs.
    pub decided_by: BTreeMap<String, u32>,
}

/// How runs ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// The new version serves.
    pub succeeded: u32,
    /// The old version serves again.
    pub rolled_back: u32,
    /// No traffic had moved.
    pub failed: u32,
    /// What serves is not what should.
    pub degraded: u32,
    /// It waits for evidence that does not come, or for a person.
    pub held: u32,
}

/// Means over all runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Harm {
    /// Requests to the component.
    pub requests: f64,
    /// Of these, spoiled by the fault, or by nobody being there to answer.
    pub harmed: f64,
    /// The one divided by the other.
    pub share: f64,
}

/// Half of the runs were below the one, 95 % below the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Milliseconds.
    pub median: u64,
    /// Milliseconds.
    pub p95: u64,
}

impl Outcomes {
    /// All runs.
    #[must_use]
    pub const fn runs(&self) -> u32 {
        self.succeeded + self.rolled_back + self.failed + self.degraded + self.held
    }

    /// The share of `part` in all runs.
    #[must_use]
    pub fn share(&self, part: u32) -> f64 {
        f64::from(part) / f64::from(self.runs().max(1))
    }

    fn count(&mut self, end: End) {
        let count = match end {
            End::Held => &mut self.held,
            End::Ended(Outcome::Succeeded) => &mut self.succeeded,
            End::Ended(Outcome::RolledBack) => &mut self.rolled_back,
            End::Ended(Outcome::Failed) => &mut self.failed,
            End::Ended(Outcome::Degraded) => &mut self.degraded,
        };
        *count += 1;
    }
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        let rank = |percent: usize| {
            let index = (values.len() * percent).div_ceil(100).checked_sub(1)?;
            values.get(index).copied()
        };
        Some(Self { median: rank(50)?, p95: rank(95)? })
    }
}

impl FaultForecast {
    pub(crate) fn of(fault: Fault, runs: &[Run]) -> Self {
        let mut outcomes = Outcomes::default();
        let mut decided_by: BTreeMap<String, u32> = BTreeMap::new();
        for run in runs {
            outcomes.count(run.end);
            if let Some(what) = &run.decided_by {
                *decided_by.entry(what.clone()).or_default() += 1;
            }
        }
        let mean = |value: &dyn Fn(&Run) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(value).collect();
            #[expect(clippy::cast_precision_loss, reason = "few runs")]
            let number = values.len() as f64;
            // Noise around the usual failures may come out below nothing.
            (!values.is_empty()).then(|| (values.iter().sum::<f64>() / number).max(0.0))
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let requests = mean(&|run| Some(run.requests as f64)).unwrap_or(0.0);
        let harmed = mean(&|run| Some(run.harmed)).unwrap_or(0.0);
        Self {
            fault,
            meaning: fault.meaning(),
            should_go_back: fault.is_bad(),
            outcomes,
            went_back: outcomes.share(outcomes.rolled_back + outcomes.failed),
            decision_ms: Spread::of(runs.iter().filter_map(|run| run.decided).collect()),
            during: Harm {
                requests,
                harmed,
                share: if requests > 0.0 { harmed / requests } else { 0.0 },
            },
            harmed_per_hour_after: mean(&|run| run.harmed_after),
            duration_ms: Spread::of(
                runs.iter().filter(|run| run.end != End::Held).map(|run| run.took).collect(),
            ),
            decided_by,
        }
    }
}
