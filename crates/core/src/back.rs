//! The way back: traffic first, the last component first.

use tidegate_types::{
    Duration, Plan, PlannedRevision, RevisionId, Rollout, Share, Step, Timestamp, Workload,
};

use crate::{
    Deployment, Environment, Event, Failure, Outcome, Position, Progress, Stage, environment::Warm,
    step::Turn,
};

/// What the target needs beyond an instance's own deadline to say that it was not met.
const SLACK: Duration = Duration::from_secs(10);
/// A candidate from which the traffic could not be taken runs on for this long.
const KEPT: Duration = Duration::from_hours(24);

/// Turns a deployment that has begun to roll around.
pub(crate) fn begin(turn: &mut Turn<'_>, failure: Failure) {
    let now = turn.now;
    let refused = turn.routes_refused().is_some();
    let Some(deployment) = &mut turn.environment.deployment else { return };
    let Stage::Rolling(position) = deployment.stage else { return };
    deployment.pause = None;
    // A table that was refused moved nothing.
    let moved = |progress: &Progress| progress.first_traffic_at.is_some() || progress.shrunk;
    if refused && !deployment.progress.iter().any(moved) {
        deployment.touched = false;
    }
    let last = deployment.plan.as_ref().map_or(0, |plan| plan.rollouts.len()).checked_sub(1);
    deployment.stage = Stage::GoingBack {
        failure: failure.clone(),
        since: now,
        rollout: last.map(|last| last.min(position.rollout)),
        rollout_since: now,
        degraded: false,
    };
    let gateway = deployment.gateway_before.clone();
    turn.set_gateway(gateway);
    turn.event(Event::Failed { failure });
    traffic_first(turn, position);
}

/// Every component whose stable revision is warm has its traffic back at once. What has to be
/// started again, of whichever component, comes after that.
fn traffic_first(turn: &mut Turn<'_>, position: Position) {
    let Some(deployment) = turn.environment.deployment.clone() else { return };
    let Some(plan) = &deployment.plan else { return };
    for (index, (rollout, progress)) in plan.rollouts.iter().zip(&deployment.progress).enumerate() {
        let Some(stable) = &rollout.stable else { continue };
        if turn.seen.facts(stable).ready == 0 || !turn.environment.is_routed(stable) {
            continue;
        }
        if !progress.shrunk {
            turn.set_shares(&rollout.component, vec![(stable.clone(), Share::ALL)]);
        } else if index == position.rollout {
            take_back_the_last_shift(turn, rollout, stable, position);
        }
    }
}

/// A share that was just given to the candidate is not put in force any more. The stable revision
/// has what it needs for its share of before: it shrinks only after the confirmation.
fn take_back_the_last_shift(
    turn: &mut Turn<'_>,
    rollout: &Rollout,
    stable: &RevisionId,
    position: Position,
) {
    let (Some(candidate), Some(Step::Shift { .. }), true) =
        (&rollout.candidate, rollout.steps.get(position.step), position.entered)
    else {
        return;
    };
    let before = rollout.steps.iter().take(position.step).rev().find_map(|step| match step {
        Step::Shift { share } => Some(*share),
        Step::Scale { .. } | Step::Bake { .. } | Step::Shrink { .. } => None,
    });
    let before = before.unwrap_or_default();
    let shares = vec![(stable.clone(), before.rest()), (candidate.id.clone(), before)];
    turn.set_shares(&rollout.component, shares);
}

