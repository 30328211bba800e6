//! What only the whole can tell: names that refer to each other, values of variables, ports.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{component::ComponentDraft, environment::EnvironmentDraft};
use crate::{
    model::{Strategy, Workload},
    problem::Report,
    suggest,
    variable::{self, VariableFault},
};

/// Names that have to be those of components and variables.
pub(super) fn references(
    components: &[ComponentDraft<'_>],
    environments: &[EnvironmentDraft<'_>],
    report: &mut Report<'_>,
) {
    dependencies(components, report);
    replicas(components, environments, report);
    values(components, environments, report);
}

pub(super) fn check(
    components: &[ComponentDraft<'_>],
    environments: &[EnvironmentDraft<'_>],
    report: &mut Report<'_>,
) {
    cycles(components, report);
    fixed_ports(components, report);
    addresses(components, environments, report);
    variables(components, environments, report);
}

fn names<'a>(components: &'a [ComponentDraft<'_>]) -> impl Iterator<Item = &'a str> + Clone {
    components.iter().map(|draft| draft.component.name.as_str())
}

fn did_you_mean<'a>(written: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = suggest::nearest(written, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let known: Vec<&str> = known.take(12).collect();
    if known.is_empty() {
        "there is no other".to_owned()
    } else {
        format!("known are {}", suggest::list(known, "and"))
    }
}

fn dependencies(components: &[ComponentDraft<'_>], report: &mut Report<'_>) {
    let known: HashSet<&str> = names(components).collect();
    for draft in components {
        let own = draft.component.name.as_str();
        let mut seen = HashSet::new();
        for (name, span) in &draft.depends_on {
            if report.is_full() {
                return;
            }
            if *name == own {
                report
                    .error(
                        "dependency-cycle",
                        *span,
                        format!("component `{own}` depends on itself"),
                    )
                    .help("remove it");
            } else if !known.contains(name) && !report.is_faulty(*span) {
                report
                    .error(
                        "unknown-component",
                        *span,
                        format!("component `{own}` depends on `{name}`, which is no component"),
                    )
                    .help(did_you_mean(name, names(components).filter(|name| *name != own)));
            } else if !seen.insert(*name) {
                report
                    .warning("duplicate-dependency", *span, format!("`{name}` is listed twice"))
                    .help("remove one of the two");
            }
        }
    }
}

/// Each cycle once: what can be ordered is taken away, and in the rest every walk ends in a cycle.
fn cycles(components: &[ComponentDraft<'_>], report: &mut Report<'_>) {
    let index: HashMap<&str, usize> =
        names(components).enumerate().map(|(index, name)| (name, index)).collect();
    let edges: Vec<BTreeSet<usize>> = components
        .iter()
        .enumerate()
        .map(|(own, draft)| {
            draft
                .depends_on
                .iter()
                .filter_map(|(name, _)| index.get(name).copied())
                .filter(|other| *other != own)
                .collect()
        })
        .collect();
    let mut rest: BTreeSet<usize> = (0..components.len()).collect();
    loop {
        let free: Vec<usize> =
            rest.iter().copied().filter(|node| edges[*node].is_disjoint(&rest)).collect();
        if free.is_empty() {
            break;
        }
        for node in free {
            rest.remove(&node);
        }
    }
    while let Some(first) = rest.first().copied() {
        let mut walk = vec![first];
        let cycle = loop {
            let here = walk[walk.len() - 1];
            let next = edges[here].iter().copied().find(|next| rest.contains(next));
            match next {
                // What leads only to a cycle that was told already.
                None => break None,
                Some(next) => match walk.iter().position(|node| *node == next) {
                    Some(start) => break Some(walk[start..].to_vec()),
                    None => walk.push(next),
                },
            }
        };
        for node in &walk {
            rest.remove(node);
        }
        if let Some(cycle) = cycle {
            tell_cycle(components, cycle, report);
        }
    }
}

fn tell_cycle(components: &[ComponentDraft<'_>], mut cycle: Vec<usize>, report: &mut Report<'_>) {
    // It begins with the component that comes first in the file.
    let smallest =
        cycle.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(position, _)| position);
    cycle.rotate_left(smallest);
    let name = |node: usize| components[node].component.name.as_str();
    let words: Vec<String> =
        cycle.iter().chain(cycle.first()).map(|node| format!("`{}`", name(*node))).collect();
    let first = &components[cycle[0]];
    let next = cycle.get(1).map_or("", |node| name(*node));
    let span = first
        .depends_on
        .iter()
        .find(|(name, _)| *name == next)
        .map_or(first.name_span, |(_, span)| *span);
    report
        .error(
            "dependency-cycle",
            span,
            format!("components depend on each other in a circle: {}", words.join(" → ")),
        )
        .help("they are deployed in order of their dependencies, so one of these has to go");
}

fn fixed_ports(components: &[ComponentDraft<'_>], report: &mut Report<'_>) {
    let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
    for draft in components {
        let (Some(port), Some(port_span)) = (draft.fixed_port(), draft.port_span) else {
            continue;
        };
        let name = draft.component.name.as_str();
        if let Some(owner) = owners.get(&port) {
            report
                .error(
                    "port-conflict",
                    port_span,
                    format!("`{name}` insists on port {port}, and so does `{owner}`"),
                )
                .help(
                    "write `port: auto` and let the command take `$PORT`, or choose another number",
                );
        }
        owners.entry(port).or_insert(name);
        if draft.component.replicas > 1
            && let Some(span) = draft.replicas_span
        {
            many_on_one_port(span, name, port, report);
        }
        if let Some(strategy) = &draft.strategy
            && let Some(span) = strategy.span
            && !matches!(strategy.strategy, Strategy::Recreate { .. })
            && !report.is_faulty(span)
        {
            report
                .error(
                    "port-conflict",
                    span,
                    format!(
                        "this strategy runs the old and the new `{name}` side by side, and both insist on port {port}"
                    ),
                )
                .help("write `port: auto` and let the command take `$PORT`, or `strategy: recreate`");
        }
    }
}

fn many_on_one_port(span: crate::problem::Span, name: &str, port: u16, report: &mut Report<'_>) {
    report
        .error(
            "port-conflict",
            span,
            format!("several instances of `{name}` cannot all listen on port {port}"),
        )
        .help("write `port: auto` and let the command take `$PORT`, or run one instance");
}

fn addresses(
    components: &[ComponentDraft<'_>],
    environments: &[EnvironmentDraft<'_>],
    report: &mut Report<'_>,
) {
    let mut owners = BTreeMap::new();
    let written = environments
        .iter()
        .flat_map(|draft| draft.addresses.iter().map(|found| (&draft.environment.name, *found)));
    for (name, (address, span)) in written {
        let name = name.as_str();
        if let Some(owner) = owners.get(&address) {
            let what = if *owner == name {
                format!("environment `{name}` listens on {address} twice")
            } else {
                format!("environment `{name}` listens on {address}, and so does `{owner}`")
            };
            report
                .error("port-conflict", span, what)
                .help("choose another port, or leave `listen` out for a free one");
        }
        owners.entry(address).or_insert(name);
        let taken = components.iter().find(|draft| draft.fixed_port() == Some(address.port()));
        if let Some(taken) = taken {
            report
                .error(
                    "port-conflict",
                    span,
                    format!(
                        "environment `{name}` listens on port {}, on which component `{}` insists",
                        address.port(),
                        taken.component.name
                    ),
                )
                .help("choose another port, or leave `listen` out for a free one");
        }
    }
}

fn replicas(
    components: &[ComponentDraft<'_>],
    environments: &[EnvironmentDraft<'_>],
    report: &mut Report<'_>,
) {
    for environment in environments {
        for entry in &environment.replicas {
            let found = components.iter().find(|draft| draft.component.name.as_str() == entry.key);
            match found {
                None if report.is_faulty(entry.key_span) => {}
                None => {
                    report
                        .error(
                            "unknown-component",
                            entry.key_span,
                            format!("`{}` is no component", entry.key),
                        )
                        .help(did_you_mean(&entry.key, names(components)));
                }
                Some(draft) if draft.is_static() => {
                    report
                        .error(
                            "not-for-static",
                            entry.key_span,
                            format!("`{}` is a static site: it has no instances", entry.key),
                        )
                        .help("remove it");
                }
                Some(draft) => {
                    let number = environment.environment.replicas.get(&draft.component.name);
                    if let Some(port) = draft.fixed_port()
                        && number.is_some_and(|number| *number > 1)
                    {
                        many_on_one_port(entry.value.span, &entry.key, port, report);
                    }
                }
            }
        }
    }
}

/// Values of environments for variables that no component declares.
fn values(
    components: &[ComponentDraft<'_>],
    environments: &[EnvironmentDraft<'_>],
    report: &mut Report<'_>,
) {
    let declared: BTreeSet<&str> =
        components.iter().flat_map(|draft| draft.variables.keys().copied()).collect();
    for environment in environments {
        for entry in &environment.values {
            if report.is_full() {
                return;
            }
            if !declared.contains(entry.key.as_str()) && !report.is_faulty(entry.key_span) {
                let help = match suggest::nearest(&entry.key, declared.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "declare it in the `env` of the component that reads it, as in `{}: {{ required: true }}`",
                        entry.key
                    ),
                };
                report
                    .error(
                        "undeclared-variable",
                        entry.key_span,
                        format!("no component declares the variable `{}`", entry.key),
                    )
                    .help(help);
            }
        }
    }
}

/// Variables that have no value, or one of the wrong type, in any of the environments.
fn variables(
    components: &[ComponentDraft<'_>],
    environments: &[EnvironmentDraft<'_>],
    report: &mut Report<'_>,
) {
    for draft in components {
        if matches!(draft.component.workload, Workload::Static { .. }) {
            continue;
        }
        let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for environment in environments {
            let faults = variable::resolve(&draft.component, &environment.environment);
            for fault in faults.err().unwrap_or_default() {
                match fault {
                    VariableFault::Missing { name } => {
                        missing
                            .entry(name)
                            .or_default()
                            .push(environment.environment.name.as_str());
                    }
                    VariableFault::WrongType { name, kind, .. } => {
                        // A wrong default was told where it stands.
                        let value = environment.values.iter().find(|entry| entry.key == name);
                        if let Some(entry) = value
                            && !report.is_full()
                        {
                            report
                                .error(
                                    "wrong-variable-type",
                                    entry.value.span,
                                    format!("the value of `{name}` is not {kind}"),
                                )
                                .help(format!(
                                    "component `{}` declares it so: change the value here or the `type` there",
                                    draft.component.name
                                ));
                        }
                    }
                }
            }
        }
        for (name, places) in missing {
            let Some(span) = draft.variables.get(name.as_str()) else {
                continue;
            };
            // A slip of the pen in its declaration or its value was told there.
            let written = environments.iter().any(|environment| {
                environment
                    .values
                    .iter()
                    .any(|entry| entry.key == name && report.is_faulty(entry.key_span))
            });
            if written {
                continue;
            }
            let noun = if places.len() == 1 { "environment" } else { "environments" };
            report
                .error(
                    "missing-variable",
                    *span,
                    format!(
                        "`{name}` of component `{}` is required and has no value in {noun} {}",
                        draft.component.name,
                        suggest::list(places.iter().copied().take(8), "and")
                    ),
                )
                .help(format!(
                    "give it one there (`environments.{}.env.{name}`), or a `default` here",
                    places[0]
                ));
        }
    }
}
