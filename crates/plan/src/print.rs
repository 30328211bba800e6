//! A plan as people read it.

use std::fmt::Write as _;

use tidegate_types::{DeploymentKind, Plan, RevisionId, Rollout, Step, WithoutEvidence};

/// The plan as text: what happens in which order, what watches, and how each part goes back.
#[must_use]
pub fn print(plan: &Plan) -> String {
    let mut text = String::new();
    let verb = match plan.kind {
        DeploymentKind::Deploy => "deploy",
        DeploymentKind::Rollback => "roll back to",
    };
    let _ = writeln!(text, "{}: {verb} {} ({})", plan.scope, plan.version, plan.release);
    if plan.rollouts.is_empty() {
        let _ = writeln!(text, "  nothing changes");
    }
    for (index, rollout) in plan.rollouts.iter().enumerate() {
        print_rollout(&mut text, index + 1, rollout);
    }
    if !plan.unchanged.is_empty() {
        let names: Vec<&str> =
            plan.unchanged.iter().map(tidegate_types::ComponentName::as_str).collect();
        let _ = writeln!(text, "  unchanged: {}", names.join(", "));
    }
    text
}

fn print_rollout(text: &mut String, number: usize, rollout: &Rollout) {
    let from = rollout.stable.as_ref().map_or("nothing", |stable| stable.as_str());
    let to = match &rollout.candidate {
        None => "removed".to_owned(),
        Some(candidate) if candidate.warm && Some(&candidate.id) != rollout.stable.as_ref() => {
            format!("{} ({}, still warm)", candidate.id, candidate.spec.version)
        }
        Some(candidate) => format!("{} ({})", candidate.id, candidate.spec.version),
    };
    let _ = writeln!(text, "  {number}. {}: {from} -> {to}", rollout.component);
    for step in &rollout.steps {
        let _ = writeln!(text, "       {}", describe(*step, rollout));
    }
    if rollout.candidate.is_none() {
        let _ = writeln!(text, "       stop it when the deployment has succeeded");
    }
    if !rollout.guards.is_empty() {
        let guards: Vec<&str> = rollout.guards.iter().map(|guard| guard.text.as_str()).collect();
        let _ = writeln!(text, "       goes back when: {}", guards.join(" | "));
        if rollout.guards.iter().any(|guard| guard.condition.window().is_some()) {
            let policy = match rollout.without_evidence {
                WithoutEvidence::Hold => "waits for more requests",
                WithoutEvidence::Proceed => "goes on and says so",
                WithoutEvidence::RollBack => "goes back",
            };
            let _ = writeln!(text, "       without enough evidence: {policy}");
        }
    }
    let back = match (&rollout.stable, rollout.exclusive) {
        (None, _) => "there is nothing to go back to".to_owned(),
        (Some(stable), _) if scales(rollout, stable) => {
            let instances = rollout.stable_replicas;
            format!("by bringing it to {instances} instance{} again", plural(instances))
        }
        (Some(stable), true) => format!("by stopping the new one and starting {stable} again"),
        (Some(stable), false)
            if rollout.steps.iter().any(|step| matches!(step, Step::Shrink { .. })) =>
        {
            format!("by starting instances of {stable} again, then one write of the route table")
        }
        (Some(stable), false)
            if !rollout.steps.iter().any(|step| matches!(step, Step::Shift { .. })) =>
        {
            format!("{stable} keeps running until the end, and simply stays")
        }
        (Some(stable), false) => format!("to {stable} by one write of the route table"),
    };
    let _ = writeln!(text, "       goes back: {back}");
    if !rollout.keep.is_zero() && rollout.stable.is_some() {
        let _ =
            writeln!(text, "       afterwards: the old revision stays warm for {}", rollout.keep);
    }
}

/// Whether the serving revision itself gets another number of instances.
fn scales(rollout: &Rollout, stable: &RevisionId) -> bool {
    rollout.candidate.as_ref().is_some_and(|candidate| candidate.id == *stable)
}

fn describe(step: Step, rollout: &Rollout) -> String {
    match step {
        Step::Scale { instances: 0 } => "put the files in place".to_owned(),
        Step::Scale { instances } => {
            format!("bring it to {instances} instance{}, all ready", plural(instances))
        }
        Step::Shift { .. } if rollout.candidate.is_none() => "take its traffic away".to_owned(),
        Step::Shift { share } => format!("give it {share} of the traffic"),
        Step::Bake { time } => format!("watch for {time}"),
        Step::Shrink { instances: 0 } => "drain and stop the old one".to_owned(),
        Step::Shrink { instances } => {
            format!("drain and stop old instances, down to {instances}")
        }
    }
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}