/// Takes one component back, if what was seen allows it. Says whether anything moved.
///
/// Components whose stable revision is warm go back in the same transition, one after the other,
/// and so with one route table.
pub(crate) fn advance(turn: &mut Turn<'_>) -> bool {
    let Some(deployment) = turn.environment.deployment.clone() else {
        return false;
    };
    let Stage::GoingBack { failure, rollout: index, degraded, .. } = deployment.stage.clone()
    else {
        return false;
    };
    let Some(plan) = &deployment.plan else {
        return false;
    };
    let Some(index) = index else {
        // Without a confirmed table the candidate might still get requests, so it keeps running.
        if !turn.seen.fresh || (!turn.routes_confirmed() && turn.routes_refused().is_none()) {
            return false;
        }
        if stable_after_all(turn, plan) {
            return true;
        }
        // What serves again may have died since, as when the machine went down: it is coming back.
        let late = due(&turn.environment, &deployment).is_some_and(|due| due <= turn.now);
        if !degraded && !late && plan.rollouts.iter().any(|rollout| is_awaited(turn, rollout)) {
            return false;
        }
        // A table that is refused leaves the traffic where it was.
        let stuck = deployment.touched && !turn.routes_confirmed();
        finish(turn, &deployment, failure, degraded, stuck);
        return true;
    };
    let Some(rollout) = plan.rollouts.get(index) else {
        return false;
    };
    // Traffic goes back to what was last known to be ready; nothing is given up unseen.
    let late =
        turn.seen.fresh && due(&turn.environment, &deployment).is_some_and(|due| due <= turn.now);
    let shrunk = deployment.progress.get(index).is_some_and(|progress| progress.shrunk);
    let outcome = match (&rollout.stable, &rollout.candidate) {
        (Some(stable), Some(candidate)) if *stable == candidate.id => {
            resized(turn, rollout, stable, shrunk, late)
        }
        (Some(stable), candidate) => {
            to_stable(turn, rollout, stable, candidate.as_ref(), shrunk, late)
        }
        (None, Some(candidate)) => {
            let progress = deployment.progress.get(index).copied().unwrap_or_default();
            to_nothing(turn, rollout, candidate, progress)
        }
        (None, None) => Went::Back,
    };
    let could_not = match outcome {
        Went::NotYet => return false,
        Went::Back => {
            if let Some(stable) = &rollout.stable {
                turn.event(Event::WentBack {
                    component: rollout.component.clone(),
                    revision: stable.clone(),
                });
            } else {
                turn.event(Event::Withdrawn { component: rollout.component.clone() });
            }
            false
        }
        Went::Nowhere(why) => {
            turn.event(Event::CouldNotGoBack { component: rollout.component.clone(), why });
            true
        }
    };
    let now = turn.now;
    if let Some(deployment) = &mut turn.environment.deployment
        && let Stage::GoingBack { rollout, rollout_since, degraded, .. } = &mut deployment.stage
    {
        *rollout = index.checked_sub(1);
        *rollout_since = now;
        *degraded |= could_not;
    }
    true
}

/// When waiting for the stable revision of the component at hand is given up, or, when all are back,
/// for those that serve again.
pub(crate) fn due(environment: &Environment, deployment: &Deployment) -> Option<Timestamp> {
    let Stage::GoingBack { rollout, rollout_since, .. } = &deployment.stage else {
        return None;
    };
    let rollouts = &deployment.plan.as_ref()?.rollouts;
    let waited_for = match rollout {
        Some(index) => std::slice::from_ref(rollouts.get(*index)?),
        None => rollouts.as_slice(),
    };
    let deadline = waited_for
        .iter()
        .filter_map(|rollout| environment.revisions.get(rollout.stable.as_ref()?))
        .map(|stable| match &stable.spec.workload {
            Workload::Process(process) => {
                process.health.deadline.plus(process.stop.drain).plus(process.stop.timeout)
            }
            Workload::Static(_) => Duration::ZERO,
        })
        .max()?;
    Some(rollout_since.after(deadline.plus(SLACK)))
}

/// Whether a component went back to a revision of which nothing is ready at the moment.
fn is_awaited(turn: &Turn<'_>, rollout: &Rollout) -> bool {
    rollout.stable.as_ref().is_some_and(|stable| turn.seen.facts(stable).ready == 0)
}

enum Went {
    NotYet,
    Back,
    /// It stays where it is, for this reason.
    Nowhere(String),
}

