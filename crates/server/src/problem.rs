//! Errors on the wire, as RFC 9457 problem details.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use tidegate_core::Rejected;
use tidegate_engine::Error;
use tidegate_targets::{Effect, TargetError};
use tidegate_types::{ComponentName, DeploymentId, Scope};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, as a sentence without a full stop.
    pub detail: String,
    /// The kind as a stable word.
    pub code: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// Commands that make sense now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
    /// The deployment that is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// The component concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentName>,
    /// The last lines of what failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// The deployment that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number.
    pub deployment: DeploymentId,
    /// Who asked for it.
    pub actor: String,
}

impl Problem {
    /// A problem with nothing but a sentence.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:tidegate:problem:{code}"),
            title: code.replace('-', " "),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            mend: None,
            next: Vec::new(),
            holder: None,
            component: None,
            log: Vec::new(),
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    /// The same with commands that make sense now.
    #[must_use]
    pub fn next<const N: usize>(mut self, next: [String; N]) -> Self {
        self.next = next.into();
        self
    }

    pub(crate) fn malformed(detail: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            format!("the request is malformed: {detail}"),
        )
    }

    pub(crate) fn unknown_scope(scope: &Scope) -> Self {
        let environment = &scope.environment;
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown-environment",
            format!("nothing was deployed to {scope} yet"),
        )
        .next([format!("tidegate deploy {environment}")])
    }

    /// What the engine's refusal is on the wire.
    pub(crate) fn of(error: Error, scope: &Scope) -> Self {
        match error {
            Error::Rejected(rejected) => Self::rejected(&rejected, scope),
            Error::Store(error) => Self::from(error),
            Error::Target(error) => Self::target(&error),
            Error::NoTarget { why, mend } => {
                Self::new(StatusCode::CONFLICT, "no-rollback-target", why)
                    .mend(mend)
                    .next([format!("tidegate history {}", scope.environment)])
            }
            Error::UnknownScope { scope } => Self::unknown_scope(&scope),
            Error::Preparation(failure) => {
                let mut problem = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    &format!("{}-failed", failure.code),
                    match &failure.evidence {
                        None => failure.what.clone(),
                        Some(evidence) => format!("{}: {evidence}", failure.what),
                    },
                );
                problem.mend = failure.mend;
                problem.component = failure.component;
                problem.log = failure.log;
                problem
            }
            error @ Error::State { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "state", error.to_string())
                    .mend("use the version of Tidegate that wrote it, or a newer one")
            }
            error @ Error::Stopping => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", error.to_string())
                    .next(["tidegate up".to_owned()])
            }
        }
    }

    fn target(error: &TargetError) -> Self {
        let status =
            if error.retry { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_GATEWAY };
        let problem =
            Self::new(status, "target", error.to_string()).next(["tidegate doctor".to_owned()]);
        match error.effect {
            Effect::None => problem,
            Effect::Maybe => problem.mend("it may have taken effect: look before acting on it"),
        }
    }

    fn rejected(rejected: &Rejected, scope: &Scope) -> Self {
        let environment = &scope.environment;
        let conflict = |code: &str| Self::new(StatusCode::CONFLICT, code, rejected.to_string());
        match rejected {
            Rejected::Busy { holder, actor, .. } => {
                let mut problem = conflict("busy").mend("wait for its end, or abort it").next([
                    format!("tidegate watch {environment}"),
                    format!("tidegate abort {environment}"),
                ]);
                problem.holder = Some(Holder { deployment: *holder, actor: actor.clone() });
                problem
            }
            Rejected::Idle { .. } => {
                conflict("idle").next([format!("tidegate history {environment}")])
            }
            Rejected::Stale { .. } => conflict("stale")
                .mend("look at the deployment that is under way before you act on it")
                .next([format!("tidegate watch {environment}")]),
            Rejected::Passed { .. } => {
                conflict("passed").next([format!("tidegate status {}", scope.environment)])
            }
            Rejected::Pointless { .. } => {
                conflict("pointless").next([format!("tidegate status {environment}")])
            }
        }
    }
}

impl From<tidegate_store::Error> for Problem {
    fn from(error: tidegate_store::Error) -> Self {
        use tidegate_store::Error as Store;
        let (status, code) = match &error {
            Store::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "disk-full"),
            Store::Conflict { .. } | Store::KeyReused { .. } => (StatusCode::CONFLICT, "conflict"),
            Store::Missing { .. } => (StatusCode::NOT_FOUND, "missing"),
            Store::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid"),
            Store::Closed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "store"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<Box<Problem>> for Problem {
    fn from(problem: Box<Self>) -> Self {
        *problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
