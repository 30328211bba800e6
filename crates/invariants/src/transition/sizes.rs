//! How many instances are wanted: 4, 5, 6, 16.

use tidegate_core::Event;
use tidegate_types::{ComponentName, RevisionId, Rollout, Share, Step, WantedRevision};

use super::{Case, going_back, resizes};
use crate::Breaches;

pub(super) fn check(case: &Case<'_>, breaches: &mut Breaches) {
    if case.before.revisions == case.after.revisions {
        return;
    }
    for (id, wanted) in &case.after.revisions {
        let before = case.before.revisions.get(id).map_or(0, |before| before.replicas);
        let new = !case.before.revisions.contains_key(id);
        if new || wanted.replicas > before {
            grown(case, wanted, before, breaches);
        } else if wanted.replicas < before {
            shrunk(case, wanted, before, breaches);
        }
    }
    for id in case.before.revisions.keys() {
        if !case.after.revisions.contains_key(id) {
            retired(case, id, breaches);
        }
    }
}

fn entered<'a>(case: &Case<'a>) -> impl Iterator<Item = (&'a ComponentName, Step)> {
    case.events.iter().filter_map(|event| match event {
        Event::StepEntered { component, step, .. } => Some((component, *step)),
        _ => None,
    })
}

fn grown(case: &Case<'_>, wanted: &WantedRevision, before: u32, breaches: &mut Breaches) {
    let id = &wanted.id;
    let scaled = entered(case).any(|(component, step)| {
        let rollout = case.rollouts().iter().find(|rollout| rollout.component == *component);
        let candidate = rollout.and_then(|rollout| rollout.candidate.as_ref());
        candidate.is_some_and(|candidate| candidate.id == *id)
            && matches!(step, Step::Scale { instances } if wanted.replicas <= instances.max(before))
    });
    let back = going_back(case.before) || case.turned();
    let restored = back
        && case.rollouts().iter().any(|rollout| {
            rollout.stable.as_ref() == Some(id) && wanted.replicas == rollout.stable_replicas
        });
    breaches.check(16, scaled || restored, || {
        format!("{id} grew from {before} to {} without a step that says so", wanted.replicas)
    });
}

fn shrunk(case: &Case<'_>, wanted: &WantedRevision, before: u32, breaches: &mut Breaches) {
    let id = &wanted.id;
    let back = going_back(case.before) || case.turned();
    let of = |rollout: &&Rollout| {
        rollout.stable.as_ref() == Some(id)
            || rollout.candidate.as_ref().is_some_and(|candidate| candidate.id == *id)
    };
    let Some(rollout) = case.rollouts().iter().find(of) else {
        breaches.check(4, false, || format!("{id} shrank without a plan"));
        return;
    };
    if resizes(rollout) {
        return;
    }
    if rollout.stable.as_ref() != Some(id) {
        breaches.check(4, back && rollout.exclusive, || {
            format!("{id} is the candidate and shrank from {before} to {}", wanted.replicas)
        });
        return;
    }
    let planned = entered(case).any(|(component, step)| {
        *component == rollout.component
            && matches!(step, Step::Shrink { instances } if instances <= wanted.replicas)
    });
    breaches.check(5, planned && !back, || {
        format!("{id} shrank from {before} to {} without a step", wanted.replicas)
    });
    // Without a share to give up there is nothing to confirm: `recreate`, and a rolling update
    // that has to make room first.
    let share = case.before.share(&rollout.component, id);
    let gave =
        share > Share::NONE && share < Share::ALL || share == Share::NONE && !rollout.exclusive;
    let routed = wanted.spec.route.is_some();
    breaches.check(4, !(gave && routed) || case.confirmed_before(), || {
        format!("{id} shrank, and its smaller share of {share} is not confirmed")
    });
}

/// 6: what is no longer wanted had lost its traffic, for certain.
fn retired(case: &Case<'_>, id: &RevisionId, breaches: &mut Breaches) {
    breaches.check(6, case.after.deployment.is_none(), || {
        format!("{id} was retired in the middle of a deployment")
    });
    let component = &case.before.revisions[id].spec.component;
    let share = case.before.share(component, id);
    let ready = case.seen.facts(id).ready;
    // A component that takes no requests any more loses them with what took them.
    let route_gone = !case.after.components.get(component).is_some_and(|component| {
        let serving = component.serving.as_ref().and_then(|id| case.after.revisions.get(id));
        serving.is_some_and(|serving| serving.spec.route.is_some())
    });
    breaches.check(6, share == Share::NONE || ready == 0 || route_gone, || {
        format!("{id} was retired with {share} of the traffic and {ready} ready instances")
    });
    if going_back(case.before) {
        let refused = case.seen.observation.routes.refused.as_ref();
        let refused = refused.is_some_and(|refused| refused.epoch == case.before.epoch);
        breaches.check(6, case.seen.fresh && (case.confirmed_before() || refused), || {
            format!("{id} was retired before the data plane confirmed that it has no traffic")
        });
    }
}
