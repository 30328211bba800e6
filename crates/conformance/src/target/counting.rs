//! What was counted, and what changed.

use std::collections::BTreeMap;

use tidegate_types::{RevisionId, RouteTable, WantedRevision};
use tokio::sync::watch;

use super::{
    Behaviour, Harness,
    world::{
        ask, facts, forgotten, good, observe, ready, refused, revision, scope, table, try_apply,
        until, wanted,
    },
};

type Counted = BTreeMap<RevisionId, (u64, u64)>;

/// Reads the counters; none of those that were there may have fallen.
async fn count(harness: &dyn Harness, before: &mut Counted) {
    let traffic =
        until(harness, "the counters", async || harness.target().traffic(&scope()).await.ok())
            .await;
    let now: Counted = traffic
        .revisions
        .into_iter()
        .map(|(revision, counters)| (revision, (counters.requests(), counters.errors())))
        .collect();
    for (revision, (requests, errors)) in &*before {
        let found = now.get(revision).copied().unwrap_or_default();
        assert!(found.0 >= *requests && found.1 >= *errors, "{revision}: {before:?}, then {now:?}");
    }
    *before = now;
}

/// Neither a new table, nor a revision that leaves it and comes back, nor instances that come and
/// go, nor a new control plane take back what was counted; and every request is counted once.
pub async fn counters_never_fall_while_the_data_plane_lives(harness: &mut dyn Harness) {
    let list = [good(harness, "api@1", 1), good(harness, "api@2", 1)];
    super::world::apply(harness, 1, &list).await;
    ready(harness, "api@1", 1).await;
    ready(harness, "api@2", 1).await;
    let mut counted = Counted::new();
    let mut sent = 0;
    for epoch in 1..=8_u64 {
        let shares: &[_] = match epoch % 4 {
            0 => &[("api@2", 100)],
            1 => &[("api@1", 100)],
            2 => &[("api@1", 50), ("api@2", 50)],
            _ => &[("api@1", 0), ("api@2", 100)],
        };
        let address = super::world::route(harness, epoch, shares).await;
        for _ in 0..10 {
            assert_eq!(ask(harness, &address).await.status, 200);
            sent += 1;
        }
        count(harness, &mut counted).await;
        match epoch {
            3 => {
                harness.crash().await;
                harness.start().await;
                super::world::apply(harness, 1, &list).await;
            }
            5 => {
                let more = [good(harness, "api@1", 2), good(harness, "api@2", 1)];
                super::world::apply(harness, 2, &more).await;
                ready(harness, "api@1", 2).await;
            }
            _ => {}
        }
        count(harness, &mut counted).await;
    }
    until(harness, "every request counted", async || {
        count(harness, &mut counted).await;
        let total: u64 = counted.values().map(|(requests, _)| requests).sum();
        assert!(total <= sent, "{total} counted, {sent} sent");
        (total == sent).then_some(())
    })
    .await;
    assert!(counted[&revision("api@1")].0 > 0 && counted[&revision("api@2")].0 > 0);
}

/// Compares looks: whenever two differ, the number has changed between them.
struct Watcher {
    changes: watch::Receiver<u64>,
    last: tidegate_types::Observation,
    differences: u32,
}

impl Watcher {
    async fn new(harness: &dyn Harness) -> Self {
        let mut changes = harness.target().changes(&scope());
        changes.mark_unchanged();
        Self { changes, last: observe(harness).await, differences: 0 }
    }

    async fn look(&mut self, harness: &dyn Harness) {
        let now = observe(harness).await;
        if now != self.last {
            let (was, has_changed) = (&self.last, self.changes.has_changed().unwrap());
            assert!(has_changed, "nobody was told:\n{was:#?}\nbecame\n{now:#?}");
            self.differences += 1;
        }
        // What comes after this look is the business of the next.
        self.changes.mark_unchanged();
        self.last = observe(harness).await;
    }

    async fn apply(&mut self, harness: &dyn Harness, generation: u64, list: &[WantedRevision]) {
        try_apply(harness, generation, list).await.unwrap();
        self.look(harness).await;
    }

    async fn route(&mut self, harness: &dyn Harness, table: &RouteTable) {
        harness.target().route(table).await.unwrap();
        self.look(harness).await;
    }

    async fn until(&mut self, harness: &dyn Harness, name: &str, ready: u32) {
        until(harness, &format!("{ready} of {name}"), async || {
            self.look(harness).await;
            let facts = facts(harness, name).await;
            (facts.ready == ready && facts.running == ready).then_some(())
        })
        .await;
    }
}

/// Whoever waits for a change misses nothing: a list, a table, an instance that comes, dies or
/// goes, a refusal.
pub async fn whatever_observe_tells_anew_is_a_change(harness: &mut dyn Harness) {
    let mut watcher = Watcher::new(harness).await;
    let one = wanted(harness, "api@1", Behaviour::Slow, 1);
    watcher.apply(harness, 1, std::slice::from_ref(&one)).await;
    watcher.until(harness, "api@1", 1).await;
    watcher.route(harness, &table(harness, 1, &[("api@1", 100)])).await;
    // The list is the same; its number is not.
    watcher.apply(harness, 2, std::slice::from_ref(&one)).await;
    watcher.route(harness, &table(harness, 2, &[("api@1", 100)])).await;
    refused(try_apply(harness, 1, &[]).await);
    watcher.look(harness).await;
    harness.kill_instances().await;
    until(harness, "an exit", async || {
        watcher.look(harness).await;
        (facts(harness, "api@1").await.exits == 1).then_some(())
    })
    .await;
    watcher.until(harness, "api@1", 1).await;
    watcher.apply(harness, 3, &[]).await;
    watcher.until(harness, "api@1", 0).await;
    forgotten(harness, "api@1").await;
    watcher.look(harness).await;
    assert!(watcher.differences >= 6, "{}", watcher.differences);
}
