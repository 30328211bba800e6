//! The way forward: one step of one rollout after the other.

use tidegate_types::{
    Duration, GuardReading, HealthCheck, InstanceFailure, PlannedRevision, RevisionFacts,
    RevisionSpec, Rollout, Share, Step, Timestamp, Verdict, WantedRevision, WithoutEvidence,
    Workload,
};

use crate::{
    Deployment, Event, Failure, FailureCode, Outcome, Position, Stage, Verified, back,
    environment::Warm,
    step::{Rejected, Turn},
};

/// What the target needs beyond an instance's own deadline to say that it was not met.
const SLACK: Duration = Duration::from_secs(10);
/// The requests of a bake are counted this soon after it.
const COUNTED: Duration = Duration::from_secs(2);
/// A route table that nobody confirmed by then is a failure.
const CONFIRM: Duration = Duration::from_secs(30);

/// Takes one step further, if what was seen allows it. Says whether it did.
pub(crate) fn advance(turn: &mut Turn<'_>) -> bool {
    let Some(deployment) = turn.environment.deployment.clone() else {
        return false;
    };
    let Stage::Rolling(position) = deployment.stage else {
        return false;
    };
    // Failure rules hold in every step, paused ones included.
    if let Some(failure) = failure(turn, &deployment, position) {
        back::begin(turn, failure);
        return true;
    }
    // A person holds it, or nobody knows how things are: unknown is never success.
    if deployment.pause.is_some() || !turn.seen.fresh {
        return false;
    }
    let Some(plan) = &deployment.plan else {
        return false;
    };
    let Some(rollout) = plan.rollouts.get(position.rollout) else {
        succeed(turn, &deployment);
        return true;
    };
    let Some(step) = rollout.steps.get(position.step).copied() else {
        move_to(turn, Position { rollout: position.rollout + 1, step: 0, ..position });
        return true;
    };
    if !position.entered {
        if !may_enter(turn, rollout, step) {
            return false;
        }
        enter(turn, rollout, position, step);
        return true;
    }
    match finished(turn, rollout, position, step) {
        Finished::No => false,
        Finished::Held(readings) => {
            if !position.held {
                set_position(turn, Position { held: true, ..position });
                turn.event(Event::Held { component: rollout.component.clone(), readings });
            }
            false
        }
        Finished::Lacking(readings) => {
            let sentences: Vec<String> =
                readings.into_iter().map(|reading| reading.evidence).collect();
            let mut failure =
                Failure::new(FailureCode::Evidence, "the bake ended without enough evidence")
                    .of(&rollout.component);
            failure.evidence = Some(sentences.join("; "));
            back::begin(turn, failure);
            true
        }
        Finished::Yes { readings, lacking } => {
            if !lacking.is_empty() {
                turn.event(Event::WithoutEvidence {
                    component: rollout.component.clone(),
                    readings: lacking,
                });
            }
            leave(turn, rollout, position, step, readings);
            true
        }
    }
}

/// When the step under way is over or has failed, at the latest.
pub(crate) fn due(deployment: &Deployment) -> Option<Timestamp> {
    let Stage::Rolling(position) = &deployment.stage else {
        return None;
    };
    let (rollout, step) = deployment.current()?;
    Some(position.since.after(time_for(rollout, *position, step)))
}

/// When to look again at the latest, after `now`.
pub(crate) fn wake_at(deployment: &Deployment, now: Timestamp) -> Option<Timestamp> {
    let Stage::Rolling(position) = &deployment.stage else {
        return None;
    };
    let (rollout, step) = deployment.current()?;
    let due = due(deployment)?;
    let later = match step {
        Step::Bake { .. } => Some([due.after(COUNTED), due.after(grace(rollout))]),
        Step::Scale { .. } | Step::Shift { .. } | Step::Shrink { .. } => None,
    };
    let times = later.into_iter().flatten().chain([due]);
    // One that is held waits for evidence or for a person, not for a time.
    times.filter(|time| *time > now && !position.held).min()
}

