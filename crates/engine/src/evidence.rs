//! The samples of a deployment, and what its guards read from them: pure.
//!
//! Public so that a forecast judges by the very same evidence as a deployment does.

use std::collections::BTreeMap;

use tidegate_analysis::{Evidence, Summary};
use tidegate_core::Environment;
use tidegate_types::{
    Counters, Duration, GuardReading, Observation, RevisionId, Rollout, Sample, Timestamp, Verdict,
};

/// The samples that the guards of the deployment under way may need.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    by_revision: BTreeMap<RevisionId, Vec<Sample>>,
}

/// A sample that is older than this is followed by a gap.
const FRESH: Duration = Duration::from_millis(1_500);
/// Statistics for people look back this far.
const SHOWN: Duration = Duration::from_mins(1);

impl Samples {
    /// Takes the samples of one reading.
    pub fn add(&mut self, taken: Vec<(RevisionId, Sample)>) {
        for (revision, sample) in taken {
            self.by_revision.entry(revision).or_default().push(sample);
        }
    }

    /// Drops what is older than `keep` before `now`.
    pub fn forget(&mut self, keep: Duration, now: Timestamp) {
        for samples in self.by_revision.values_mut() {
            samples.retain(|sample| now.since(sample.to) <= keep);
        }
        self.by_revision.retain(|_, samples| !samples.is_empty());
    }

    /// The moment up to which a revision can be judged: its latest sample, while that is fresh. What
    /// came after it was not counted yet; that is no gap.
    fn counted_until(&self, revision: &RevisionId, now: Timestamp) -> Timestamp {
        let latest = self.of(revision).last().map(|sample| sample.to);
        latest.filter(|latest| now.since(*latest) <= FRESH).map_or(now, |latest| latest.min(now))
    }

    fn of(&self, revision: &RevisionId) -> &[Sample] {
        self.by_revision.get(revision).map_or(&[], Vec::as_slice)
    }

    /// What a revision did lately, for people.
    pub(crate) fn summary(&self, revision: &RevisionId, now: Timestamp) -> Option<Summary> {
        let samples = self.of(revision);
        let first = samples.iter().position(|sample| now.since(sample.from) <= SHOWN)?;
        Some(tidegate_analysis::summary(&samples[first..]))
    }
}

/// The longest window that a guard of the deployment under way looks back.
#[must_use]
pub fn longest_window(environment: &Environment) -> Duration {
    let plan = environment.deployment.as_ref().and_then(|deployment| deployment.plan.as_ref());
    let windows = plan
        .into_iter()
        .flat_map(|plan| &plan.rollouts)
        .flat_map(|rollout| &rollout.guards)
        .filter_map(|guard| guard.condition.window());
    windows.max().unwrap_or(SHOWN).max(SHOWN)
}

/// What was counted between two readings of the proxy's counters.
#[must_use]
pub fn between(
    from: Timestamp,
    before: &BTreeMap<RevisionId, Counters>,
    to: Timestamp,
    after: &BTreeMap<RevisionId, Counters>,
) -> Vec<(RevisionId, Sample)> {
    let nothing = Counters::default();
    after
        .iter()
        .map(|(revision, counters)| {
            let before = before.get(revision).unwrap_or(&nothing);
            (revision.clone(), Sample { from, to, counters: counters.since(before) })
        })
        .collect()
}

/// What every guard of every rollout that has begun says now.
#[must_use]
pub fn readings(
    environment: &Environment,
    observation: &Observation,
    samples: &Samples,
    now: Timestamp,
) -> Vec<Vec<GuardReading>> {
    of_each(environment, observation, samples, now, |rollout, evidence, until| {
        rollout.guards.iter().map(|guard| tidegate_analysis::read(guard, evidence, until)).collect()
    })
}

/// The verdicts of [`readings`] without their words, for whoever asks a hundred thousand times.
#[must_use]
pub fn verdicts(
    environment: &Environment,
    observation: &Observation,
    samples: &Samples,
    now: Timestamp,
) -> Vec<Vec<Verdict>> {
    of_each(environment, observation, samples, now, |rollout, evidence, until| {
        let guards = rollout.guards.iter();
        guards.map(|guard| tidegate_analysis::judge(guard, evidence, until).verdict()).collect()
    })
}

/// Asks about every rollout that has begun, with what is known of its candidate.
fn of_each<T>(
    environment: &Environment,
    observation: &Observation,
    samples: &Samples,
    now: Timestamp,
    ask: impl Fn(&Rollout, &Evidence<'_>, Timestamp) -> Vec<T>,
) -> Vec<Vec<T>> {
    let Some(deployment) = &environment.deployment else {
        return Vec::new();
    };
    let begun = deployment.begun().iter().zip(&deployment.progress);
    begun
        .map(|(rollout, progress)| {
            let Some(candidate) = &rollout.candidate else {
                return Vec::new();
            };
            let facts = observation.revisions.get(&candidate.id);
            let evidence = Evidence {
                samples: samples.of(&candidate.id),
                since: progress.first_traffic_at,
                failed_checks: facts.map_or(0, |facts| facts.failed_checks),
                restarts: facts
                    .map_or(0, |facts| facts.exits.saturating_sub(progress.exits_before)),
            };
            ask(rollout, &evidence, samples.counted_until(&candidate.id, now))
        })
        .collect()
}
