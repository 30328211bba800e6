//! A decision as the store keeps it.

use serde_json::{Value, json};
use tidegate_core::{Decision, Event, Outcome, Stage};
use tidegate_store::{DeploymentUpdate, NewEvent};
use tidegate_types::{DeploymentId, Timestamp};

/// Which shape the payloads of events have.
const EVENT_SCHEMA: u32 = 1;

/// An event of the journal.
pub(crate) fn stored(deployment: Option<DeploymentId>, event: &Event) -> NewEvent {
    let actor = match event {
        Event::Requested { actor, .. }
        | Event::Paused { actor }
        | Event::Resumed { actor }
        | Event::Skipped { actor, .. }
        | Event::MaintenanceBegan { actor, .. }
        | Event::MaintenanceEnded { actor }
        | Event::Aborted { actor } => Some(actor.clone()),
        _ => None,
    };
    NewEvent {
        deployment,
        kind: event.kind().to_owned(),
        schema: EVENT_SCHEMA,
        actor,
        payload: serde_json::to_value(event).unwrap_or(Value::Null),
    }
}

/// What lists show of a deployment after this decision.
pub(crate) fn update(
    id: DeploymentId,
    decision: &Decision,
    now: Timestamp,
) -> Option<DeploymentUpdate> {
    if decision.events.is_empty() {
        return None;
    }
    let ended = decision
        .environment
        .latest
        .as_ref()
        .filter(|ended| decision.environment.deployment.is_none() && ended.deployment == id);
    let running = decision.environment.deployment.as_ref();
    let plan = running.and_then(|deployment| deployment.plan.as_ref());
    let status = match (ended, running.map(|deployment| &deployment.stage)) {
        (Some(ended), _) => outcome_word(ended.outcome),
        (None, Some(Stage::Preparing)) => "preparing",
        (None, Some(Stage::Rolling(_))) => "rolling",
        (None, Some(Stage::GoingBack { .. })) => "going_back",
        (None, None) => return None,
    };
    let release = plan
        .map(|plan| plan.release.clone())
        .or_else(|| ended.and_then(|ended| ended.release.clone()));
    let version = plan
        .map(|plan| plan.version.clone())
        .or_else(|| ended.and_then(|ended| ended.version.clone()));
    let failure = ended.and_then(|ended| ended.failure.clone());
    // The plan is frozen once; it is stored with the transition that brought it.
    let planned = decision.events.iter().any(|event| matches!(event, Event::Planned { .. }));
    Some(DeploymentUpdate {
        id,
        release,
        status: status.to_owned(),
        plan: plan.filter(|_| planned).and_then(|plan| serde_json::to_value(plan).ok()),
        summary: json!({ "version": version, "failure": failure }),
        ended_at: ended.map(|_| now),
    })
}

/// The stable word for an outcome.
const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::RolledBack => "rolled_back",
        Outcome::Degraded => "degraded",
    }
}

/// An event as one line of the log.
pub(crate) fn text(event: &Event) -> String {
    serde_json::to_string(event).unwrap_or_default()
}
