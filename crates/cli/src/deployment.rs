//! How the end of a deployment is told.

use tidegate_core::FailureCode;
use tidegate_engine::EnvironmentView;
use tidegate_server::api::DeploymentRow;
use tidegate_types::DeploymentKind;

use crate::{context::Context, exit::Exit, fault::Fault, render};

/// The exit code of a deployment that ended with `status`.
pub(crate) fn exit_of(status: &str) -> Exit {
    match status {
        "succeeded" => Exit::Done,
        "failed" => Exit::Failed,
        "rolled_back" => Exit::RolledBack,
        "refused" => Exit::Refused,
        "requested" | "preparing" | "rolling" | "going_back" => Exit::Waiting,
        // Also a word of a newer version: unknown is not success.
        _ => Exit::Degraded,
    }
}

/// What a deployment that did not succeed is told as; none when it did.
pub(crate) fn fault(row: &DeploymentRow, view: &EnvironmentView) -> Option<Fault> {
    let exit = exit_of(&row.status);
    if exit == Exit::Done {
        return None;
    }
    let environment = &row.scope.environment;
    let Some(failure) = &row.failure else {
        let what = row.refused.clone().unwrap_or_else(|| {
            format!("deployment {} ended as `{}` without a reason", row.id, row.status)
        });
        let mut fault = Fault::new(exit, &row.status.replace('_', "-"), what)
            .next(format!("tidegate status {environment}"));
        fault.state = render::status::serves(view);
        return Some(fault);
    };
    let mut fault = Fault::new(exit, &failure.code.to_string(), failure.what.clone());
    let parts = [
        Some(row.scope.to_string()),
        failure.component.as_ref().map(|component| format!("component {component}")),
        failure.instance.as_ref().map(|instance| format!("instance {instance}")),
    ];
    fault.place = Some(parts.into_iter().flatten().collect::<Vec<_>>().join(", "));
    fault.cause.clone_from(&failure.evidence);
    fault.log.clone_from(&failure.log);
    let moved = match exit {
        Exit::Failed => Some("no traffic was moved and nothing that served was touched".to_owned()),
        Exit::RolledBack => Some(format!("{environment} went back by itself")),
        Exit::Degraded => Some("what serves is not what should: act now".to_owned()),
        _ => None,
    };
    fault.state = moved.into_iter().chain(render::status::serves(view)).collect();
    fault.next.extend(failure.mend.clone());
    fault.next.extend(next(
        row,
        failure.code,
        exit,
        failure.component.as_ref().map(tidegate_types::ComponentName::as_str),
    ));
    Some(fault)
}

fn next(
    row: &DeploymentRow,
    code: FailureCode,
    exit: Exit,
    component: Option<&str>,
) -> Vec<String> {
    let environment = &row.scope.environment;
    let mut next = Vec::new();
    if exit == Exit::Degraded {
        next.push(format!("tidegate status {environment}"));
        next.push(format!("tidegate rollback {environment}"));
    }
    match code {
        FailureCode::Start | FailureCode::Guard => {
            let component = component.map(|name| format!(" {name}")).unwrap_or_default();
            next.push(format!("tidegate logs{component} -e {environment}"));
        }
        _ => {}
    }
    if row.kind == DeploymentKind::Deploy && code != FailureCode::Aborted {
        next.push(format!("mend it, commit, and deploy again: tidegate deploy {environment}"));
    }
    next
}

/// Prints how a deployment ended, and says the exit code.
pub(crate) fn report(
    context: &Context,
    row: &DeploymentRow,
    view: &EnvironmentView,
) -> Result<Exit, Fault> {
    if context.json {
        context.print_json(
            "result",
            &serde_json::json!({
                "deployment": row,
                "environment": view,
                "exit": u8::from(exit_of(&row.status)),
            }),
        );
        return Ok(exit_of(&row.status));
    }
    if let Some(fault) = fault(row, view) {
        return Err(fault);
    }
    let version = row.version.as_deref().unwrap_or("it");
    let place = view.url().map(|url| format!("  {url}"));
    let took = row.ended_at.map(|ended| render::time::length(ended.since(row.requested_at)));
    context.print(format!(
        "{} {} serves {version} after {}{}",
        context.style.green("✔"),
        row.scope,
        took.unwrap_or_default(),
        place.unwrap_or_default()
    ));
    Ok(Exit::Done)
}
