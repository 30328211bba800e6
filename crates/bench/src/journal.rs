//! How many transitions a second the store makes durable.
//!
//! Each scope commits one transition after the other, as its state machine does: a state of 2 KB, an
//! event of 300 bytes and the summary of its deployment, with full durability.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidegate_store::{
    DeploymentUpdate, Error, NewDeployment, NewEvent, SqliteStore, Store, Transition,
};
use tidegate_types::{DeploymentId, DeploymentKind, Scope, Timestamp};
use tokio::task::JoinSet;

use crate::{
    Failure,
    figure::{Figures, Goal},
    statistics::Sorted,
};

const TIME: Duration = Duration::from_secs(3);
const SYNCS: usize = 500;

pub(crate) async fn measure(root: &Path, figures: &mut Figures) -> Result<(), Failure> {
    let syncs = Sorted::millis(syncs(&root.join("sync"))?);
    for scopes in [64, 16, 1] {
        let path = root.join(format!("journal-{scopes}.db"));
        let times = with_scopes(Arc::new(SqliteStore::open(path)?), scopes).await?;
        #[expect(clippy::cast_precision_loss, reason = "no such number of transitions")]
        let rate = times.len() as f64 / TIME.as_secs_f64();
        if scopes == 64 {
            figures.add(
                "journal: transitions committed, 64 deployments at once",
                Goal::AtLeast(2_000.0),
                "/s",
                rate,
                f64::NAN,
            );
            let times = Sorted::millis(times);
            figures.add("… → one of them durable", Goal::None, "ms", times.median(), times.p95());
        } else {
            let what = format!("… {scopes} at once");
            figures.add(&what, Goal::None, "/s", rate, f64::NAN);
        }
    }
    let what = "… what this disk needs to sync 4 KiB";
    figures.add(what, Goal::None, "ms", syncs.median(), syncs.p95());
    Ok(())
}

/// How long the disk itself takes to make a page durable: what a commit cannot be faster than, and
/// what tells a disk that answers before it has written.
fn syncs(path: &Path) -> Result<Vec<Duration>, Failure> {
    let mut file = File::create(path)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[b's'; 4_096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// How long each transition took, until the answer.
async fn with_scopes(store: Arc<SqliteStore>, scopes: usize) -> Result<Vec<Duration>, Failure> {
    let end = Instant::now() + TIME;
    let mut tasks = JoinSet::new();
    for number in 0..scopes {
        let store = Arc::clone(&store);
        let scope: Scope = format!("journal/e{number}").parse()?;
        tasks.spawn(async move { step_until(&*store, &scope, end).await });
    }
    let mut times = Vec::new();
    while let Some(task) = tasks.join_next().await {
        times.extend(task??);
    }
    Ok(times)
}

async fn step_until(
    store: &dyn Store,
    scope: &Scope,
    end: Instant,
) -> Result<Vec<Duration>, Failure> {
    let id = request(store, scope).await?;
    let mut times = Vec::new();
    for version in 0.. {
        let start = Instant::now();
        if start >= end {
            break;
        }
        store.commit(transition(scope, id, version)).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// A deployment that is asked for.
pub(crate) async fn request(store: &dyn Store, scope: &Scope) -> Result<DeploymentId, Error> {
    let requested = store
        .request_deployment(NewDeployment {
            key: None,
            scope: scope.clone(),
            kind: DeploymentKind::Deploy,
            actor: "bench".to_owned(),
            reason: None,
            request: Value::Null,
            requested_at: Timestamp::from_millis(0),
        })
        .await?;
    Ok(requested.id)
}

/// An event as large as most.
pub(crate) fn event(deployment: DeploymentId) -> NewEvent {
    NewEvent {
        deployment: Some(deployment),
        kind: "stepped".to_owned(),
        schema: 1,
        actor: None,
        payload: json!({ "ballast": "e".repeat(280) }),
    }
}

fn transition(scope: &Scope, deployment: DeploymentId, version: u64) -> Transition {
    Transition {
        scope: scope.clone(),
        expected_version: version,
        state: json!({ "version": version, "ballast": "s".repeat(2_000) }),
        wake_at: Some(Timestamp::from_millis(1)),
        at: Timestamp::from_millis(0),
        events: vec![event(deployment)],
        applied: Vec::new(),
        deployments: vec![DeploymentUpdate {
            id: deployment,
            release: None,
            status: "running".to_owned(),
            plan: None,
            summary: json!({ "step": version }),
            ended_at: None,
        }],
    }
}
