//! The project that is deployed: two commits of an app that is ready 10 ms after its start.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use tidegate_engine::{DeploymentRequest, EnvironmentView, RevisionView, StepState, Verb, Wish};
use tidegate_server::{
    api::Word,
    client::{Client, Lines},
};
use tidegate_types::{DeploymentId, Scope, Share, Step};

use crate::{
    Failure,
    place::{PATIENCE, Place},
};

/// How long the app takes until it listens, in milliseconds.
pub(crate) const START_DELAY: u64 = 10;

pub(crate) struct Project {
    repository: PathBuf,
    /// Without bakes, without a canary, and nothing kept warm: each deployment starts a process.
    pub(crate) switching: Scope,
    /// Half of the traffic, watched for an hour.
    pub(crate) watching: Scope,
    /// The two commits.
    pub(crate) commits: [String; 2],
}

fn manifest(app: &Path, version: &str) -> String {
    format!(
        "project: bench
components:
  app:
    command: exec {} serve version={version} start_delay={START_DELAY}
    port: auto
    health: {{ path: /health }}
    route: /
environments:
  switching:
    strategy: {{ blue_green: {{ bake: 0s, keep: 0s }} }}
  watching:
    strategy: {{ canary: {{ steps: [50%, 100%], bake: 1h, keep: 1h }} }}
",
        app.display()
    )
}

impl Project {
    /// Makes the repository.
    pub(crate) fn create(place: &Place) -> Result<Self, Failure> {
        let repository = place.root().join("project");
        fs::create_dir(&repository)?;
        git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
        git(&repository, &["config", "gc.auto", "0"])?;
        let mut commits = Vec::new();
        for version in ["good", "bad"] {
            fs::write(repository.join("tidegate.yaml"), manifest(place.app(), version))?;
            git(&repository, &["add", "--all"])?;
            git(&repository, &["commit", "--quiet", "--message", version])?;
            commits.push(git(&repository, &["rev-parse", "HEAD"])?);
        }
        Ok(Self {
            repository,
            switching: "bench/switching".parse()?,
            watching: "bench/watching".parse()?,
            commits: commits.try_into().map_err(|_| "there are not two commits")?,
        })
    }

    pub(crate) fn request(&self, scope: &Scope, commit: &str) -> DeploymentRequest {
        DeploymentRequest {
            scope: scope.clone(),
            wish: Wish::Commit {
                repository: self.repository.clone(),
                reference: commit.to_owned(),
                dirty: false,
            },
            actor: "bench".to_owned(),
            reason: None,
        }
    }

    /// The first deployment to the environment that switches.
    pub(crate) async fn deploy_first(&self, client: &Client) -> Result<(), Failure> {
        self.deploy(client, &self.switching, &self.commits[0]).await
    }

    /// Deploys to the end, without a bake.
    pub(crate) async fn deploy(
        &self,
        client: &Client,
        scope: &Scope,
        commit: &str,
    ) -> Result<(), Failure> {
        let id = client.deploy(self.request(scope, commit)).await?;
        let view = ended(client, scope, id).await?;
        succeeded(&view, id)
    }

    /// The first deployment to the environment that watches: nobody waits for its bake.
    pub(crate) async fn deploy_to_watching(&self, client: &Client) -> Result<(), Failure> {
        let scope = &self.watching;
        let id = client.deploy(self.request(scope, &self.commits[0])).await?;
        until(client, scope, "its bake", bakes).await?;
        let word =
            Word { deployment: Some(id), place: None, message: None, actor: "bench".to_owned() };
        client.command(scope, Verb::Skip, &word).await?;
        let view = ended(client, scope, id).await?;
        succeeded(&view, id)
    }
}

/// Waits for a deployment's end.
pub(crate) async fn ended(
    client: &Client,
    scope: &Scope,
    id: DeploymentId,
) -> Result<EnvironmentView, Failure> {
    until(client, scope, "the end of the deployment", |view| {
        view.deployment.is_none()
            && view.latest.as_ref().is_some_and(|latest| latest.deployment == id)
    })
    .await
}

/// Whether a bake is under way.
pub(crate) fn bakes(view: &EnvironmentView) -> bool {
    view.deployment.iter().flat_map(|deployment| &deployment.rollouts).any(|rollout| {
        let running = |step: &tidegate_engine::StepView| {
            matches!(step.step, Step::Bake { .. }) && step.state == StepState::Running
        };
        rollout.steps.iter().any(running)
    })
}

/// The revision with all of the traffic, if the proxy has confirmed that.
pub(crate) fn serving(view: &EnvironmentView) -> Option<&RevisionView> {
    let mut revisions = view.components.iter().flat_map(|component| &component.revisions);
    revisions.find(|revision| view.confirmed && revision.share == Some(Share::ALL))
}

/// Waits until the environment is as it should be. That a deployment failed ends the wait.
pub(crate) async fn until(
    client: &Client,
    scope: &Scope,
    what: &str,
    fits: impl Fn(&EnvironmentView) -> bool,
) -> Result<EnvironmentView, Failure> {
    let mut views = client.watch(scope).await?;
    until_in(&mut views, scope, what, fits).await
}

/// The same in a stream that was opened before.
pub(crate) async fn until_in(
    views: &mut Lines<EnvironmentView>,
    scope: &Scope,
    what: &str,
    fits: impl Fn(&EnvironmentView) -> bool,
) -> Result<EnvironmentView, Failure> {
    let began = Instant::now();
    let mut last = None;
    loop {
        let left = PATIENCE.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, views.next()).await {
            Ok(Ok(Some(view))) if fits(&view) => return Ok(view),
            Ok(Ok(Some(view))) => last = Some(view),
            Ok(Ok(None)) => return Err(format!("{scope}: the stream ended before {what}").into()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let failure = last.and_then(|view| view.latest).and_then(|latest| latest.failure);
                let why = failure.map(|failure| format!(" ({failure:?})")).unwrap_or_default();
                return Err(format!("{scope}: waited in vain for {what}{why}").into());
            }
        }
    }
}

fn succeeded(view: &EnvironmentView, id: DeploymentId) -> Result<(), Failure> {
    match &view.latest {
        Some(latest)
            if latest.deployment == id && latest.outcome == tidegate_core::Outcome::Succeeded =>
        {
            Ok(())
        }
        latest => Err(format!("deployment {id} did not succeed: {latest:?}").into()),
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(name);
    }
    let output = command
        .args(["-c", "user.name=Bench", "-c", "user.email=bench@example.org"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("git {}: {}", arguments.join(" "), said.trim()).into())
}
