//! Health checks.

use tidegate_types::{Duration, HealthCheck, Probe};

use super::fields::Fields;
use crate::{
    problem::Report,
    yaml::{Node, Value},
};

/// The ways to tell health, of which there is one at a time.
const WAYS: [&str; 4] = ["path", "tcp", "command", "running"];

/// Whether a health check asks a port.
pub(super) fn asks_port(health: Option<&Node>) -> bool {
    match health.map(|node| &node.value) {
        Some(Value::Scalar(_)) => true,
        Some(Value::Mapping(entries)) => entries.iter().any(|entry| {
            matches!(entry.key.as_str(), "path" | "ready")
                || (entry.key == "tcp" && is_true(&entry.value))
        }),
        _ => false,
    }
}

fn is_true(node: &Node) -> bool {
    node.scalar().is_some_and(|scalar| scalar.text.eq_ignore_ascii_case("true"))
}

/// Reads `health` of the component.
pub(super) fn read(component: &Fields<'_>, listens: bool, report: &mut Report<'_>) -> HealthCheck {
    let fields = component.child("health");
    let given: Vec<&str> = WAYS
        .into_iter()
        .filter(|way| match fields.node(way) {
            Some(node) => *way != "tcp" || is_true(node),
            None => false,
        })
        .collect();
    if let [first, second, ..] = given.as_slice()
        && let Some(span) = fields.key_span(second)
    {
        report.error("several-checks", span, format!("health is told by `{first}` already")).help(
            format!(
                "remove `{first}` or `{second}`; a second URL path for traffic alone is `ready`"
            ),
        );
    }
    let http = |path: &str| Probe::Http { path: path.to_owned() };
    let live = match given.first() {
        Some(&"path") => http(fields.text("path").unwrap_or("/")),
        Some(&"tcp") => Probe::Tcp,
        Some(&"command") => {
            Probe::Command { run: fields.text("command").unwrap_or_default().to_owned() }
        }
        Some(_) => Probe::Running { minimum: fields.value("running") },
        None => match component.text("health") {
            Some(path) => http(path),
            None if listens => Probe::Tcp,
            None => Probe::Running { minimum: fields.value("running") },
        },
    };
    let check = HealthCheck {
        live,
        ready: fields.text("ready").map(http),
        interval: fields.value("interval"),
        timeout: fields.value("timeout"),
        retries: fields.value("retries"),
        start_period: fields.value("start_period"),
        deadline: fields.value("deadline"),
    };
    check_deadline(&check, &fields, report);
    check
}

/// An instance that cannot be ready before its deadline fails every deployment.
fn check_deadline(check: &HealthCheck, fields: &Fields<'_>, report: &mut Report<'_>) {
    let minimum = match &check.live {
        Probe::Running { minimum } => *minimum,
        Probe::Http { .. } | Probe::Tcp | Probe::Command { .. } => Duration::ZERO,
    };
    for (key, needed) in [("running", minimum), ("start_period", check.start_period)] {
        let places = [fields.span("deadline"), fields.span(key)];
        let Some(span) = places.into_iter().flatten().next() else {
            continue;
        };
        let faulty = places.into_iter().flatten().any(|span| report.is_faulty(span));
        if needed >= check.deadline && !faulty {
            report
                .error(
                    "deadline-too-short",
                    span,
                    format!(
                        "the `deadline` is {}, and `{key}` alone takes {needed}: no instance could be ready in time",
                        check.deadline
                    ),
                )
                .help(format!("write a `deadline` well above {needed}"));
        }
    }
}
