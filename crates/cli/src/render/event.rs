//! Events of the journal as sentences.

use tidegate_core::{Event, Outcome};
use tidegate_types::{ComponentName, DeploymentKind, GuardReading, Step};

/// What a step does.
pub(crate) fn step(step: Step) -> String {
    match step {
        Step::Scale { instances: 0 } => "put the files in place".to_owned(),
        Step::Scale { instances: 1 } => "1 instance ready".to_owned(),
        Step::Scale { instances } => format!("{instances} instances ready"),
        Step::Shift { share } => format!("{share} of the traffic"),
        Step::Bake { time } => format!("watch for {time}"),
        Step::Shrink { instances: 0 } => "stop the old one".to_owned(),
        Step::Shrink { instances: 1 } => "shrink the old one to 1 instance".to_owned(),
        Step::Shrink { instances } => format!("shrink the old one to {instances} instances"),
    }
}

/// How a deployment ended, in a word or two.
pub(crate) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed, nothing changed",
        Outcome::RolledBack => "rolled back",
        Outcome::Degraded => "degraded",
    }
}

/// An event as one sentence; none for what another event says already.
pub(crate) fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::Requested { kind: DeploymentKind::Deploy, actor } => format!("{actor} asks for it"),
        Event::Requested { kind: DeploymentKind::Rollback, actor } => {
            format!("{actor} asks to go back")
        }
        Event::Planned { version, components, .. } if components.is_empty() => {
            format!("{version} changes nothing here")
        }
        Event::Planned { version, components, .. } => {
            let names: Vec<&str> = components.iter().map(ComponentName::as_str).collect();
            format!("{version} is ready, and changes {}", names.join(", "))
        }
        // Its end says the same.
        Event::StepEntered { step: Step::Scale { .. } | Step::Shift { .. }, .. }
        | Event::Routed { .. }
        | Event::CaughtUp { .. }
        | Event::RevisionsCaughtUp { .. } => return None,
        Event::StepEntered { component, index, of, step: entered } => {
            format!("{component} [{}/{of}] {} …", index + 1, step(*entered))
        }
        Event::StepDone { component, index, of, step: done, readings } => {
            let place = format!("{component} [{}/{of}] ✔ {}", index + 1, step(*done));
            match done {
                Step::Bake { .. } if !readings.is_empty() => {
                    format!("{place}: {}", evidence(readings))
                }
                _ => place,
            }
        }
        Event::Held { component, readings } => {
            format!(
                "{component} the bake is over and waits for evidence: {} (more requests end it, \
                 or `tidegate skip` or `tidegate abort`)",
                evidence(readings)
            )
        }
        Event::WithoutEvidence { component, readings } => format!(
            "{component} goes on without enough evidence, as the plan says: {}",
            evidence(readings)
        ),
        Event::Failed { failure } => {
            let component =
                failure.component.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
            let evidence =
                failure.evidence.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            format!("{component}✖ {}{evidence}", failure.what)
        }
        Event::WentBack { component, revision } => format!("{component} is back on {revision}"),
        Event::Withdrawn { component } => format!("{component} is gone again: it was new"),
        Event::Resized { revision, replicas, why } => {
            format!("{revision} gets {replicas} instances: {why}")
        }
        Event::CouldNotGoBack { component, why } => {
            format!("{component} ✖ could not go back: {why}")
        }
        Event::Paused { actor } => format!("{actor} paused it; guards keep watching"),
        Event::Resumed { actor } => format!("{actor} let it go on"),
        Event::Skipped { actor, component, .. } => {
            format!("{component} {actor} ended the bake early")
        }
        Event::Aborted { actor } => format!("{actor} aborted it"),
        Event::MaintenanceBegan { actor, message } => {
            let message = message.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            format!("{actor} keeps requests away for maintenance{message}")
        }
        Event::MaintenanceEnded { actor } => format!("{actor} ended the maintenance"),
        Event::Ended { outcome: ended, .. } => outcome(*ended).to_owned(),
        Event::Verified { version, .. } => {
            format!("{version} is verified: it can be rolled back to")
        }
        Event::Retired { revision, why } => format!("{revision} is stopped: {why}"),
    })
}

fn evidence(readings: &[GuardReading]) -> String {
    let mut sentences: Vec<&str> = Vec::new();
    for reading in readings {
        // Guards over the same window lack the same requests.
        if !sentences.contains(&reading.evidence.as_str()) {
            sentences.push(&reading.evidence);
        }
    }
    sentences.join("; ")
}
