//! Which request is answered by what.

mod deployments;
mod environments;
mod stream;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{FromRequestParts, Path, Query, State as Extract},
    routing::{get, post},
};
use http::{Method, StatusCode, Uri, request::Parts};
use serde::de::DeserializeOwned;

use crate::{
    End, Problem, State,
    api::{Health, Shutdown},
};

/// All requests, whatever they come over.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/api/v1/deployments", get(deployments::list).post(deployments::begin))
        .route("/api/v1/deployments/{id}", get(deployments::one))
        .route("/api/v1/deployments/{id}/events", get(deployments::events))
        .route("/api/v1/plans", post(deployments::plan))
        .route("/api/v1/environments", get(environments::list))
        .route("/api/v1/environments/{project}/{environment}", get(environments::one))
        .route("/api/v1/environments/{project}/{environment}/watch", get(environments::watch))
        .route("/api/v1/environments/{project}/{environment}/logs", get(environments::logs))
        .route(
            "/api/v1/environments/{project}/{environment}/rollback",
            post(environments::rollback),
        )
        .route("/api/v1/environments/{project}/{environment}/{verb}", post(environments::command))
        .route("/api/v1/shutdown", post(shutdown))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .with_state(state)
}

async fn health(Extract(state): Extract<State>) -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
        version: state.version.to_string(),
        pid: std::process::id(),
        uptime: state.started.elapsed().as_secs(),
        now: state.engine.clock().now(),
    })
}

async fn shutdown(
    Extract(state): Extract<State>,
    body: Bytes,
) -> Result<(StatusCode, Json<Shutdown>), Problem> {
    let shutdown: Shutdown = parse(&body)?;
    state.end(if shutdown.everything { End::Everything } else { End::ControlPlane });
    Ok((StatusCode::ACCEPTED, Json(shutdown)))
}

async fn unknown(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-path", format!("there is nothing at {uri}"))
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("{uri} does not take {method}"),
    )
}

/// A body, with a problem in place of the framework's plain text when it is not what it should be.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Box<Problem>> {
    serde_json::from_slice(body).map_err(|error| Box::new(Problem::malformed(error)))
}

/// The parts of a path, with a problem in place of the framework's plain text.
struct Named<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(named)| Self(named)).map_err(|error| Problem::malformed(error.body_text()))
    }
}

/// A query, with a problem in place of the framework's plain text.
struct Asked<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|error| Problem::malformed(error.body_text()))
    }
}