/// Only the number of instances had changed.
fn resized(
    turn: &mut Turn<'_>,
    rollout: &Rollout,
    stable: &RevisionId,
    shrunk: bool,
    late: bool,
) -> Went {
    let replicas = rollout.stable_replicas;
    turn.resize(stable, replicas, "it gets the instances again that it had before");
    if let Some(wanted) = turn.environment.revisions.get_mut(stable) {
        wanted.spec.replicas = replicas;
    }
    let ready = turn.seen.facts(stable).ready;
    let whole = ready >= replicas && turn.revisions_followed();
    match (shrunk && !whole, late) {
        (false, _) => Went::Back,
        (true, false) => Went::NotYet,
        (true, true) => Went::Nowhere(format!(
            "only {ready} of {replicas} instances of {stable} became ready; they carry all of the \
             traffic"
        )),
    }
}

fn to_stable(
    turn: &mut Turn<'_>,
    rollout: &Rollout,
    stable: &RevisionId,
    candidate: Option<&PlannedRevision>,
    shrunk: bool,
    late: bool,
) -> Went {
    let facts = turn.seen.facts(stable);
    let carries = turn.environment.is_routed(stable);
    let wanted = turn.environment.revisions.get(stable).map(|wanted| wanted.replicas);
    // Never shrunk, it is the fleet that carried everything before; workers have nothing to carry.
    // Shrunk, it counts when the target knows that all of it is wanted again: what was ready before
    // may be on its way out.
    let fit = if shrunk {
        facts.ready >= rollout.stable_replicas.max(1)
            && wanted == Some(rollout.stable_replicas)
            && turn.revisions_followed()
    } else {
        !carries || facts.ready >= 1
    };
    if fit {
        turn.set_shares(&rollout.component, vec![(stable.clone(), Share::ALL)]);
        return Went::Back;
    }
    let candidate_facts =
        candidate.map(|candidate| turn.seen.facts(&candidate.id)).unwrap_or_default();
    if rollout.exclusive && shrunk {
        if let Some(candidate) = candidate {
            turn.set_shares(&rollout.component, Vec::new());
            turn.resize(&candidate.id, 0, "it failed, and never runs beside the stable revision");
        }
        // What was counted before the target knew that none is wanted may run again by now.
        let gone = turn.seen.fresh && turn.revisions_followed() && candidate_facts.running == 0;
        if candidate.is_some() && !gone && !late {
            return Went::NotYet;
        }
    }
    turn.resize(stable, rollout.stable_replicas, "it gets its instances back");
    if !late {
        return Went::NotYet;
    }
    if facts.ready >= 1 {
        turn.set_shares(&rollout.component, vec![(stable.clone(), Share::ALL)]);
        return Went::Nowhere(format!(
            "only {} of {} instances of {stable} became ready; they carry all of the traffic",
            facts.ready, rollout.stable_replicas
        ));
    }
    let carries_some = candidate.is_some_and(|candidate| {
        turn.environment.share(&rollout.component, &candidate.id) > Share::NONE
    });
    if candidate_facts.ready >= 1 && carries_some {
        return Went::Nowhere(format!(
            "no instance of {stable} became ready; the candidate keeps its traffic"
        ));
    }
    turn.set_shares(&rollout.component, vec![(stable.clone(), Share::ALL)]);
    Went::Nowhere(format!("no instance of {stable} became ready, nor does the candidate serve"))
}

/// The first release of a component has nowhere to go back to. What serves goes on serving, unless
/// somebody else has the same route.
fn to_nothing(
    turn: &mut Turn<'_>,
    rollout: &Rollout,
    candidate: &PlannedRevision,
    progress: Progress,
) -> Went {
    let took_over = candidate
        .spec
        .route
        .as_ref()
        .is_some_and(|rule| turn.environment.has_another_for(&rollout.component, rule));
    let serves = progress.first_traffic_at.is_some();
    // Who serves is not taken away unseen; who has yet to get traffic gets none.
    if serves && !turn.seen.fresh {
        return Went::NotYet;
    }
    if serves && !took_over && turn.seen.facts(&candidate.id).ready >= 1 {
        return Went::Nowhere(
            "there is no verified release to go back to; the new one keeps serving".to_owned(),
        );
    }
    turn.set_shares(&rollout.component, Vec::new());
    Went::Back
}

