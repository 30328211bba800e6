//! Engines that end at any moment, and a store that is full for a while.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tidegate_core::Outcome;
use tidegate_store::{
    Accepted, Committed, Deployment, DeploymentDetail, DeploymentFilter, Error, Event, Input,
    MemoryStore, NewDeployment, NewInput, Project, Requested, Store, Stored, Transition,
};
use tidegate_types::{
    DeploymentId, ProjectName, Release, ReleaseId, RevisionId, Sample, Scope, Share, Timestamp,
};
use tokio::sync::watch;

use crate::world::{World, deploy, ended, revision, scope, until};

/// 13, 19: killed at any moment and started again, it ends as if nothing had happened.
#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_a_deployment_ends_the_same() {
    for (bad, expected) in [(false, Outcome::Succeeded), (true, Outcome::RolledBack)] {
        for at in (0..14_000).step_by(70) {
            let world = World::new();
            let engine = world.with_first().await;
            if bad {
                world.target.bad.lock().unwrap().push(revision(2));
            }
            let id = deploy(&engine).await.unwrap();
            tokio::time::sleep(Duration::from_millis(at)).await;
            engine.halt().await;
            // The world goes on without a control plane for a moment.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let engine = world.engine().await;
            assert_eq!(ended(&engine, id).await, expected, "killed after {at} ms, bad: {bad}");
            until(&engine, "confirmation", |view| view.confirmed).await;
            let (serves, gone) = if bad { (1, 2) } else { (2, 1) };
            assert_eq!(world.target.share(&revision(serves)), Share::ALL);
            assert_eq!(world.target.share(&revision(gone)), Share::NONE);
            engine.halt().await;
        }
    }
}

/// Killed again and again it still gets there.
#[tokio::test(start_paused = true)]
async fn killed_every_second_it_still_gets_there() {
    let world = World::new();
    let engine = world.with_first().await;
    let id = deploy(&engine).await.unwrap();
    engine.halt().await;
    for _ in 0..120 {
        let engine = world.engine().await;
        tokio::time::sleep(Duration::from_millis(3_100)).await;
        let view = engine.view(&scope()).await.unwrap().borrow().clone();
        engine.halt().await;
        if view.deployment.is_none() {
            let latest = view.latest.clone().unwrap();
            assert_eq!((latest.deployment, latest.outcome), (id, Outcome::Succeeded));
            return;
        }
    }
    panic!("120 lives were not enough");
}

/// The disk is full in the middle of a bake: traffic stays as it is, and it goes on afterwards.
#[tokio::test(start_paused = true)]
async fn a_full_disk_holds_everything_and_moves_nothing() {
    let (full, is_full) = watch::channel(false);
    let world =
        World::with_store(Arc::new(FullStore { inside: MemoryStore::default(), full: is_full }));
    let engine = world.with_first().await;
    let id = deploy(&engine).await.unwrap();
    until(&engine, "a tenth", |_| world.target.share(&revision(2)) == Share::percent(10)).await;
    full.send_replace(true);
    let view = until(&engine, "trouble", |view| !view.trouble.is_empty()).await;
    assert!(view.trouble[0].contains("no space left"), "{:?}", view.trouble);
    let routes = world.target.tables().len();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.target.tables().len(), routes, "nothing moves that is not stored");
    assert!(deploy(&engine).await.is_err());
    full.send_replace(false);
    assert_eq!(ended(&engine, id).await, Outcome::Succeeded);
    let view = engine.view(&scope()).await.unwrap().borrow().clone();
    assert_eq!(view.trouble, Vec::<String>::new());
}

/// A store whose disk is full whenever it is told so.
struct FullStore {
    inside: MemoryStore,
    full: watch::Receiver<bool>,
}

