//! The words in which promises are written.

use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use tidegate_targets::{Effect, TargetError};
use tidegate_types::{
    Duration, Epoch, Gateway, Generation, Observation, RevisionFacts, RevisionId, RouteEntry,
    RouteTable, Scope, Share, WantedRevision, WeightedRevision,
};

use super::{Answer, Behaviour, Harness};

/// Whatever is waited for has to come within so many pauses.
const PATIENCE: u32 = 6_000;
/// What must not happen does not within so many pauses.
const QUIET: u32 = 40;

pub(crate) fn scope() -> Scope {
    "shop/production".parse().unwrap()
}

pub(crate) fn revision(name: &str) -> RevisionId {
    RevisionId::new(name)
}

/// A call that was refused for good, and changed nothing.
pub(crate) fn refused<T: Debug>(answer: Result<T, TargetError>) {
    let error = answer.expect_err("it is refused");
    assert_eq!((error.retry, error.effect), (false, Effect::None), "{error}");
    told(&error);
}

/// A call that is to be made again, and changed nothing.
pub(crate) fn to_be_tried_again<T: Debug>(answer: Result<T, TargetError>) {
    let error = answer.expect_err("it is not possible yet");
    assert_eq!((error.retry, error.effect), (true, Effect::None), "{error}");
    told(&error);
}

fn told(error: &TargetError) {
    assert!(!error.operation.is_empty() && !error.reason.is_empty(), "{error:?}");
}

/// So many instances of a revision that behave so.
pub(crate) fn wanted(
    harness: &dyn Harness,
    name: &str,
    behaviour: Behaviour,
    replicas: u32,
) -> WantedRevision {
    let spec = harness.specification(behaviour);
    WantedRevision { id: revision(name), spec, replicas }
}

pub(crate) fn good(harness: &dyn Harness, name: &str, replicas: u32) -> WantedRevision {
    wanted(harness, name, Behaviour::Good, replicas)
}

/// A table that gives each revision its share.
pub(crate) fn table(harness: &dyn Harness, epoch: u64, shares: &[(&str, u32)]) -> RouteTable {
    table_of(harness, &scope(), epoch, shares)
}

pub(crate) fn table_of(
    harness: &dyn Harness,
    scope: &Scope,
    epoch: u64,
    shares: &[(&str, u32)],
) -> RouteTable {
    let spec = harness.specification(Behaviour::Good);
    RouteTable {
        scope: scope.clone(),
        epoch: Epoch(epoch),
        gateway: Gateway::default(),
        routes: vec![RouteEntry {
            component: spec.component,
            rule: spec.route.expect("the component takes requests"),
            backends: shares
                .iter()
                .map(|(name, percent)| WeightedRevision {
                    revision: revision(name),
                    share: Share::percent(*percent),
                    role: "stable".to_owned(),
                })
                .collect(),
        }],
    }
}

pub(crate) async fn try_apply(
    harness: &dyn Harness,
    generation: u64,
    wanted: &[WantedRevision],
) -> Result<(), TargetError> {
    harness.target().apply(&scope(), Generation(generation), wanted).await
}

pub(crate) async fn apply(harness: &dyn Harness, generation: u64, wanted: &[WantedRevision]) {
    try_apply(harness, generation, wanted).await.unwrap();
}

/// Puts a table in force; where the scope is reached.
pub(crate) async fn route(harness: &dyn Harness, epoch: u64, shares: &[(&str, u32)]) -> String {
    let answered = harness.target().route(&table(harness, epoch, shares)).await.unwrap();
    assert_eq!(answered, Epoch(epoch));
    let routes = observe(harness).await.routes;
    assert_eq!((routes.epoch, routes.refused), (Some(Epoch(epoch)), None));
    routes.address.expect("a table in force has an address")
}

pub(crate) async fn observe(harness: &dyn Harness) -> Observation {
    harness.target().observe(&scope()).await.unwrap()
}

/// What is known of a revision; nothing when it is not known.
pub(crate) async fn facts(harness: &dyn Harness, name: &str) -> RevisionFacts {
    observe(harness).await.revisions.remove(&revision(name)).unwrap_or_default()
}

/// Waits until `look` gives something.
pub(crate) async fn until<T>(
    harness: &dyn Harness,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    for _ in 0..PATIENCE {
        if let Some(found) = look().await {
            return found;
        }
        harness.pause().await;
    }
    let last = harness.target().observe(&scope()).await;
    panic!("waited in vain for {what}; last seen: {last:#?}")
}

/// For a while it stays so.
pub(crate) async fn stays(harness: &dyn Harness, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..QUIET {
        assert!(holds().await, "it did not stay so: {what}");
        harness.pause().await;
    }
}

/// Waits until a revision has exactly so many instances, all of them ready.
pub(crate) async fn ready(harness: &dyn Harness, name: &str, count: u32) -> RevisionFacts {
    until(harness, &format!("{count} of {name} ready"), async || {
        let facts = facts(harness, name).await;
        (facts.ready == count && facts.running == count).then_some(facts)
    })
    .await
}

/// Waits until nothing is known of a revision any more.
pub(crate) async fn forgotten(harness: &dyn Harness, name: &str) {
    until(harness, &format!("{name} forgotten"), async || {
        (!observe(harness).await.revisions.contains_key(&revision(name))).then_some(())
    })
    .await;
}

/// A request that is answered at once.
pub(crate) async fn ask(harness: &dyn Harness, address: &str) -> Answer {
    harness.visitor()(address, Duration::ZERO).await
}

/// A few requests in a row; each has to be answered by this revision.
pub(crate) async fn answers_come_from(harness: &dyn Harness, address: &str, name: &str) {
    for _ in 0..5 {
        let answer = ask(harness, address).await;
        assert_eq!((answer.status, answer.revision), (200, Some(revision(name))));
    }
}

/// Waits until so many requests are in flight.
pub(crate) async fn in_flight(harness: &dyn Harness, count: u64) {
    until(harness, "requests in flight", async || {
        let traffic = harness.target().traffic(&scope()).await.ok()?;
        (traffic.in_flight.values().sum::<u64>() == count).then_some(())
    })
    .await;
}

/// Requests, one after the other, until told to end.
pub(crate) struct Load {
    end: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Answer>>,
}

impl Load {
    pub(crate) fn on(harness: &dyn Harness, address: &str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (visitor, address) = (harness.visitor(), address.to_owned());
        let task = tokio::spawn({
            let end = Arc::clone(&end);
            async move {
                let mut answers = Vec::new();
                while !end.load(Ordering::Relaxed) {
                    answers.push(visitor(&address, Duration::from_millis(2)).await);
                }
                answers
            }
        });
        Self { end, task }
    }

    /// Ends it; every request must have been answered.
    pub(crate) async fn assert_all_answered(self) {
        self.end.store(true, Ordering::Relaxed);
        let answers = self.task.await.unwrap();
        assert!(!answers.is_empty());
        let failed: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
        assert!(failed.is_empty(), "of {} failed {}: {failed:?}", answers.len(), failed.len());
    }
}

/// Drops a call after it was polled so often; its answer if it had one by then.
pub(crate) async fn dropped_after<T>(polls: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call: Pin<Box<_>> = Box::pin(call);
    let mut polled = 0;
    std::future::poll_fn(move |context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match call.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            // Not waited for: the next poll may be the one that drops it.
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
