//! Questions and answers.

use std::os::unix::fs::PermissionsExt as _;

use tidegate_engine::Verb;
use tidegate_server::{
    End, Problem,
    api::{Back, Word},
    client::Error,
    socket_of,
};
use tidegate_types::DeploymentId;

use crate::world::{World, request};

fn problem<T: std::fmt::Debug>(answer: Result<T, Error>) -> Problem {
    match answer {
        Err(Error::Problem(problem)) => *problem,
        other => panic!("not a problem: {other:?}"),
    }
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_a_dead_one_is_replaced() {
    let world = World::new().await;
    let health = world.client.health().await.unwrap();
    assert_eq!((health.status.as_str(), health.version.as_str()), ("ok", "1.2.3"));
    let mode = std::fs::metadata(socket_of(world.home.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn the_second_deployment_is_told_who_holds_it() {
    let world = World::new().await;
    assert_eq!(world.client.deploy(request()).await.unwrap(), DeploymentId(1));
    let busy = problem(world.client.deploy(request()).await);
    assert_eq!((busy.status, busy.code.as_str()), (409, "busy"));
    let holder = busy.holder.unwrap();
    assert_eq!((holder.deployment, holder.actor.as_str()), (DeploymentId(1), "ana"));
    assert_eq!(busy.next, ["tidegate watch production", "tidegate abort production"]);
}

#[tokio::test]
async fn a_deployment_is_followed_from_its_first_event_to_its_last() {
    let world = World::new().await;
    let id = world.client.deploy(request()).await.unwrap();
    let mut events = world.client.follow(id, 0).await.unwrap();
    let mut views = world.client.watch(&request().scope).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().kind, "requested");
    assert_eq!(views.next().await.unwrap().unwrap().deployment.unwrap().id, id);
    world.fail.notify_one();
    let mut last = None;
    while let Some(event) = events.next().await.unwrap() {
        last = Some(event);
    }
    assert_eq!(last.unwrap().kind, "ended");
    loop {
        let view = views.next().await.unwrap().unwrap();
        if view.deployment.is_none() {
            assert_eq!(view.latest.unwrap().deployment, id);
            break;
        }
    }
    let row = world.client.deployment(id).await.unwrap().deployment;
    assert_eq!(row.status, "failed");
    assert_eq!(row.failure.unwrap().log, ["cannot find crate"]);
    let listed = world.client.deployments(Some(&request().scope), None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    // Followed again when all is over, it is the same and ends at once.
    let mut again = world.client.follow(id, 0).await.unwrap();
    let mut count = 0;
    while again.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, world.client.events(id, 0).await.unwrap().len());
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_with_a_code() {
    let world = World::new().await;
    let scope = request().scope;
    let unknown = problem(world.client.environment(&scope).await);
    assert_eq!((unknown.status, unknown.code.as_str()), (404, "unknown-environment"));
    let unknown = problem(world.client.deployment(DeploymentId(7)).await);
    assert_eq!((unknown.status, unknown.code.as_str()), (404, "unknown-deployment"));
    let back = Back { release: None, unverified: false, actor: "ana".to_owned(), reason: None };
    assert_eq!(problem(world.client.rollback(&scope, &back).await).status, 404);

    let id = world.client.deploy(request()).await.unwrap();
    world.fail.notify_one();
    let mut events = world.client.follow(id, 0).await.unwrap();
    while events.next().await.unwrap().is_some() {}
    let none = problem(world.client.rollback(&scope, &back).await);
    assert_eq!((none.status, none.code.as_str()), (409, "no-rollback-target"));
    let abort = Word { deployment: None, place: None, message: None, actor: "ana".to_owned() };
    let idle = problem(world.client.command(&scope, Verb::Abort, &abort).await);
    assert_eq!((idle.status, idle.code.as_str()), (409, "idle"));
}

#[tokio::test]
async fn the_end_ends_streams_and_takes_the_socket_away() {
    let world = World::new().await;
    world.client.deploy(request()).await.unwrap();
    let mut views = world.client.watch(&request().scope).await.unwrap();
    views.next().await.unwrap().unwrap();
    world.client.shutdown(true).await.unwrap();
    while views.next().await.unwrap().is_some() {}
    assert_eq!(world.served.await.unwrap().unwrap(), End::Everything);
    assert!(matches!(world.client.health().await, Err(Error::Unreachable { .. })));
    assert!(!socket_of(world.home.path()).exists());
}
