//! Makes plans with the real compiler, without building.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tidegate_core::{Failure, FailureCode};
use tidegate_engine::{Current, DeploymentRequest, Prepare, Progress, Wish};
use tidegate_types::{DeploymentId, Plan, ReleaseId};
use tokio::time::sleep;

use crate::{
    project,
    scenario::{Call, Scenario},
    shared::{Caller, Shared},
};

pub(crate) struct SimulatedPreparer {
    pub(crate) caller: Caller,
    pub(crate) shared: Arc<Shared>,
}

fn failure(code: FailureCode, what: impl Into<String>) -> Failure {
    Failure::new(code, what)
}

#[expect(clippy::result_large_err, reason = "what a preparer answers")]
fn compile(
    scenario: &Scenario,
    index: usize,
    deployment: DeploymentId,
    request: &DeploymentRequest,
    current: &Current,
) -> Result<Plan, Failure> {
    let manifest = project::manifest(scenario, index)
        .map_err(|problems| failure(FailureCode::Prepare, problems))?;
    tidegate_plan::compile(tidegate_plan::Request {
        deployment,
        kind: request.wish.kind(),
        scope: &request.scope,
        manifest: &manifest,
        release: &project::release(scenario, index),
        current,
    })
    .map_err(|errors| {
        let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
        failure(FailureCode::Prepare, sentences.join("; "))
    })
}

#[async_trait]
impl Prepare for SimulatedPreparer {
    async fn prepare(
        &self,
        deployment: DeploymentId,
        request: &DeploymentRequest,
        earlier: Option<ReleaseId>,
        current: &Current,
        _: Progress,
    ) -> Result<Plan, Failure> {
        let scenario = Arc::clone(&self.shared.scenario);
        let (request, current) = (request.clone(), current.clone());
        let effect = Box::pin(async move {
            let index = match (&request.wish, &earlier) {
                (Wish::Commit { reference, .. }, _) => reference.parse().ok(),
                (Wish::Earlier { .. }, earlier) => earlier.as_ref().and_then(project::index_of),
            };
            let made = index.and_then(|index: usize| Some((index, scenario.releases.get(index)?)));
            let Some((index, made)) = made else {
                return Err(failure(FailureCode::Prepare, "there is no such release"));
            };
            if earlier.is_none() {
                sleep(Duration::from_millis(made.takes)).await;
                if made.fails {
                    return Err(failure(FailureCode::Build, "the build failed"));
                }
            }
            compile(&scenario, index, deployment, &request, &current)
        });
        let fail = |how| failure(FailureCode::Build, format!("{how:?}"));
        self.shared.call(self.caller, Call::Prepare, effect, fail).await
    }

    async fn abandon(&self, _: DeploymentId) {}
}
