//! Each change has an event that says why: 27.

use tidegate_core::{Event, FailureCode, Stage};

use super::{Case, rolling};
use crate::Breaches;

pub(super) fn check(case: &Case<'_>, breaches: &mut Breaches) {
    let (before, after) = (case.before, case.after);
    if case.events.is_empty() {
        breaches.check(27, before == after, || "the state changed without an event".to_owned());
        return;
    }
    let has = |wanted: &dyn Fn(&Event) -> bool| case.events.iter().any(wanted);
    revisions(case, breaches);
    shares(case, breaches);
    breaches.check(
        27,
        before.gateway == after.gateway
            || has(&|e| matches!(e, Event::Planned { .. } | Event::Failed { .. })),
        || "the listener changed without a reason".to_owned(),
    );
    breaches.check(
        27,
        before.verified == after.verified || has(&|e| matches!(e, Event::Verified { .. })),
        || "a release was verified without an event".to_owned(),
    );
    let ended = case.events.iter().find_map(|event| match event {
        Event::Ended { outcome, failure } => Some((outcome, failure)),
        _ => None,
    });
    let latest = after.latest.as_ref().map(|latest| (&latest.outcome, &latest.failure));
    breaches.check(
        27,
        ended.is_some() == case.ended() && (ended.is_none() || ended == latest),
        || format!("it ended as {latest:?}, and the journal says {ended:?}"),
    );
    let pause = |environment: &tidegate_core::Environment| {
        rolling(environment).map(|(deployment, _)| deployment.pause.is_some())
    };
    if let (Some(was), Some(is)) = (pause(before), pause(after)) {
        let told = has(&|e| matches!(e, Event::Paused { .. } | Event::Resumed { .. }));
        breaches.check(27, (was != is) == told, || {
            format!("paused: {was}, then {is}, and the journal says {:?}", case.events)
        });
    }
    evidence(case, breaches);
}

fn revisions(case: &Case<'_>, breaches: &mut Breaches) {
    for id in case.before.revisions.keys() {
        let gone = !case.after.revisions.contains_key(id);
        let told = case
            .events
            .iter()
            .any(|event| matches!(event, Event::Retired { revision, .. } if revision == id));
        breaches.check(27, gone == told, || format!("{id} is gone: {gone}, told: {told}"));
    }
}

fn shares(case: &Case<'_>, breaches: &mut Breaches) {
    for (name, component) in &case.after.components {
        let former = case.before.components.get(name).map_or(&[][..], |former| &former.shares);
        if component.shares == former {
            continue;
        }
        let told = case.events.iter().rev().find_map(|event| match event {
            Event::Routed { epoch, component, shares } if component == name => {
                Some((epoch, shares))
            }
            _ => None,
        });
        let right = told.is_some_and(|(epoch, shares)| {
            *epoch == case.after.epoch && *shares == component.shares
        });
        breaches.check(27, right, || {
            format!(
                "{name} has {:?} at epoch {}, and the journal says {told:?}",
                component.shares, case.after.epoch
            )
        });
    }
}

/// A decision of the machine by itself carries what it rests on.
fn evidence(case: &Case<'_>, breaches: &mut Breaches) {
    let Some(failure) = case.events.iter().find_map(|event| match event {
        Event::Failed { failure } => Some(failure),
        _ => None,
    }) else {
        return;
    };
    breaches.check(27, !failure.what.is_empty(), || format!("{failure:?} does not say what"));
    let needed = matches!(failure.code, FailureCode::Guard | FailureCode::Evidence);
    breaches.check(27, !needed || failure.evidence.is_some(), || {
        format!("{failure:?} has no evidence")
    });
    let stage = case.after.deployment.as_ref().map(|deployment| &deployment.stage);
    if let Some(Stage::GoingBack { failure: kept, .. }) = stage {
        breaches.check(27, kept == failure, || {
            format!("the journal says {failure:?}, and the state {kept:?}")
        });
    }
}
