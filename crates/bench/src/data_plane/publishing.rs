//! From publishing a large table until it is acknowledged.

use std::time::{Duration, Instant};

use tidegate_types::{RouteRule, data_plane::ProxyRoute};

use crate::{
    Failure,
    data_plane::{
        Field,
        figure::{Bounds, Figures},
        tidegate,
    },
    say,
    statistics::Sorted,
};

const ROUTES: usize = 1_000;
const TIMES: u64 = 50;
const BOUNDS: Bounds = Bounds { least: 5.0, aim: 1.0 };

pub(super) async fn measure(field: &Field, figures: &mut Figures) -> Result<(), Failure> {
    say(&format!("publishing: {ROUTES} routes with two revisions each, {TIMES} times"));
    let routes: Vec<ProxyRoute> = (0..ROUTES)
        .map(|number| ProxyRoute {
            rule: RouteRule { path: format!("/part-{number}"), ..RouteRule::everything() },
            backends: tidegate::both(&format!("part-{number}"), &field.application),
        })
        .collect();
    let mut times: Vec<Duration> = Vec::new();
    // The first one opens a listener and makes the counters.
    for epoch in 0..=TIMES {
        let table = tidegate::table("bench/publishing", epoch + 1, routes.clone());
        let began = Instant::now();
        field.tidegate.client.publish(&table).await?;
        times.push(began.elapsed());
    }
    let first = times.remove(0);
    let sorted = Sorted::millis(times);
    let what = format!("publish → acknowledged, {ROUTES} routes × 2 revisions");
    figures.value(&what, Some(BOUNDS), "ms", sorted.median());
    figures.value("… p95", None, "ms", sorted.p95());
    figures.value("… the first of them", None, "ms", first.as_secs_f64() * 1_000.0);
    Ok(())
}
