//! How many transitions a second the store makes durable.
//!
//! Each scope commits one transition after the other, as its state machine does: a state of 2 KB, an
//! event of 300 bytes and the summary of its deployment, with full durability. The machine's load is
//! printed beside each figure, because others use the disk, too.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidegate_store::{
    DeploymentFilter, DeploymentUpdate, Error, NewDeployment, NewEvent, SqliteStore, Store,
    Transition,
};
use tidegate_types::{DeploymentId, DeploymentKind, Scope, Timestamp};
use tokio::task::JoinSet;

const TIME: Duration = Duration::from_secs(3);

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut output = io::stdout().lock();
    writeln!(output, "{:>8} {:>16} {:>10} {:>10}   load", "scopes", "transitions/s", "p50", "p99")?;
    for scopes in [1, 16, 64] {
        // Beside the build's output, not in /tmp, which may be memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let store = SqliteStore::open(folder.path().join("tidegate.db"))?;
        let mut times = runtime.block_on(measure(Arc::new(store), scopes))?;
        times.sort_unstable();
        writeln!(
            output,
            "{scopes:>8} {:>16} {:>10.1?} {:>10.1?}   {}",
            times.len() as u128 * 1_000 / TIME.as_millis(),
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            load(),
        )?;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    runtime.block_on(start_with_history(folder.path(), &mut output))
}

/// How long each transition took, until the answer.
async fn measure(store: Arc<SqliteStore>, scopes: usize) -> Result<Vec<Duration>, Failure> {
    let end = Instant::now() + TIME;
    let mut tasks = JoinSet::new();
    for number in 0..scopes {
        let store = Arc::clone(&store);
        tasks.spawn(async move { step_until(&*store, &scope(number)?, end).await });
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

/// Opening, and what is asked for first, with 10,000 deployments behind.
async fn start_with_history(folder: &Path, output: &mut impl Write) -> Result<(), Failure> {
    const DEPLOYMENTS: u64 = 10_000;
    const EVENTS_EACH: u64 = 20;
    const SCOPES: u64 = 20;
    let path = folder.join("tidegate.db");
    let store = Arc::new(SqliteStore::open(&path)?);
    let mut tasks = JoinSet::new();
    for number in 0..SCOPES {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let scope = scope(usize::try_from(number)?)?;
            for version in 0..DEPLOYMENTS / SCOPES {
                let id = request(&*store, &scope).await?;
                let mut step = transition(&scope, id, version);
                let event = step.events[0].clone();
                step.events = vec![event; usize::try_from(EVENTS_EACH)?];
                step.applied = vec![tidegate_store::Input::key_of(id)];
                store.commit(step).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    drop(store);
    let bytes = fs::metadata(&path)?.len();
    let start = Instant::now();
    let store = SqliteStore::open(&path)?;
    let opened = start.elapsed();
    for scope in store.scopes().await? {
        store.load(&scope).await?;
        store.pending(&scope).await?;
    }
    let loaded = start.elapsed();
    let filter = DeploymentFilter::All;
    store.deployments(&filter, None, 50).await?;
    let listed = start.elapsed();
    writeln!(
        output,
        "{DEPLOYMENTS} deployments, {} events, {} MiB: open {opened:.1?}, all {SCOPES} scopes loaded \
         after {loaded:.1?}, 50 deployments listed after {listed:.1?}   {}",
        DEPLOYMENTS * EVENTS_EACH,
        bytes >> 20,
        load(),
    )?;
    Ok(())
}

async fn request(store: &dyn Store, scope: &Scope) -> Result<DeploymentId, Error> {
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

fn transition(scope: &Scope, deployment: DeploymentId, version: u64) -> Transition {
    Transition {
        scope: scope.clone(),
        expected_version: version,
        state: json!({ "version": version, "ballast": "s".repeat(2_000) }),
        wake_at: Some(Timestamp::from_millis(1)),
        at: Timestamp::from_millis(0),
        events: vec![NewEvent {
            deployment: Some(deployment),
            kind: "stepped".to_owned(),
            schema: 1,
            actor: None,
            payload: json!({ "ballast": "e".repeat(280) }),
        }],
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

fn scope(number: usize) -> Result<Scope, Failure> {
    Ok(format!("bench/e{number}").parse()?)
}

/// The machine's load over the last minute, where it is told.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute = text.split_whitespace().next().unwrap_or("unknown");
    format!("load {minute}")
}