/// Ends the bake under way on a person's word.
pub(crate) fn skip(turn: &mut Turn<'_>, actor: String) -> Result<(), Rejected> {
    let Some(deployment) = turn.environment.deployment.clone() else {
        return Ok(());
    };
    let (Stage::Rolling(position), Some((rollout, step))) =
        (&deployment.stage, deployment.current())
    else {
        return Ok(());
    };
    if !matches!(step, Step::Bake { .. }) {
        return Err(Rejected::Pointless {
            why: "only a bake can be skipped, and none is under way".to_owned(),
        });
    }
    turn.event(Event::Skipped {
        actor,
        component: rollout.component.clone(),
        index: position.step,
    });
    let readings = readings(turn, position.rollout);
    leave(turn, rollout, *position, step, readings);
    Ok(())
}

/// The time a step may take; the time it does take for a bake.
fn time_for(rollout: &Rollout, position: Position, step: Step) -> Duration {
    match step {
        Step::Bake { time } => time,
        Step::Shift { .. } if position.entered => CONFIRM,
        // Before it is entered, a shift waits for instances that died to be replaced.
        Step::Scale { .. } | Step::Shift { .. } => grace(rollout),
        Step::Shrink { .. } => Duration::from_mins(30),
    }
}

/// The time in which the candidate's instances have to become ready.
fn grace(rollout: &Rollout) -> Duration {
    let deadline = rollout
        .candidate
        .as_ref()
        .and_then(|candidate| health(&candidate.spec))
        .map_or(Duration::ZERO, |health| health.deadline);
    deadline.plus(SLACK)
}

fn health(spec: &RevisionSpec) -> Option<&HealthCheck> {
    match &spec.workload {
        Workload::Process(process) => Some(&process.health),
        Workload::Static(_) => None,
    }
}

fn readings(turn: &Turn<'_>, rollout: usize) -> Vec<GuardReading> {
    turn.seen.readings.get(rollout).cloned().unwrap_or_default()
}

/// The first thing that is wrong with any candidate of this deployment.
fn failure(turn: &Turn<'_>, deployment: &Deployment, position: Position) -> Option<Failure> {
    for (index, rollout) in deployment.begun().iter().enumerate() {
        let Some(candidate) = &rollout.candidate else {
            continue;
        };
        let facts = turn.seen.facts(&candidate.id);
        let recent = facts.failure.filter(|failure| failure.at >= deployment.requested_at);
        if let Some(fatal) = recent.as_ref().filter(|failure| failure.fatal) {
            let mut failure = Failure::new(FailureCode::Start, fatal.what.clone());
            failure.instance = Some(fatal.instance.clone());
            failure.log.clone_from(&fatal.log);
            return Some(failure.of(&rollout.component));
        }
        let breached =
            readings(turn, index).into_iter().find(|reading| reading.verdict == Verdict::Fail);
        if let Some(reading) = breached {
            let served = deployment
                .progress
                .get(index)
                .is_some_and(|progress| progress.first_traffic_at.is_some());
            return Some(breach(rollout, reading, recent, served));
        }
    }
    if let Some(reason) = turn.routes_refused() {
        return Some(Failure::new(FailureCode::Route, reason));
    }
    if deployment.pause.is_some() || !turn.seen.fresh || turn.now < due(deployment)? {
        return None;
    }
    let (rollout, step) = deployment.current()?;
    let late = match step {
        // Instances that are gone at the end of a bake have the time of a start to come back.
        Step::Bake { .. } if turn.now < due(deployment)?.after(grace(rollout)) => return None,
        Step::Bake { .. } => {
            let candidate = rollout.candidate.as_ref()?;
            let facts = turn.seen.facts(&candidate.id);
            if facts.ready >= wanted(turn, candidate) {
                return None;
            }
            late_start(&facts, grace(rollout))
        }
        // What ends at the deadline is not late.
        _ if position.entered
            && matches!(finished(turn, rollout, position, step), Finished::Yes { .. }) =>
        {
            return None;
        }
        Step::Shift { .. } if position.entered => Failure::new(
            FailureCode::Route,
            format!("the proxy did not confirm the route table within {CONFIRM}"),
        ),
        Step::Scale { .. } | Step::Shift { .. } => {
            let facts = rollout.candidate.as_ref().map(|candidate| turn.seen.facts(&candidate.id));
            late_start(&facts.unwrap_or_default(), time_for(rollout, position, step))
        }
        Step::Shrink { instances } => Failure::new(
            FailureCode::Stop,
            format!("the stable revision did not shrink to {instances} instances in time"),
        ),
    };
    Some(late.of(&rollout.component))
}

