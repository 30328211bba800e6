//! Single requests from outside, each of which takes its time.

use std::collections::BTreeMap;

use tidegate_types::{InstanceId, Outcome, RevisionId, WeightedRevision};

use super::Fleet;

/// The revision and the number of an instance.
fn split(instance: &InstanceId) -> Option<(RevisionId, u32)> {
    let (revision, number) = instance.as_str().rsplit_once('.')?;
    Some((RevisionId::new(revision), number.parse().ok()?))
}

impl Fleet {
    /// One request comes from outside, besides those of the users, and takes its time: until
    /// [`Self::end_visit`] it is in flight. None when nobody can answer it.
    pub fn begin_visit(&mut self) -> Option<InstanceId> {
        let backends = &self.table.as_ref().filter(|_| self.proxy_up)?.routes.first()?.backends;
        let ready = |backend: &&WeightedRevision| {
            let revision = self.revisions.get(&backend.revision);
            revision.is_some_and(|revision| revision.ready(self.now) > 0)
        };
        let all: Vec<&WeightedRevision> = backends.iter().filter(ready).collect();
        let sum: u64 = all.iter().map(|backend| u64::from(backend.share.hundredths())).sum();
        // A stride without a common divisor with the sums that occur takes turns evenly, and takes
        // nothing from what is drawn for the users.
        self.visits += 1;
        let mut left = (self.visits * 6_181).checked_rem(sum)?;
        let chosen = all.iter().find(|backend| {
            let share = u64::from(backend.share.hundredths());
            let is_it = left < share;
            left = left.saturating_sub(share);
            is_it
        });
        let id = chosen?.revision.clone();
        let number = self.revisions.get_mut(&id)?.begin_visit(self.now)?;
        Some(InstanceId::of(&id, number))
    }

    /// A visit has taken its time. Says whether the instance was there to answer it.
    pub fn end_visit(&mut self, instance: &InstanceId) -> bool {
        let Some((id, number)) = split(instance) else { return false };
        let revision = self.revisions.get_mut(&id);
        let answered = revision.is_some_and(|revision| revision.end_visit(number));
        let counted = self.counters.entry(id).or_default();
        counted.ended.add(if answered { Outcome::Success } else { Outcome::EndpointReset }, 1);
        self.settle();
        answered
    }

    /// Whether an instance runs, be it that it leaves.
    #[must_use]
    pub fn runs(&self, instance: &InstanceId) -> bool {
        let revision = split(instance).and_then(|(id, number)| {
            let mut instances = self.revisions.get(&id)?.instances.iter();
            instances.find(|instance| instance.number == number)
        });
        revision.is_some()
    }

    /// How many visits each instance has.
    pub(super) fn in_flight(&self) -> BTreeMap<InstanceId, u64> {
        let instances = self.revisions.iter().flat_map(|(id, revision)| {
            revision.instances.iter().map(move |instance| (id, instance))
        });
        let busy = instances.filter(|(_, instance)| instance.visits > 0);
        busy.map(|(id, instance)| (InstanceId::of(id, instance.number), instance.visits.into()))
            .collect()
    }
}
