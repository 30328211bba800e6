//! Who gets which share: 1, 2, 3, 4, 7, 10, 11.

use std::collections::BTreeSet;

use tidegate_core::{Component, Event};
use tidegate_types::{ComponentName, PlannedRevision, RevisionId, Rollout, Share, Step};

use super::{Case, going_back, resizes, rolling};
use crate::Breaches;

pub(super) fn check(case: &Case<'_>, breaches: &mut Breaches) {
    table(case, breaches);
    answered(case, breaches);
    only_what_is_planned(case, breaches);
    raised(case, breaches);
    forward(case, breaches);
    back(case, breaches);
}

/// 1: the table as it is published.
fn table(case: &Case<'_>, breaches: &mut Breaches) {
    if case.before.epoch == case.after.epoch {
        return;
    }
    let table = case.after.route_table();
    let mut rules = BTreeSet::new();
    for route in &table.routes {
        let sum: u32 = route.backends.iter().map(|backend| backend.share.hundredths()).sum();
        breaches.check(1, route.backends.is_empty() || sum == 10_000, || {
            format!("the shares of {} add up to {sum} hundredths", route.component)
        });
        for backend in &route.backends {
            breaches.check(1, case.after.revisions.contains_key(&backend.revision), || {
                format!("{} is routed to and not wanted", backend.revision)
            });
        }
        breaches.check(1, rules.insert((&route.rule.host, &route.rule.path)), || {
            format!("two routes claim {:?}{}", route.rule.host, route.rule.path)
        });
    }
}

/// 3: whoever takes requests has somebody to answer them.
fn answered(case: &Case<'_>, breaches: &mut Breaches) {
    if case.before.components == case.after.components
        && case.before.deployment.is_some() == case.after.deployment.is_some()
    {
        return;
    }
    let routed = |id: &RevisionId| {
        case.after.revisions.get(id).is_some_and(|wanted| wanted.spec.route.is_some())
    };
    for (name, component) in &case.after.components {
        let Some(serving) = &component.serving else {
            breaches.check(3, case.after.deployment.is_some(), || format!("{name} has nothing"));
            continue;
        };
        breaches.check(3, case.after.revisions.contains_key(serving), || {
            format!("{serving} serves {name} and is not wanted")
        });
        if !routed(serving) {
            continue;
        }
        if case.after.deployment.is_none() {
            breaches.check(3, component.shares == [(serving.clone(), Share::ALL)], || {
                format!("{serving} serves {name}, and the shares are {:?}", component.shares)
            });
            continue;
        }
        let rollout = case.rollouts().iter().find(|rollout| rollout.component == *name);
        let gap = rollout.is_some_and(leaves_a_gap);
        breaches.check(3, gap || has_traffic(component), || {
            format!("nobody answers the requests of {name}")
        });
    }
    // Two components may claim the same requests; somebody with traffic has to have them.
    let table = case.after.route_table();
    for component in case.after.components.values() {
        let taking = component.shares.iter().filter(|(_, share)| *share > Share::NONE);
        for rule in taking.filter_map(|(id, _)| case.after.revisions.get(id)?.spec.route.as_ref()) {
            let route = table
                .routes
                .iter()
                .find(|route| (&route.rule.host, &route.rule.path) == (&rule.host, &rule.path));
            let answers = route.is_some_and(|route| {
                route.backends.iter().any(|backend| backend.share > Share::NONE)
            });
            breaches.check(3, answers, || format!("nobody answers {rule:?}"));
        }
    }
}

/// Whether the plan stops all of the old before anything new may serve: `recreate`, a rolling
/// update without room for one more, or a removal.
fn leaves_a_gap(rollout: &Rollout) -> bool {
    let first = rollout.steps.iter().find(|step| match step {
        Step::Shift { share } => *share > Share::NONE,
        Step::Shrink { instances } => *instances == 0,
        Step::Scale { .. } | Step::Bake { .. } => false,
    });
    rollout.candidate.is_none() || matches!(first, Some(Step::Shrink { .. }))
}

fn has_traffic(component: &Component) -> bool {
    component.shares.iter().any(|(_, share)| *share > Share::NONE)
}

/// 7: components that the plan does not name keep their shares.
fn only_what_is_planned(case: &Case<'_>, breaches: &mut Breaches) {
    for (name, component) in &case.before.components {
        if case.rollouts().iter().any(|rollout| rollout.component == *name) {
            continue;
        }
        let after = case.after.components.get(name).map(|component| &component.shares);
        breaches.check(7, after == Some(&component.shares), || {
            format!("the shares of {name} changed without a plan")
        });
    }
}