impl FullStore {
    fn room(&self) -> Result<(), Error> {
        if *self.full.borrow() {
            return Err(Error::Full { path: "tidegate.db".into(), detail: "test".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl Store for FullStore {
    async fn put_project(&self, project: &Project) -> Result<(), Error> {
        self.room()?;
        self.inside.put_project(project).await
    }
    async fn projects(&self) -> Result<Vec<Project>, Error> {
        self.inside.projects().await
    }
    async fn request_deployment(&self, deployment: NewDeployment) -> Result<Requested, Error> {
        self.room()?;
        self.inside.request_deployment(deployment).await
    }
    async fn accept(&self, input: NewInput) -> Result<Accepted, Error> {
        self.room()?;
        self.inside.accept(input).await
    }
    async fn pending(&self, scope: &Scope) -> Result<Vec<Input>, Error> {
        self.inside.pending(scope).await
    }
    async fn load(&self, scope: &Scope) -> Result<Option<Stored>, Error> {
        self.inside.load(scope).await
    }
    async fn scopes(&self) -> Result<Vec<Scope>, Error> {
        self.inside.scopes().await
    }
    async fn commit(&self, transition: Transition) -> Result<Committed, Error> {
        self.room()?;
        self.inside.commit(transition).await
    }
    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentDetail>, Error> {
        self.inside.deployment(id).await
    }
    async fn deployments(
        &self,
        filter: &DeploymentFilter,
        before: Option<DeploymentId>,
        limit: usize,
    ) -> Result<Vec<Deployment>, Error> {
        self.inside.deployments(filter, before, limit).await
    }
    async fn events(&self, scope: &Scope, after: u64, limit: usize) -> Result<Vec<Event>, Error> {
        self.inside.events(scope, after, limit).await
    }
    async fn deployment_events(
        &self,
        id: DeploymentId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        self.inside.deployment_events(id, after, limit).await
    }
    async fn put_release(&self, release: &Release) -> Result<(), Error> {
        self.room()?;
        self.inside.put_release(release).await
    }
    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>, Error> {
        self.inside.release(id).await
    }
    async fn releases(&self, project: &ProjectName, limit: usize) -> Result<Vec<Release>, Error> {
        self.inside.releases(project, limit).await
    }
    async fn release_of_commit(
        &self,
        project: &ProjectName,
        commit: &str,
    ) -> Result<Option<Release>, Error> {
        self.inside.release_of_commit(project, commit).await
    }
    async fn put_samples(
        &self,
        deployment: DeploymentId,
        samples: Vec<(RevisionId, Sample)>,
    ) -> Result<(), Error> {
        self.room()?;
        self.inside.put_samples(deployment, samples).await
    }
    async fn samples(
        &self,
        deployment: DeploymentId,
        revision: &RevisionId,
        since: Timestamp,
    ) -> Result<Vec<Sample>, Error> {
        self.inside.samples(deployment, revision, since).await
    }
    async fn forget_samples(&self, before: Timestamp) -> Result<u64, Error> {
        self.inside.forget_samples(before).await
    }
    async fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        self.inside.meta(key).await
    }
    async fn set_meta(&self, key: &str, value: &str) -> Result<(), Error> {
        self.room()?;
        self.inside.set_meta(key, value).await
    }
}

/// 18: a control plane that stood still looks first and judges then. The candidate died meanwhile.
#[tokio::test(start_paused = true)]
async fn what_was_seen_before_a_standstill_ends_no_bake() {
    let world = World::new();
    let engine = world.with_first().await;
    world.plans.unguarded.store(true, std::sync::atomic::Ordering::Relaxed);
    deploy(&engine).await.unwrap();
    until(&engine, "a tenth", |_| world.target.share(&revision(2)) == Share::percent(10)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // All tasks stand still while the clock goes on, as under SIGSTOP.
    world.clock.jump(Duration::from_secs(30));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(
        world.target.share(&revision(2)),
        Share::percent(10),
        "the time of the bake is over, and nothing that was seen is of now"
    );
    until(&engine, "the rest", |_| world.target.share(&revision(2)) == Share::ALL).await;
    engine.halt().await;
}
