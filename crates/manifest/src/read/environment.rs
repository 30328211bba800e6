//! Environments.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use tidegate_types::{
    AccessLog, Condition, EnvironmentName, Gateway, Guard, Listen, Network, QueryLogging,
    WithoutEvidence,
};

use super::{
    concurrency, encryption,
    fields::Fields,
    limits,
    strategy::{self, StrategyDraft},
};
use crate::{
    guard,
    model::{Environment, Rollback},
    problem::{Report, Span},
    yaml::{Entry, Node},
};

const PATH: &str = "environments.*";
const WHEN: &str = "environments.*.rollback.when";

/// An environment and where its parts were written.
pub(super) struct EnvironmentDraft<'a> {
    pub(super) environment: Environment,
    /// Where clients come in, as far as it was written.
    pub(super) addresses: Vec<(SocketAddr, Span)>,
    pub(super) strategy: StrategyDraft,
    pub(super) rollback_span: Option<Span>,
    /// Guards that the user wrote, by their place in `environment.rollback.when`.
    pub(super) guard_spans: Vec<Span>,
    pub(super) values: Vec<&'a Entry>,
    pub(super) replicas: Vec<&'a Entry>,
}

pub(super) fn read_all<'a>(
    fields: &Fields<'a>,
    report: &mut Report<'_>,
) -> Vec<EnvironmentDraft<'a>> {
    if fields.node("environments").is_none() {
        let name = "local".parse().expect("`local` is a name");
        return vec![read(name, None, report)];
    }
    fields
        .named("environments")
        .filter_map(|entry| Some(read(entry.key.parse().ok()?, Some(&entry.value), report)))
        .collect()
}

fn read<'a>(
    name: EnvironmentName,
    node: Option<&'a Node>,
    report: &mut Report<'_>,
) -> EnvironmentDraft<'a> {
    let fields = Fields::new(node, PATH);
    let strategy = strategy::read(fields.node("strategy"), report);
    let rollback = fields.child("rollback");
    let tls = encryption::read(&name, &fields, report);
    let gateway = fields.child("gateway");
    let limits = limits::read(&name, &gateway, report);
    let (when, guard_spans) = guards(&rollback, report);
    let values: Vec<&Entry> = fields.named("env").collect();
    let replicas: Vec<&Entry> = fields.named("replicas").collect();
    EnvironmentDraft {
        environment: Environment {
            name,
            gateway: Gateway {
                listen: listen(&fields),
                tls,
                concurrency: concurrency::read(&gateway),
                metrics: address(&gateway, "metrics"),
                access_log: access_log(&gateway),
                trusted_proxies: trusted_proxies(&gateway),
                proxy_protocol: gateway.value("proxy_protocol"),
                limits,
                maintenance: None,
            },
            strategy: strategy.strategy.clone(),
            rollback: Rollback {
                when,
                without_evidence: match rollback.value::<String>("without_evidence").as_str() {
                    "proceed" => WithoutEvidence::Proceed,
                    "roll_back" => WithoutEvidence::RollBack,
                    _ => WithoutEvidence::Hold,
                },
            },
            values: values
                .iter()
                .filter_map(|entry| Some((entry.key.clone(), entry.value.scalar()?.text.clone())))
                .collect(),
            replicas: replicas
                .iter()
                .filter_map(|entry| {
                    let number = entry.value.scalar()?.text.parse().ok()?;
                    Some((entry.key.parse().ok()?, number))
                })
                .collect::<BTreeMap<_, _>>(),
        },
        addresses: written_addresses(&fields),
        strategy,
        rollback_span: fields.span("rollback"),
        guard_spans,
        values,
        replicas,
    }
}

fn listen(fields: &Fields<'_>) -> Listen {
    address(fields, "listen").map_or(Listen::Automatic, Listen::Address)
}

fn written_addresses(fields: &Fields<'_>) -> Vec<(SocketAddr, Span)> {
    let tls = fields.child("tls");
    let written = [(fields, "listen"), (&tls, "redirect_from")];
    let found = written.map(|(fields, name)| Some((address(fields, name)?, fields.span(name)?)));
    found.into_iter().flatten().collect()
}

pub(super) fn address(fields: &Fields<'_>, name: &str) -> Option<SocketAddr> {
    let text = fields.text(name)?;
    let port = text.parse::<u16>().map(|port| (Ipv4Addr::LOCALHOST, port).into());
    port.or_else(|_| text.parse()).ok()
}

fn access_log(gateway: &Fields<'_>) -> Option<Box<AccessLog>> {
    gateway.node("access_log")?;
    let fields = gateway.child("access_log");
    Some(Box::new(AccessLog {
        path: fields.value::<String>("path").into(),
        sample: fields.value("sample"),
        query: match fields.value::<String>("query").as_str() {
            "keep" => QueryLogging::Keep,
            "drop" => QueryLogging::Drop,
            _ => QueryLogging::Names,
        },
    }))
}

fn trusted_proxies(gateway: &Fields<'_>) -> Vec<Network> {
    let items = gateway.items("trusted_proxies").unwrap_or_default();
    items.iter().filter_map(|item| item.scalar()?.text.parse().ok()).collect()
}

/// The guards of an environment: those that were written, in their order, and those of the default
/// on a metric that none of them is on.
fn guards(rollback: &Fields<'_>, report: &mut Report<'_>) -> (Vec<Guard>, Vec<Span>) {
    let mut guards: Vec<Guard> = Vec::new();
    let mut spans = Vec::new();
    for item in rollback.items("when").unwrap_or_default() {
        if let Some((guard, span)) = written(item, report) {
            if guards.iter().any(|other| other.condition == guard.condition) {
                report
                    .warning(
                        "duplicate-guard",
                        span,
                        format!("the guard `{}` is here for the second time", guard.text),
                    )
                    .help("remove one of the two");
            }
            guards.push(guard);
            spans.push(span);
        }
    }
    let default: String = rollback.default("when").unwrap_or_default();
    for text in default.trim_matches(['[', ']']).split(", ") {
        if let Ok(condition) = guard::parse(text) {
            let same_metric = |other: &Guard| {
                std::mem::discriminant(&other.condition) == std::mem::discriminant(&condition)
            };
            if !guards.iter().any(same_metric) {
                guards.push(Guard { text: text.to_owned(), condition });
            }
        }
    }
    (guards, spans)
}

fn written(item: &Node, report: &mut Report<'_>) -> Option<(Guard, Span)> {
    let fields = Fields::new(Some(item), format!("{WHEN}.*"));
    let (text, span) = match item.scalar() {
        Some(scalar) => (scalar.text.as_str(), item.span),
        None => (fields.text("condition")?, fields.span("condition")?),
    };
    let mut condition = guard::parse(text).ok()?;
    if let Some(span) = fields.key_span("min_requests") {
        match &mut condition {
            Condition::ErrorRate { min_requests, .. } | Condition::Latency { min_requests, .. } => {
                *min_requests = fields.value("min_requests");
            }
            Condition::HealthCheckFailures { .. } | Condition::Restarts { .. } => {
                report
                    .error(
                        "not-for-guard",
                        span,
                        format!(
                            "`min_requests` has no effect on `{text}`: it is not about requests"
                        ),
                    )
                    .help("remove `min_requests`");
            }
        }
    }
    Some((Guard { text: text.trim().to_owned(), condition }, span))
}
