//! Requests to the control plane.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Request, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use tidegate_core::{Failure, FailureCode};
use tidegate_engine::{
    Anchor, Current, DeploymentRequest, Engine, Prepare, Progress, SteadyClock, Wish,
};
use tidegate_server::{Problem, State, api::Requested, router};
use tidegate_store::MemoryStore;
use tidegate_targets::{Target, TargetError};
use tidegate_types::{
    DeploymentId, Epoch, Generation, LogLine, Observation, Plan, ReleaseId, RevisionId, RouteTable,
    Scope, WantedRevision, data_plane::Traffic,
};
use tokio::sync::watch;
use tower_service::Service as _;

use crate::sections::sections;

/// So many requests follow one another.
const MOST_REQUESTS: usize = 6;

pub(crate) fn hold(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime can be made").block_on(async {
        let engine = Engine::start(
            Arc::new(MemoryStore::new()),
            Arc::new(Nothing(watch::Sender::new(0))),
            Arc::new(Nothing(watch::Sender::new(0))),
            Arc::new(SteadyClock::new(Anchor::read())),
        )
        .await
        .expect("an engine starts");
        let mut router = router(State::new(engine.clone(), "1.2.3"));
        for (head, body) in sections(bytes).into_iter().take(MOST_REQUESTS) {
            let Some(request) = request(head, body) else { continue };
            let is_head = request.method() == Method::HEAD;
            let Ok(answer) = router.call(request).await;
            if is_head {
                // An answer to HEAD has no body that could say anything.
                assert!(!answer.status().is_server_error(), "{answer:?}");
            } else {
                clear(answer).await;
            }
        }
        engine.halt().await;
    });
}

/// `METHOD target` and a body. No commit is looked up: that would run git somewhere.
fn request(head: &str, body: &[u8]) -> Option<Request<Body>> {
    let (method, target) = head.split_once(' ')?;
    let body = match serde_json::from_slice::<Requested>(body) {
        Ok(mut asked) => {
            if let Wish::Commit { dirty, .. } = &mut asked.request.wish {
                *dirty = true;
            }
            serde_json::to_vec(&asked).expect("a request can be written")
        }
        Err(_) => body.to_vec(),
    };
    Request::builder().method(method).uri(target).body(Body::from(body)).ok()
}

/// Every request is answered, never with a failure of the server, and a refusal says why.
async fn clear(answer: Response<Body>) {
    let status = answer.status();
    assert!(!status.is_server_error(), "{answer:?}");
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.map(|kind| kind.to_str().expect("it is text").to_owned()).unwrap_or_default();
    if kind == "application/x-ndjson" {
        // Goes on until the client hangs up.
        return;
    }
    let body = answer.into_body().collect().await.expect("an answer has an end").to_bytes();
    if status.is_success() {
        assert!(body.is_empty() || serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        return;
    }
    let problem: Problem = serde_json::from_slice(&body)
        .unwrap_or_else(|error| panic!("{status} says not why: {error}: {body:?}"));
    assert_eq!(kind, "application/problem+json", "{problem:?}");
}

/// Runs nothing, prepares nothing, and says so.
struct Nothing(watch::Sender<u64>);

#[async_trait]
impl Target for Nothing {
    async fn apply(
        &self,
        _: &Scope,
        _: Generation,
        _: &[WantedRevision],
    ) -> Result<(), TargetError> {
        Ok(())
    }

    async fn route(&self, table: &RouteTable) -> Result<Epoch, TargetError> {
        Ok(table.epoch)
    }

    async fn observe(&self, _: &Scope) -> Result<Observation, TargetError> {
        Ok(Observation::default())
    }

    async fn traffic(&self, _: &Scope) -> Result<Traffic, TargetError> {
        Ok(Traffic::default())
    }

    async fn logs(
        &self,
        _: &Scope,
        _: &[RevisionId],
        _: usize,
    ) -> Result<Vec<LogLine>, TargetError> {
        Ok(Vec::new())
    }

    fn changes(&self, _: &Scope) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

#[async_trait]
impl Prepare for Nothing {
    async fn prepare(
        &self,
        deployment: DeploymentId,
        _: &DeploymentRequest,
        _: Option<ReleaseId>,
        _: &Current,
        _: Progress,
    ) -> Result<Plan, Failure> {
        if deployment.0.is_multiple_of(2) {
            // A build that goes on for longer than anybody waits.
            std::future::pending::<()>().await;
        }
        Err(Failure::new(FailureCode::Build, "nothing is built here"))
    }

    async fn abandon(&self, _: DeploymentId) {}
}