/// A breached guard; before the candidate had any traffic, the failed start that it really is.
fn breach(
    rollout: &Rollout,
    reading: GuardReading,
    recent: Option<InstanceFailure>,
    served: bool,
) -> Failure {
    let mut failure = match &recent {
        Some(recent) if !served => Failure::new(FailureCode::Start, recent.what.clone()),
        _ => Failure::new(
            FailureCode::Guard,
            format!("{} breached the guard `{}`", rollout.component, reading.guard),
        ),
    };
    failure.evidence = Some(match &recent {
        Some(recent) if served => format!("{}; {}", reading.evidence, recent.what),
        _ => reading.evidence,
    });
    if let Some(recent) = recent {
        failure.instance = Some(recent.instance);
        failure.log = recent.log;
    }
    failure.of(&rollout.component)
}

fn late_start(facts: &RevisionFacts, within: Duration) -> Failure {
    let mut failure = Failure::new(
        FailureCode::Start,
        format!("{} of its instances were ready after {within}", facts.ready),
    );
    if let Some(last) = &facts.failure {
        failure.evidence = Some(last.what.clone());
        failure.instance = Some(last.instance.clone());
        failure.log.clone_from(&last.log);
    }
    failure
}

/// How many instances of the candidate have to be ready by now; a static site counts as one.
fn wanted(turn: &Turn<'_>, candidate: &PlannedRevision) -> u32 {
    let wanted = turn.environment.revisions.get(&candidate.id);
    wanted.map_or(0, |wanted| wanted.replicas).max(1)
}

/// A candidate gets a share only when it has the instances to carry it.
fn may_enter(turn: &Turn<'_>, rollout: &Rollout, step: Step) -> bool {
    let (Step::Shift { share }, Some(candidate)) = (step, &rollout.candidate) else {
        return true;
    };
    let needed = share.of_count(candidate.spec.replicas).min(wanted(turn, candidate)).max(1);
    turn.seen.facts(&candidate.id).ready >= needed
}

/// Puts the wish of a step into the state.
fn enter(turn: &mut Turn<'_>, rollout: &Rollout, position: Position, step: Step) {
    let component = &rollout.component;
    turn.event(Event::StepEntered {
        component: component.clone(),
        index: position.step,
        of: rollout.steps.len(),
        step,
    });
    match step {
        Step::Scale { instances } => scale(turn, rollout, position, instances),
        Step::Shift { share } => {
            let mut shares = Vec::new();
            if let Some(stable) = &rollout.stable {
                shares.push((stable.clone(), share.rest()));
            }
            if let Some(candidate) = &rollout.candidate {
                // The first release of a component has nobody to share with, nor has one whose
                // stable revision takes no requests.
                let stable = rollout.stable.as_ref();
                let divided = stable.is_some_and(|stable| turn.environment.is_routed(stable));
                let share = if divided { share } else { Share::ALL };
                shares.push((candidate.id.clone(), share));
            } else {
                shares.clear();
            }
            turn.set_shares(component, shares);
            touch(turn);
        }
        Step::Bake { .. } => {}
        Step::Shrink { instances } => {
            if let Some(stable) = &rollout.stable {
                if instances == 0 && turn.environment.share(component, stable) > Share::NONE {
                    turn.set_shares(component, Vec::new());
                }
                turn.environment.set_replicas(stable, instances);
                touch(turn);
                if let Some(progress) = turn
                    .environment
                    .deployment
                    .as_mut()
                    .and_then(|deployment| deployment.progress.get_mut(position.rollout))
                {
                    progress.shrunk = true;
                }
            }
        }
    }
    let now = turn.now;
    set_position(turn, Position { entered: true, since: now, ..position });
}

