//! How soon a control plane with a long past is ready.
//!
//! The past: 20 environments with 500 deployments each, every one with a plan of 2 KB and 12 events,
//! beside the environments in which something really runs. The file's pages are in the cache, as
//! they are when a control plane is replaced or was killed.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tidegate_core::{Environment, Verified};
use tidegate_store::{DeploymentUpdate, Input, SqliteStore, Store, Transition};
use tidegate_types::{ReleaseId, Scope, Timestamp};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    Failure,
    figure::{Figures, Goal},
    journal::{event, request},
    place::Place,
    statistics::Sorted,
};

const SCOPES: u64 = 20;
const DEPLOYMENTS_EACH: u64 = 500;
const EVENTS_EACH: usize = 12;
const STARTS: usize = 10;
/// Between two starts.
const REST: Duration = Duration::from_millis(300);

pub(crate) async fn measure(place: &mut Place, figures: &mut Figures) -> Result<(), Failure> {
    let mut empty = Vec::new();
    for _ in 0..STARTS {
        empty.push(start_again(place).await?);
    }
    place.stop().await?;
    let store = SqliteStore::open(place.home().join("tidegate.db"))?;
    fill(Arc::new(store)).await?;
    place.start().await?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(start_again(place).await?);
    }
    let rows = place.client().deployments(None, None, 50).await?;
    if rows.first().map(|row| row.id.0) < Some(SCOPES * DEPLOYMENTS_EACH) {
        return Err("the history is not there".into());
    }
    let (starts, empty) = (Sorted::millis(starts), Sorted::millis(empty));
    figures.add(
        "control plane: start → ready, 10,000 deployments in its history",
        Goal::AtMost(150.0),
        "ms",
        starts.median(),
        starts.p95(),
    );
    figures.add("… before they were there", Goal::None, "ms", empty.median(), empty.p95());
    Ok(())
}

async fn start_again(place: &mut Place) -> Result<Duration, Failure> {
    place.stop().await?;
    sleep(REST).await;
    place.start().await
}

/// Writes the past. The store is closed when this returns.
async fn fill(store: Arc<SqliteStore>) -> Result<(), Failure> {
    let mut tasks = JoinSet::new();
    for number in 0..SCOPES {
        let store = Arc::clone(&store);
        let scope: Scope = format!("history/e{number}").parse()?;
        tasks.spawn(async move {
            for version in 0..DEPLOYMENTS_EACH {
                deploy(&*store, &scope, version).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

async fn deploy(store: &dyn Store, scope: &Scope, version: u64) -> Result<(), Failure> {
    let id = request(store, scope).await?;
    let release = |number: u64| ReleaseId::new(format!("{scope}-{number:040}"));
    let mut environment = Environment::new(scope.clone());
    if version + 1 == DEPLOYMENTS_EACH {
        // What a state has grown to after all of them; before the last nobody reads it.
        environment.verified = (0..DEPLOYMENTS_EACH)
            .map(|number| Verified {
                release: release(number),
                version: format!("{number:012}"),
                at: Timestamp::from_millis(0),
            })
            .collect();
    }
    store
        .commit(Transition {
            scope: scope.clone(),
            expected_version: version,
            state: serde_json::to_value(&environment)?,
            wake_at: None,
            at: Timestamp::from_millis(0),
            events: vec![event(id); EVENTS_EACH],
            applied: vec![Input::key_of(id)],
            deployments: vec![DeploymentUpdate {
                id,
                release: None,
                status: "succeeded".to_owned(),
                plan: Some(json!({ "ballast": "p".repeat(2_000) })),
                summary: json!({ "version": format!("{version:012}"), "failure": null }),
                ended_at: Some(Timestamp::from_millis(0)),
            }],
        })
        .await?;
    Ok(())
}