/// 2: traffic goes where an instance is ready, if there is one.
fn raised(case: &Case<'_>, breaches: &mut Breaches) {
    let back = going_back(case.before) || case.turned();
    for (name, component) in &case.after.components {
        for (id, share) in &component.shares {
            if *share <= case.before.share(name, id) || case.seen.facts(id).ready > 0 {
                continue;
            }
            let former = case.before.components.get(name);
            let condemned = |other: &RevisionId| back && is_candidate(case, name, other);
            let better = former.into_iter().flat_map(|former| &former.shares).find(|(other, _)| {
                other != id && !condemned(other) && case.seen.facts(other).ready > 0
            });
            breaches.check(2, better.is_none(), || {
                format!("{id} got {share} with no instance ready, and {better:?} has one")
            });
        }
    }
}

fn candidate_of<'a>(case: &Case<'a>, name: &ComponentName) -> Option<&'a PlannedRevision> {
    case.rollouts().iter().find(|rollout| rollout.component == *name)?.candidate.as_ref()
}

fn is_candidate(case: &Case<'_>, name: &ComponentName, id: &RevisionId) -> bool {
    candidate_of(case, name).is_some_and(|candidate| candidate.id == *id)
}

/// 4 and 7: on the way forward.
fn forward(case: &Case<'_>, breaches: &mut Breaches) {
    let Some((_, position)) = rolling(case.after) else { return };
    for (index, rollout) in case.rollouts().iter().enumerate() {
        let Some(candidate) = rollout.candidate.as_ref().filter(|_| !resizes(rollout)) else {
            continue;
        };
        let steps = match index.cmp(&position.rollout) {
            std::cmp::Ordering::Less => rollout.steps.as_slice(),
            std::cmp::Ordering::Equal => {
                let entered = position.step + usize::from(position.entered);
                &rollout.steps[..entered.min(rollout.steps.len())]
            }
            std::cmp::Ordering::Greater => &[],
        };
        let shares = rollout.stable.as_ref().is_some_and(|stable| {
            let stable = case.before.revisions.get(stable);
            stable.is_some_and(|stable| stable.spec.route.is_some())
        });
        let allowed = allowed(shares, steps);
        let (before, after) = (
            case.before.share(&rollout.component, &candidate.id),
            case.after.share(&rollout.component, &candidate.id),
        );
        breaches.check(7, after <= allowed, || {
            format!("{} has {after} where its steps allow {allowed}", candidate.id)
        });
        breaches.check(7, after >= before, || {
            format!("{} fell from {before} to {after} on the way forward", candidate.id)
        });
        if after > before {
            let wanted = case.after.revisions.get(&candidate.id);
            let wanted = wanted.map_or(0, |wanted| wanted.replicas);
            let needed = after.of_count(candidate.spec.replicas).min(wanted).max(1);
            let ready = case.seen.facts(&candidate.id).ready;
            breaches.check(4, ready >= needed && case.seen.fresh, || {
                format!("{} got {after} with {ready} of {needed} instances", candidate.id)
            });
        }
    }
}

/// What the candidate may have after these steps.
fn allowed(shares: bool, steps: &[Step]) -> Share {
    let shifts = steps.iter().filter_map(|step| match step {
        // Nobody is there to share with.
        Step::Shift { .. } if !shares => Some(Share::ALL),
        Step::Shift { share } => Some(*share),
        Step::Scale { .. } | Step::Bake { .. } | Step::Shrink { .. } => None,
    });
    shifts.max().unwrap_or_default()
}

/// 10 and 11: on the way back.
fn back(case: &Case<'_>, breaches: &mut Breaches) {
    let turned = case.turned();
    if !turned && !going_back(case.before) {
        return;
    }
    for (index, rollout) in case.rollouts().iter().enumerate() {
        if resizes(rollout) {
            continue;
        }
        let name = &rollout.component;
        if let Some(candidate) = &rollout.candidate {
            let before = case.before.share(name, &candidate.id);
            let after = case.after.share(name, &candidate.id);
            // What cannot go back may be kept, and is told to be a failure.
            breaches.check(10, after <= before || case.ended(), || {
                format!("{} failed and rose from {before} to {after}", candidate.id)
            });
        }
        let Some(stable) = &rollout.stable else { continue };
        let carries = |id: &RevisionId| {
            case.before.revisions.get(id).is_some_and(|wanted| wanted.spec.route.is_some())
        };
        let warm = !case.progress(index).shrunk && case.seen.facts(stable).ready > 0;
        if turned && warm && carries(stable) {
            let share = case.after.share(name, stable);
            let last = case.events.iter().rev().find_map(|event| match event {
                Event::Routed { component, shares, .. } if component == name => Some(shares),
                _ => None,
            });
            breaches.check(11, share == Share::ALL, || {
                format!("{stable} is warm and has {share} after the decision to go back: {last:?}")
            });
        }
    }
}