fn scale(turn: &mut Turn<'_>, rollout: &Rollout, position: Position, instances: u32) {
    let Some(candidate) = &rollout.candidate else {
        return;
    };
    let resized = rollout.stable.as_ref() == Some(&candidate.id);
    let fewer = resized && instances < rollout.stable_replicas;
    let known = turn.environment.revisions.contains_key(&candidate.id);
    let wanted = turn.environment.revisions.entry(candidate.id.clone()).or_insert_with(|| {
        WantedRevision { id: candidate.id.clone(), spec: candidate.spec.clone(), replicas: 0 }
    });
    // A warm revision that comes back is not made smaller first.
    wanted.replicas = if resized { instances } else { wanted.replicas.max(instances) };
    if resized {
        wanted.spec.replicas = instances;
    }
    let first = !rollout.steps.iter().take(position.step).any(|s| matches!(s, Step::Scale { .. }));
    let exits = turn.seen.facts(&candidate.id).exits;
    if let Some(deployment) = &mut turn.environment.deployment {
        deployment.touched |= fewer;
        if let Some(progress) = deployment.progress.get_mut(position.rollout) {
            progress.shrunk |= fewer;
            if known && first {
                progress.exits_before = exits;
            }
        }
    }
    if resized {
        return;
    }
    // From here on the header reaches the candidate, and the listener is known to be free.
    let component = turn.environment.components.get(&rollout.component);
    let mut shares = component.map(|component| component.shares.clone()).unwrap_or_default();
    if !shares.is_empty() && !shares.iter().any(|(named, _)| named == &candidate.id) {
        shares.push((candidate.id.clone(), Share::NONE));
        turn.set_shares(&rollout.component, shares);
    }
}

enum Finished {
    No,
    /// The time is over and evidence is missing: wait for it.
    Held(Vec<GuardReading>),
    /// The time is over and evidence is missing: go back.
    Lacking(Vec<GuardReading>),
    Yes {
        readings: Vec<GuardReading>,
        /// The ones without evidence, when the plan says to go on without.
        lacking: Vec<GuardReading>,
    },
}

fn finished(turn: &Turn<'_>, rollout: &Rollout, position: Position, step: Step) -> Finished {
    let readings = readings(turn, position.rollout);
    let when = |condition: bool| {
        if condition {
            Finished::Yes { readings: readings.clone(), lacking: Vec::new() }
        } else {
            Finished::No
        }
    };
    let candidate = rollout.candidate.as_ref();
    let facts = candidate.map(|candidate| turn.seen.facts(&candidate.id)).unwrap_or_default();
    match step {
        // A static site has no instances; it is ready when its files are there.
        Step::Scale { instances } => when(facts.ready >= instances.max(1)),
        Step::Shift { .. } => when(turn.routes_confirmed()),
        Step::Shrink { instances } => when(
            rollout
                .stable
                .as_ref()
                .is_none_or(|stable| turn.seen.facts(stable).running <= instances)
                && turn.revisions_followed(),
        ),
        Step::Bake { time } => {
            if turn.now < position.since.after(time) {
                return Finished::No;
            }
            if candidate.is_some_and(|candidate| facts.ready < wanted(turn, candidate)) {
                return Finished::No;
            }
            // Guards that did not speak at all are missing evidence, too.
            let silent = rollout.guards.iter().skip(readings.len()).map(|guard| GuardReading {
                guard: guard.text.clone(),
                verdict: Verdict::InsufficientEvidence,
                evidence: format!("nothing was read for {}", guard.text),
            });
            let lacking: Vec<GuardReading> = readings
                .iter()
                .filter(|reading| reading.verdict == Verdict::InsufficientEvidence)
                .cloned()
                .chain(silent)
                .collect();
            // A bake of no time asks for no evidence, and says so by being written `0s`.
            if lacking.is_empty() || time.is_zero() {
                return when(true);
            }
            // What happened last is counted a moment later; that alone is no lack of evidence.
            if turn.now < position.since.after(time).after(COUNTED) {
                return Finished::No;
            }
            match rollout.without_evidence {
                WithoutEvidence::Hold => Finished::Held(lacking),
                WithoutEvidence::RollBack => Finished::Lacking(lacking),
                WithoutEvidence::Proceed => Finished::Yes { readings, lacking },
            }
        }
    }
}

