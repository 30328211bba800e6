//! Routes, and guards on the traffic that comes by them.

use std::collections::BTreeMap;

use tidegate_types::{Duration, Guard};

use super::{component::ComponentDraft, environment::EnvironmentDraft, strategy::StrategyDraft};
use crate::{
    model::Strategy,
    problem::{Report, Span},
};

pub(super) fn check(
    components: &[ComponentDraft<'_>],
    environments: &[EnvironmentDraft<'_>],
    report: &mut Report<'_>,
) {
    routes(components, report);
    for environment in environments {
        guards(components, environment, report);
        gaps(components, environment, report);
    }
}

fn routes(components: &[ComponentDraft<'_>], report: &mut Report<'_>) {
    let mut owners: BTreeMap<(Option<&str>, &str), &ComponentDraft<'_>> = BTreeMap::new();
    for draft in components {
        let Some(route) = &draft.component.route else {
            continue;
        };
        let place = draft.route_span.unwrap_or(draft.name_span);
        if report.is_faulty(place) {
            continue;
        }
        let key = (route.host.as_deref(), route.path.as_str());
        if let Some(owner) = owners.get(&key) {
            let host = route.host.as_deref().unwrap_or("any host");
            let line = report.line_of(owner.route_span.unwrap_or(owner.name_span).start);
            report
                .error(
                    "route-conflict",
                    place,
                    format!(
                        "`{}` takes the requests for `{}` on {host}, and so does `{}`",
                        draft.component.name, route.path, owner.component.name
                    ),
                )
                .help(format!(
                    "give one of them another path or host; the other is on line {line}"
                ));
        } else {
            owners.insert(key, draft);
        }
    }
}

/// Guards on traffic need traffic, and need to look back no longer than the new is watched.
fn guards(
    components: &[ComponentDraft<'_>],
    draft: &EnvironmentDraft<'_>,
    report: &mut Report<'_>,
) {
    let written = draft.environment.rollback.when.iter().zip(&draft.guard_spans);
    let on_traffic: Vec<(&Guard, Duration, Span)> = written
        .filter_map(|(guard, span)| Some((guard, guard.condition.window()?, *span)))
        .collect();
    let routed: Vec<&ComponentDraft<'_>> =
        components.iter().filter(|draft| draft.component.route.is_some()).collect();
    if routed.is_empty() {
        // A route that could not be read is a route all the same.
        let in_doubt = components
            .iter()
            .any(|draft| draft.route_span.is_some_and(|span| report.is_faulty(span)));
        for (guard, _, span) in on_traffic {
            if !in_doubt {
                report
                    .error(
                        "guard-without-traffic",
                        span,
                        format!(
                            "the guard `{}` judges requests, and no component has a route",
                            guard.text
                        ),
                    )
                    .help(
                        "give the component that answers requests a `route`, or remove the guard",
                    );
            }
        }
        return;
    }
    let longest = on_traffic
        .iter()
        .max_by(|left, right| left.1.cmp(&right.1).then(right.2.start.cmp(&left.2.start)));
    let Some((guard, window, span)) = longest else {
        return;
    };
    if draft.rollback_span.is_some_and(|span| report.is_faulty(span)) {
        return;
    }
    let looks =
        Looks { environment: draft.environment.name.as_str(), guard, window: *window, span: *span };
    if routed.iter().any(|component| component.strategy.is_none()) {
        looks.check(&draft.strategy, None, report);
    }
    for component in routed {
        if let Some(strategy) = &component.strategy {
            looks.check(strategy, Some(component.component.name.as_str()), report);
        }
    }
}

/// The guard that looks back the longest.
struct Looks<'a> {
    environment: &'a str,
    guard: &'a Guard,
    window: Duration,
    span: Span,
}

impl Looks<'_> {
    fn check(&self, draft: &StrategyDraft, component: Option<&str>, report: &mut Report<'_>) {
        if draft.span.is_some_and(|span| report.is_faulty(span)) {
            return;
        }
        let whose = component.map_or(String::new(), |name| format!(" of `{name}`"));
        let (text, window) = (&self.guard.text, self.window);
        let watched = || draft.bakes.iter().filter(|bake| !bake.length.is_zero());
        if watched().next().is_none() {
            report
                .error(
                    "guard-outlasts-bake",
                    self.span,
                    format!(
                        "the guard `{text}` would never judge a deployment{whose}: every `bake` in `{}` is 0s",
                        self.environment
                    ),
                )
                .help(format!("write `bake: {window}` or longer in the strategy"));
            return;
        }
        let mut told = Vec::new();
        for bake in watched().filter(|bake| bake.length < window) {
            let place = bake.span.unwrap_or(self.span);
            if told.contains(&place) {
                continue;
            }
            told.push(place);
            let key = strategy_key(&draft.strategy);
            let shorter = shortened(text, bake.length);
            let mend = match (bake.span, component) {
                (Some(_), _) => format!("write {window} or more here"),
                (None, None) => format!(
                    "watch longer: `strategy: {{ {key}: {{ bake: {window} }} }}` in `{}`",
                    self.environment
                ),
                (None, Some(name)) => format!(
                    "watch longer: `strategy: {{ {key}: {{ bake: {window} }} }}` in component `{name}`"
                ),
            };
            let default = if bake.span.is_none() { " (the default)" } else { "" };
            report
                .error(
                    "guard-outlasts-bake",
                    place,
                    format!(
                        "`{text}` looks back over {window}, but {}{whose} in `{}` is watched for only {}{default}",
                        bake.what, self.environment, bake.length
                    ),
                )
                .help(format!("{mend}; or let the guard look back less: `{shorter}`"));
        }
    }
}

fn shortened(guard: &str, window: Duration) -> String {
    let condition = guard.split(" for ").next().unwrap_or(guard).trim();
    format!("{condition} for {window}")
}

fn strategy_key(strategy: &Strategy) -> &'static str {
    match strategy {
        Strategy::Recreate { .. } => "recreate",
        Strategy::Rolling { .. } => "rolling",
        Strategy::BlueGreen { .. } => "blue_green",
        Strategy::Canary { .. } => "canary",
    }
}

/// A rolling update that may stop every instance at once.
fn gaps(components: &[ComponentDraft<'_>], draft: &EnvironmentDraft<'_>, report: &mut Report<'_>) {
    for component in components {
        let strategy = component.strategy.as_ref().unwrap_or(&draft.strategy);
        let (Strategy::Rolling { max_surge: 0, max_unavailable, .. }, Some(span)) =
            (&strategy.strategy, strategy.span)
        else {
            continue;
        };
        let name = &component.component.name;
        let replicas =
            draft.environment.replicas.get(name).copied().unwrap_or(component.component.replicas);
        if replicas <= *max_unavailable
            && component.component.route.is_some()
            && !component.is_static()
            && !report.is_faulty(component.span)
            && !report.is_faulty(span)
        {
            report
                .warning(
                    "rolling-gap",
                    span,
                    format!("every instance of `{name}` may be stopped at once: nobody answers in between"),
                )
                .help("write `max_surge: 1`, or give the component more `replicas`");
        }
    }
}
