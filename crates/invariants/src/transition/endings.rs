//! How deployments end, and that what has ended stays so: 10, 14, 15, 16, 21.

use tidegate_core::{Event, Outcome, Stage};
use tidegate_types::Share;

use super::{Case, resizes};
use crate::Breaches;

pub(super) fn check(case: &Case<'_>, breaches: &mut Breaches) {
    once_back_always_back(case, breaches);
    if case.ended() {
        ended(case, breaches);
    }
    if case.before.deployment.is_none() && case.after.deployment.is_none() {
        idle(case, breaches);
    }
}

/// 10 and 15: it goes back once, for one reason, and ends so.
fn once_back_always_back(case: &Case<'_>, breaches: &mut Breaches) {
    let turns = case.events.iter().filter(|event| matches!(event, Event::Failed { .. })).count();
    let began = case.before.deployment.as_ref().map(|deployment| &deployment.stage);
    let Some(Stage::GoingBack { failure, since, .. }) = began else {
        breaches.check(15, turns <= 1, || format!("it turned around {turns} times at once"));
        return;
    };
    breaches.check(15, turns == 0, || "it turned around a second time".to_owned());
    match case.after.deployment.as_ref().map(|deployment| &deployment.stage) {
        Some(Stage::GoingBack { failure: now, since: still, .. }) => {
            breaches.check(10, failure == now && since == still, || {
                format!("it went back for {failure:?} and does so now for {now:?}")
            });
        }
        Some(stage) => {
            breaches.check(10, false, || format!("it was on its way back and is now {stage:?}"));
        }
        None => {
            let latest = case.after.latest.as_ref();
            let why = latest.and_then(|latest| latest.failure.as_ref());
            breaches.check(10, why == Some(failure), || {
                format!("it went back for {failure:?} and ended for {why:?}")
            });
        }
    }
}

fn ended(case: &Case<'_>, breaches: &mut Breaches) {
    let Some(latest) = &case.after.latest else { return };
    let succeeded = latest.outcome == Outcome::Succeeded;
    breaches.check(27, latest.failure.is_some() != succeeded, || {
        format!("it ended as {:?} with {:?}", latest.outcome, latest.failure)
    });
    breaches.check(14, succeeded || case.after.verified == case.before.verified, || {
        format!("it ended as {:?}, and a release was verified", latest.outcome)
    });
    breaches.check(14, succeeded || case.after.release == case.before.release, || {
        format!("it ended as {:?}, and the release changed", latest.outcome)
    });
    for rollout in case.rollouts() {
        let name = &rollout.component;
        let candidate = rollout.candidate.as_ref().map(|candidate| &candidate.id);
        let serving =
            case.after.components.get(name).and_then(|component| component.serving.as_ref());
        let right = match latest.outcome {
            Outcome::Succeeded => serving == candidate,
            Outcome::Failed | Outcome::RolledBack => serving == rollout.stable.as_ref(),
            Outcome::Degraded => serving == rollout.stable.as_ref() || serving == candidate,
        };
        breaches.check(14, right, || {
            format!("it ended as {:?}, and {name} is served by {serving:?}", latest.outcome)
        });
        if let (Outcome::Failed | Outcome::RolledBack, Some(stable)) =
            (latest.outcome, &rollout.stable)
        {
            let size = case.after.revisions.get(stable).map(|wanted| wanted.replicas);
            breaches.check(14, size == Some(rollout.stable_replicas), || {
                format!("{stable} had {} instances, and gets {size:?}", rollout.stable_replicas)
            });
        }
        // What a table in force may still name runs on (6), where the newer one is refused for good.
        let stuck = latest.outcome == Outcome::Degraded
            && case.seen.observation.routes.epoch != Some(case.before.epoch);
        let Some(candidate) = candidate.filter(|_| !succeeded && !stuck) else { continue };
        let left = case.after.revisions.contains_key(candidate) && serving != Some(candidate);
        breaches.check(16, !left, || format!("{candidate} failed and is still wanted"));
        let known = case.after.components.get(name).and_then(|component| component.warm.as_ref());
        breaches.check(16, known.is_none_or(|warm| warm.revision != *candidate), || {
            format!("{candidate} failed and is kept warm")
        });
    }
    // 15: what changes nothing touches nothing.
    if case.plan().is_some_and(|plan| plan.rollouts.is_empty()) {
        let same = case.after.revisions == case.before.revisions
            && case.after.components == case.before.components;
        breaches.check(15, same, || "a plan without a change changed something".to_owned());
    }
    // Nothing moved, it says; then nothing has.
    if latest.outcome == Outcome::Failed {
        for rollout in case.rollouts().iter().filter(|rollout| !resizes(rollout)) {
            let Some(stable) = &rollout.stable else { continue };
            let shares = |environment: &tidegate_core::Environment| {
                environment.share(&rollout.component, stable)
            };
            breaches.check(14, shares(case.after) >= shares(case.before), || {
                format!("it failed before anything changed, and {stable} has less traffic")
            });
        }
    }
}

/// 21: without a deployment only what was warm goes, when its time is over.
fn idle(case: &Case<'_>, breaches: &mut Breaches) {
    let over = |name| {
        let warm = case.before.components.get(name)?.warm.as_ref()?;
        (warm.until <= case.now).then_some(&warm.revision)
    };
    for (name, component) in &case.before.components {
        let expected = tidegate_core::Component {
            warm: component.warm.clone().filter(|_| over(name).is_none()),
            ..component.clone()
        };
        breaches.check(21, case.after.components.get(name) == Some(&expected), || {
            format!("{name} changed without a deployment")
        });
        if let Some(revision) = over(name) {
            breaches.check(21, !case.after.revisions.contains_key(revision), || {
                format!("the time of {revision} is over, and it is still wanted")
            });
        }
    }
    breaches.check(21, case.after.components.len() == case.before.components.len(), || {
        "a component came without a deployment".to_owned()
    });
    for (id, wanted) in &case.before.revisions {
        let gone = case.before.components.keys().any(|name| over(name) == Some(id));
        breaches.check(21, gone || case.after.revisions.get(id) == Some(wanted), || {
            format!("{id} changed without a deployment")
        });
    }
    let kept = case.before.verified == case.after.verified
        && case.before.latest == case.after.latest
        && case.before.gateway == case.after.gateway
        && case.before.release == case.after.release;
    breaches.check(21, kept, || "what had ended changed".to_owned());
    let shares = case.after.components.values().flat_map(|component| &component.shares);
    let moved = shares.filter(|(_, share)| *share != Share::ALL).count();
    breaches.check(21, moved == 0, || "without a deployment traffic is divided".to_owned());
}