/// Whether a stable revision that was given up became ready after all, and has its traffic back.
fn stable_after_all(turn: &mut Turn<'_>, plan: &Plan) -> bool {
    let mut any = false;
    for rollout in &plan.rollouts {
        let (Some(stable), Some(candidate)) = (&rollout.stable, &rollout.candidate) else {
            continue;
        };
        let name = &rollout.component;
        let kept = *stable != candidate.id
            && turn.environment.share(name, &candidate.id) > Share::NONE
            && turn.seen.facts(stable).ready >= 1;
        if kept {
            turn.set_shares(name, vec![(stable.clone(), Share::ALL)]);
            let (component, revision) = (name.clone(), stable.clone());
            turn.event(Event::WentBack { component, revision });
            any = true;
        }
    }
    any
}

/// Ends a deployment that is back, as far as it could go. When it is `stuck`, the table that takes
/// the traffic from the candidates is not in force, and they are kept.
fn finish(
    turn: &mut Turn<'_>,
    deployment: &Deployment,
    failure: Failure,
    degraded: bool,
    stuck: bool,
) {
    let Some(plan) = &deployment.plan else { return };
    let mut degraded = degraded || stuck;
    for (index, rollout) in plan.rollouts.iter().enumerate() {
        let name = &rollout.component;
        let progress = deployment.progress.get(index).copied().unwrap_or_default();
        if stuck && progress.first_traffic_at.is_some() {
            keep_running(turn, rollout);
            continue;
        }
        let candidate = rollout.candidate.as_ref().map(|candidate| &candidate.id);
        let keeps = candidate.filter(|candidate| {
            Some(*candidate) != rollout.stable.as_ref()
                && turn.environment.share(name, candidate) > Share::NONE
        });
        let serving = keeps.or(rollout.stable.as_ref()).cloned();
        if let Some(component) = turn.environment.components.get_mut(name) {
            component.serving.clone_from(&serving);
        }
        if let Some(candidate) = candidate.filter(|candidate| Some(*candidate) != serving.as_ref())
        {
            turn.retire(candidate, "the deployment went back");
        }
        if let (Some(stable), Some(_)) = (&rollout.stable, keeps) {
            turn.retire(stable, "no instance of it became ready");
        }
        match &serving {
            Some(serving) => {
                let share = (serving.clone(), Share::ALL);
                turn.set_shares(name, vec![share]);
                degraded |= turn.seen.facts(serving).ready == 0;
            }
            None => {
                turn.environment.components.remove(name);
            }
        }
    }
    let outcome = match (degraded, deployment.touched) {
        (true, _) => Outcome::Degraded,
        (false, true) => Outcome::RolledBack,
        (false, false) => Outcome::Failed,
    };
    turn.end(outcome, Some(failure));
}

/// The proxy may still send requests to the candidate, so that it runs on for a while: beside the
/// stable revision, or alone where there is none.
fn keep_running(turn: &mut Turn<'_>, rollout: &Rollout) {
    let stable = rollout.stable.as_ref();
    let Some(candidate) = &rollout.candidate else { return };
    let until = turn.now.after(KEPT);
    let mut former = None;
    if let Some(component) = turn.environment.components.get_mut(&rollout.component) {
        if stable.is_some() {
            component.serving = stable.cloned();
            former = component.warm.replace(Warm { revision: candidate.id.clone(), until });
        } else {
            component.serving = Some(candidate.id.clone());
        }
    }
    if let Some(former) = former {
        turn.retire(&former.revision, "the candidate is kept in its place");
    }
    let serves = stable.unwrap_or(&candidate.id).clone();
    turn.set_shares(&rollout.component, vec![(serves, Share::ALL)]);
}