fn leave(
    turn: &mut Turn<'_>,
    rollout: &Rollout,
    position: Position,
    step: Step,
    readings: Vec<GuardReading>,
) {
    turn.event(Event::StepDone {
        component: rollout.component.clone(),
        index: position.step,
        of: rollout.steps.len(),
        step,
        readings,
    });
    let now = turn.now;
    if let (Step::Shift { share }, Some(deployment)) = (step, &mut turn.environment.deployment)
        && share > Share::NONE
        && let Some(progress) = deployment.progress.get_mut(position.rollout)
    {
        progress.first_traffic_at.get_or_insert(now);
    }
    move_to(turn, Position { step: position.step + 1, ..position });
}

fn touch(turn: &mut Turn<'_>) {
    if let Some(deployment) = &mut turn.environment.deployment {
        deployment.touched = true;
    }
}

fn move_to(turn: &mut Turn<'_>, position: Position) {
    let now = turn.now;
    set_position(turn, Position { since: now, entered: false, held: false, ..position });
}

fn set_position(turn: &mut Turn<'_>, position: Position) {
    if let Some(deployment) = &mut turn.environment.deployment {
        deployment.stage = Stage::Rolling(position);
    }
}

/// Every rollout is through: the candidates serve from now on.
fn succeed(turn: &mut Turn<'_>, deployment: &Deployment) {
    let Some(plan) = &deployment.plan else { return };
    for rollout in &plan.rollouts {
        let name = &rollout.component;
        let Some(candidate) = &rollout.candidate else {
            turn.set_shares(name, Vec::new());
            let removed = turn.environment.components.remove(name);
            if let Some(warm) = removed.and_then(|component| component.warm) {
                turn.retire(&warm.revision, "the component was removed");
            }
            if let Some(stable) = &rollout.stable {
                turn.retire(stable, "the component was removed");
            }
            continue;
        };
        if rollout.stable.as_ref() == Some(&candidate.id) {
            continue;
        }
        turn.set_shares(name, vec![(candidate.id.clone(), Share::ALL)]);
        let until = turn.now.after(rollout.keep);
        let keep = !rollout.keep.is_zero();
        let mut former = None;
        if let Some(component) = turn.environment.components.get_mut(name) {
            component.serving = Some(candidate.id.clone());
            former = component.warm.take();
            component.warm =
                rollout.stable.clone().filter(|_| keep).map(|revision| Warm { revision, until });
        }
        if let Some(former) = former {
            turn.retire(&former.revision, "a newer one is kept warm in its place");
        }
        if let Some(stable) = rollout.stable.as_ref().filter(|_| !keep) {
            turn.retire(stable, "its successor serves");
        }
    }
    turn.environment.release = Some(plan.release.clone());
    turn.event(Event::Verified { release: plan.release.clone(), version: plan.version.clone() });
    turn.environment.remember_verified(Verified {
        release: plan.release.clone(),
        version: plan.version.clone(),
        at: turn.now,
    });
    turn.end(Outcome::Succeeded, None);
}
