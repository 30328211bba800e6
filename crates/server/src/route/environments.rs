//! Environments: how they are, and words to what is under way in them.

use axum::{Json, body::Bytes, extract::State as Extract, response::Response};
use http::StatusCode;
use serde::Deserialize;
use tidegate_engine::{Command, DeploymentRequest, EnvironmentView, Verb, Wish};
use tidegate_types::{ComponentName, LogLine, ProjectName, RevisionId, Scope};

use super::{Asked, Named, parse, stream};
use crate::{
    Problem, State,
    api::{Back, Begun, Word},
};

/// More characters are not said to those who come during maintenance.
const LONGEST_MESSAGE: usize = 500;

/// More lines of each instance are not read for one answer.
const MOST_LINES: usize = 10_000;

fn scope(project: &str, environment: &str) -> Result<Scope, Box<Problem>> {
    let scope = format!("{project}/{environment}").parse();
    scope.map_err(|error| Box::new(Problem::malformed(error)))
}

#[derive(Deserialize)]
pub(super) struct OfProject {
    project: Option<ProjectName>,
}

pub(super) async fn list(
    Extract(state): Extract<State>,
    Asked(asked): Asked<OfProject>,
) -> Json<Vec<EnvironmentView>> {
    let mut environments = Vec::new();
    for scope in state.engine.scopes().await {
        if asked.project.as_ref().is_none_or(|project| project == &scope.project)
            && let Ok(view) = state.engine.view(&scope).await
        {
            environments.push(EnvironmentView::clone(&view.borrow()));
        }
    }
    Json(environments)
}

pub(super) async fn one(
    Extract(state): Extract<State>,
    Named((project, environment)): Named<(String, String)>,
) -> Result<Json<EnvironmentView>, Problem> {
    let scope = scope(&project, &environment)?;
    let view = state.engine.view(&scope).await.map_err(|error| Problem::of(error, &scope))?;
    let view = EnvironmentView::clone(&view.borrow());
    Ok(Json(view))
}

pub(super) async fn watch(
    Extract(state): Extract<State>,
    Named((project, environment)): Named<(String, String)>,
) -> Result<Response, Problem> {
    let scope = scope(&project, &environment)?;
    let views = state.engine.view(&scope).await.map_err(|error| Problem::of(error, &scope))?;
    Ok(stream::lines(stream::views(state, views)))
}

#[derive(Deserialize)]
pub(super) struct Output {
    component: Option<ComponentName>,
    revision: Option<RevisionId>,
    release: Option<String>,
    lines: Option<usize>,
}

pub(super) async fn logs(
    Extract(state): Extract<State>,
    Named((project, environment)): Named<(String, String)>,
    Asked(asked): Asked<Output>,
) -> Result<Json<Vec<LogLine>>, Problem> {
    let scope = scope(&project, &environment)?;
    let view = state.engine.view(&scope).await.map_err(|error| Problem::of(error, &scope))?;
    let view = EnvironmentView::clone(&view.borrow());
    let failed = failed_candidate(&view);
    if let Some(component) = &asked.component
        && failed.as_ref().is_none_or(|(name, ..)| name != component)
        && !view.components.iter().any(|known| &known.name == component)
    {
        let known: Vec<&str> = view.components.iter().map(|known| known.name.as_str()).collect();
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-component",
            format!("{scope} has no component `{component}`; it has: {}", known.join(", ")),
        ));
    }
    let mut revisions: Vec<RevisionId> = view
        .components
        .iter()
        .filter(|known| asked.component.as_ref().is_none_or(|component| component == &known.name))
        .flat_map(|component| &component.revisions)
        .filter(|known| asked.revision.as_ref().is_none_or(|revision| revision == &known.id))
        .filter(|known| {
            asked.release.as_ref().is_none_or(|release| {
                release == known.release.as_str() || release == &known.version
            })
        })
        .map(|revision| revision.id.clone())
        .collect();
    if let Some((component, revision, names)) = failed
        && asked.component.as_ref().is_none_or(|asked| *asked == component)
        && asked.revision.as_ref().is_none_or(|asked| *asked == revision)
        && asked.release.as_ref().is_none_or(|asked| names.contains(asked))
        && !revisions.contains(&revision)
    {
        revisions.push(revision);
    }
    let lines = asked.lines.unwrap_or(100).min(MOST_LINES);
    let lines = state.engine.logs(&scope, &revisions, lines).await;
    lines.map(Json).map_err(|error| Problem::of(error, &scope))
}

/// The candidate that the latest deployment failed with: it is gone, and its log is what people
/// want to read.
fn failed_candidate(view: &EnvironmentView) -> Option<(ComponentName, RevisionId, Vec<String>)> {
    let ended = view.latest.as_ref()?;
    let component = ended.failure.as_ref()?.component.clone()?;
    let revision = RevisionId::of(&component, ended.deployment);
    let release = ended.release.as_ref().map(ToString::to_string);
    let names = ended.version.clone().into_iter().chain(release).collect();
    Some((component, revision, names))
}

pub(super) async fn command(
    Extract(state): Extract<State>,
    Named((project, environment, verb)): Named<(String, String, String)>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let scope = scope(&project, &environment)?;
    let verbs = [Verb::Pause, Verb::Resume, Verb::Skip, Verb::Abort, Verb::Maintenance, Verb::Live];
    let verb = verbs.into_iter().find(|known| known.name() == verb).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-path",
            format!(
                "`{verb}` is not a word to an environment: pause, resume, skip, abort, maintenance \
                 and live are"
            ),
        )
    })?;
    let Word { deployment, place, message, actor } = parse(&body)?;
    if let Some(message) = &message
        && (message.chars().count() > LONGEST_MESSAGE || message.contains(char::is_control))
    {
        let rule = "at most 500 characters, none of them a control character";
        return Err(Problem::malformed(format!("`message` is one sentence: {rule}")));
    }
    let command = Command { verb, deployment, place, message, actor };
    state.engine.command(&scope, command).await.map_err(|error| Problem::of(error, &scope))?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rollback(
    Extract(state): Extract<State>,
    Named((project, environment)): Named<(String, String)>,
    body: Bytes,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    let scope = scope(&project, &environment)?;
    let Back { release, unverified, actor, reason } = parse(&body)?;
    let wish = Wish::Earlier { release, unverified };
    let request = DeploymentRequest { scope: scope.clone(), wish, actor, reason };
    let id = state.engine.deploy(request).await.map_err(|error| Problem::of(error, &scope))?;
    Ok((StatusCode::ACCEPTED, Json(Begun { id })))
}
