//! Deployments: beginning one, and reading what became of them.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::State as Extract,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::Deserialize;
use tidegate_store::DeploymentFilter;
use tidegate_types::{DeploymentId, EnvironmentName, ProjectName, Scope};
use tracing::info;

use super::{Asked, Named, parse, stream};
use crate::{
    Problem, State,
    api::{Begun, DeploymentDetail, DeploymentRow, EventRow, Planned, Requested},
};

/// Longer lists are asked for in parts.
const LONGEST_LIST: usize = 1_000;

pub(super) async fn begin(
    Extract(state): Extract<State>,
    body: Bytes,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    let Requested { request } = parse(&body)?;
    let scope = request.scope.clone();
    let id = state.engine.deploy(request).await.map_err(|error| Problem::of(error, &scope))?;
    Ok((StatusCode::ACCEPTED, Json(Begun { id })))
}

pub(super) async fn plan(
    Extract(state): Extract<State>,
    body: Bytes,
) -> Result<Json<Planned>, Problem> {
    let Requested { request } = parse(&body)?;
    let scope = request.scope.clone();
    let progress = Arc::new(|sentence: String| info!("plan: {sentence}"));
    let plan = state.engine.plan(request, progress).await;
    let plan = plan.map_err(|error| Problem::of(error, &scope))?;
    let text = tidegate_plan::print(&plan);
    Ok(Json(Planned { plan, text }))
}

#[derive(Deserialize)]
pub(super) struct Filter {
    project: Option<ProjectName>,
    environment: Option<EnvironmentName>,
    before: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn list(
    Extract(state): Extract<State>,
    Asked(asked): Asked<Filter>,
) -> Result<Json<Vec<DeploymentRow>>, Problem> {
    let filter = match (asked.project, asked.environment) {
        (None, None) => DeploymentFilter::All,
        (Some(project), None) => DeploymentFilter::Project(project),
        (Some(project), Some(environment)) => {
            DeploymentFilter::Scope(Scope { project, environment })
        }
        (None, Some(_)) => {
            return Err(Problem::malformed("`environment` needs `project` beside it"));
        }
    };
    let limit = asked.limit.unwrap_or(20).min(LONGEST_LIST);
    let before = asked.before.map(DeploymentId);
    let rows = state.engine.store().deployments(&filter, before, limit).await?;
    Ok(Json(rows.into_iter().map(DeploymentRow::from).collect()))
}

async fn find(state: &State, id: &str) -> Result<tidegate_store::DeploymentDetail, Problem> {
    let id: u64 = id
        .parse()
        .map_err(|_| Problem::malformed(format!("`{id}` is not the number of a deployment")))?;
    state.engine.store().deployment(DeploymentId(id)).await?.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-deployment",
            format!("there is no deployment {id}"),
        )
        .next(["tidegate history".to_owned()])
    })
}

pub(super) async fn one(
    Extract(state): Extract<State>,
    Named(id): Named<String>,
) -> Result<Json<DeploymentDetail>, Problem> {
    let found = find(&state, &id).await?;
    Ok(Json(DeploymentDetail {
        deployment: found.deployment.into(),
        request: found.request,
        plan: found.plan,
    }))
}

#[derive(Deserialize)]
pub(super) struct Page {
    after: Option<u64>,
    limit: Option<usize>,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn events(
    Extract(state): Extract<State>,
    Named(id): Named<String>,
    Asked(asked): Asked<Page>,
) -> Result<Response, Problem> {
    let found = find(&state, &id).await?.deployment;
    let after = asked.after.unwrap_or(0);
    if asked.follow {
        let views = state.engine.view(&found.scope).await;
        let views = views.map_err(|error| Problem::of(error, &found.scope))?;
        return Ok(stream::lines(stream::events(state, views, found.id, after)));
    }
    let limit = asked.limit.unwrap_or(LONGEST_LIST).min(LONGEST_LIST);
    let events = state.engine.store().deployment_events(found.id, after, limit).await?;
    let events: Vec<EventRow> = events.into_iter().map(EventRow::from).collect();
    Ok(Json(events).into_response())
}
