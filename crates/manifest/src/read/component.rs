//! Components.

use std::collections::BTreeMap;

use tidegate_types::{
    ComponentName, Handling, LogLimits, Protocol, RouteRule, Signal, Sticky, StopPolicy,
};

use super::{
    concurrency,
    fields::Fields,
    health,
    strategy::{self, StrategyDraft},
};
use crate::{
    model::{Build, Component, EnvironmentVariable, Workload},
    problem::{Report, Span},
    scalar, variable,
    yaml::{Entry, Node, Value},
};

const PATH: &str = "components.*";

/// A component and where its parts were written.
pub(super) struct ComponentDraft<'a> {
    pub(super) component: Component,
    pub(super) name_span: Span,
    pub(super) span: Span,
    pub(super) depends_on: Vec<(&'a str, Span)>,
    pub(super) replicas_span: Option<Span>,
    pub(super) port_span: Option<Span>,
    pub(super) route_span: Option<Span>,
    /// Its own strategy, also when that is the default for a fixed port.
    pub(super) strategy: Option<StrategyDraft>,
    /// Where each variable is declared.
    pub(super) variables: BTreeMap<&'a str, Span>,
}

impl ComponentDraft<'_> {
    pub(super) fn fixed_port(&self) -> Option<u16> {
        match self.component.workload {
            Workload::Process { fixed_port, .. } => fixed_port,
            Workload::Static { .. } => None,
        }
    }

    pub(super) fn is_static(&self) -> bool {
        matches!(self.component.workload, Workload::Static { .. })
    }
}

/// What was said about the port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    NotGiven,
    Auto,
    None,
    Fixed(u16),
}

pub(super) fn read_all<'a>(
    fields: &Fields<'a>,
    report: &mut Report<'_>,
) -> Vec<ComponentDraft<'a>> {
    let entries: Vec<&Entry> = fields.named("components").collect();
    let root = default_root(&entries);
    entries
        .into_iter()
        .filter_map(|entry| read(entry, root == Some(entry.key.as_str()), report))
        .collect()
}

fn port(fields: &Fields<'_>) -> Port {
    match fields.text("port") {
        None => Port::NotGiven,
        Some("auto") => Port::Auto,
        Some("none") => Port::None,
        Some(number) => number.parse().map_or(Port::NotGiven, Port::Fixed),
    }
}

fn is_static(fields: &Fields<'_>) -> bool {
    match fields.node("static").map(|node| &node.value) {
        Some(Value::Scalar(_)) => fields.value("static"),
        Some(Value::Mapping(_)) => true,
        _ => false,
    }
}

/// The component that takes `/` without saying so. Nothing that takes no requests today may begin
/// to do so because another component changed, hence a port alone is only enough when there is
/// nothing else at all that could be meant.
fn default_root<'a>(entries: &[&'a Entry]) -> Option<&'a str> {
    let fields: Vec<(&str, Fields<'_>)> = entries
        .iter()
        .map(|entry| (entry.key.as_str(), Fields::new(Some(&entry.value), PATH)))
        .collect();
    let all = || fields.iter().map(|(_, fields)| fields);
    let routed: Vec<&Fields<'_>> = all()
        .filter(|fields| fields.node("route").is_some() && fields.text("route") != Some("none"))
        .collect();
    let free = |fields: &Fields<'_>| fields.node("route").is_none();
    let sites: Vec<&str> = fields
        .iter()
        .filter(|(_, fields)| is_static(fields) && free(fields))
        .map(|(name, _)| *name)
        .collect();
    let any_site = all().any(is_static);
    let root_taken = routed.iter().any(|fields| {
        let route = fields.child("route");
        fields.text("route") == Some("/")
            || (fields.text("route").is_none()
                && route.node("host").is_none()
                && route.value::<String>("path") == "/")
    });
    if let [site] = sites.as_slice() {
        return (!root_taken).then_some(*site);
    }
    if any_site || !routed.is_empty() {
        return None;
    }
    let listening: Vec<&str> = fields
        .iter()
        .filter(|(_, fields)| matches!(port(fields), Port::Auto | Port::Fixed(_)) && free(fields))
        .map(|(name, _)| *name)
        .collect();
    match listening.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

fn read<'a>(
    entry: &'a Entry,
    takes_root: bool,
    report: &mut Report<'_>,
) -> Option<ComponentDraft<'a>> {
    let name: ComponentName = entry.key.parse().ok()?;
    let fields = Fields::new(Some(&entry.value), PATH);
    let is_static = is_static(&fields);
    let route = match route(&fields, is_static, report) {
        None if takes_root => Some(RouteRule {
            handling: handling(&fields.child("route"), is_static),
            ..RouteRule::everything()
        }),
        route => route,
    };
    what_runs(entry, &fields, is_static, report);
    let path = scalar::tidy_path(&fields.value::<String>("path"));
    let workload = if is_static {
        not_for_static(entry, &fields, report);
        if route.is_none() {
            report
                .error(
                    "static-without-route",
                    entry.key_span,
                    format!("the static site `{name}` has no route, so nobody could see it"),
                )
                .help("say which requests it answers, for example `route: /docs`");
        }
        let site = fields.child("static");
        Workload::Static {
            single_page: site.value("single_page"),
            keep_assets: site.value("keep_assets"),
        }
    } else {
        process(&fields, route.is_some(), report)
    };
    let own_strategy = match (fields.node("strategy"), port(&fields)) {
        (Some(node), _) => Some(strategy::read(Some(node), report)),
        (None, Port::Fixed(_)) => Some(strategy::recreate_by_default()),
        (None, _) => None,
    };
    let depends_on = depends_on(&fields);
    Some(ComponentDraft {
        name_span: entry.key_span,
        span: Span {
            start: entry.key_span.start,
            end: entry.value.span.end.max(entry.key_span.end),
        },
        replicas_span: fields.span("replicas"),
        port_span: fields.span("port"),
        route_span: fields.span("route"),
        variables: fields
            .named("env")
            .map(|variable| (variable.key.as_str(), variable.key_span))
            .collect(),
        component: Component {
            build: build(&fields, &path),
            replicas: if is_static { 0 } else { fields.value("replicas") },
            depends_on: depends_on.iter().filter_map(|(name, _)| name.parse().ok()).collect(),
            environment: variables(&fields, &workload, report),
            strategy: own_strategy.as_ref().map(|draft| draft.strategy.clone()),
            name,
            path,
            workload,
            route,
        },
        depends_on,
        strategy: own_strategy,
    })
}

fn what_runs(entry: &Entry, fields: &Fields<'_>, is_static: bool, report: &mut Report<'_>) {
    let name = &entry.key;
    match (fields.key_span("command"), is_static) {
        (Some(span), true) => {
            report
                .error(
                    "command-and-static",
                    span,
                    format!("component `{name}` has both `command` and `static`"),
                )
                .help("remove `command` if the proxy shall serve files, or `static` if a process answers");
        }
        (None, false) => {
            let static_is_faulty = fields.node("static").is_some_and(|node| !is_false(node));
            if entry.value.entries().is_some() && !static_is_faulty {
                report
                    .error(
                        "nothing-to-run",
                        entry.key_span,
                        format!("component `{name}` has neither `command` nor `static`"),
                    )
                    .help("say what runs, as in `command: ./api --port $PORT`, or write `static: true` for files that the proxy serves");
            }
        }
        (Some(_), false) | (None, true) => {}
    }
}

fn is_false(node: &Node) -> bool {
    node.scalar().is_some_and(|scalar| scalar.text.eq_ignore_ascii_case("false"))
}

fn not_for_static(entry: &Entry, fields: &Fields<'_>, report: &mut Report<'_>) {
    let own =
        ["port", "replicas", "health", "stop", "log", "env"].map(|key| (key, fields.key_span(key)));
    let of_route = ["mirror", "concurrency", "slow_start"]
        .map(|key| (key, fields.child("route").key_span(key)));
    for (key, span) in own.into_iter().chain(of_route) {
        if let Some(span) = span {
            report
                .error(
                    "not-for-static",
                    span,
                    format!(
                        "`{key}` has no effect in `{}`: a static site runs no process",
                        entry.key
                    ),
                )
                .help(format!("remove `{key}`"));
        }
    }
}

fn build(fields: &Fields<'_>, path: &str) -> Option<Build> {
    fields.node("build")?;
    let build = fields.child("build");
    Some(Build {
        run: build.value("run"),
        directory: build.text("directory").map_or_else(|| path.to_owned(), scalar::tidy_path),
        output: scalar::tidy_path(&build.value::<String>("output")),
        timeout: build.value("timeout"),
    })
}

fn depends_on<'a>(fields: &Fields<'a>) -> Vec<(&'a str, Span)> {
    fields
        .items("depends_on")
        .unwrap_or_default()
        .iter()
        .filter_map(|item| Some((item.scalar()?.text.as_str(), item.span)))
        .collect()
}

fn route(fields: &Fields<'_>, is_static: bool, report: &mut Report<'_>) -> Option<RouteRule> {
    let node = fields.node("route")?;
    let route = fields.child("route");
    let short = fields.text("route");
    if short == Some("none") || (short.is_none() && node.entries().is_none()) {
        return None;
    }
    let path = short.map_or_else(|| route.value("path"), str::to_owned);
    let span = route.span("path").unwrap_or(node.span);
    let tidy = format!(
        "/{}",
        path.split(['?', '#'])
            .next()
            .unwrap_or_default()
            .split('/')
            .filter(|part| !matches!(*part, "" | "." | ".."))
            .collect::<Vec<_>>()
            .join("/")
    );
    if tidy != path && !report.is_faulty(span) {
        report
            .error("bad-url-path", span, format!("`{path}` is not how a route is written"))
            .help(format!("write `{tidy}`; it stands for itself and all that is below it"));
    }
    Some(RouteRule {
        host: route.text("host").map(str::to_owned),
        path,
        strip_prefix: route.value("strip_prefix"),
        handling: handling(&route, is_static),
    })
}

/// A page of one release next to the assets of another is the classic failure of a static site that
/// is divided by request, so that its visitors are kept together unless somebody says otherwise.
fn handling(route: &Fields<'_>, is_static: bool) -> Handling {
    let header = route.child("sticky").text("header").map(str::to_ascii_lowercase);
    let sticky = match (route.text("sticky"), header) {
        (_, Some(header)) => Some(Sticky::Header(header)),
        (Some("none"), None) => None,
        (Some(_), None) => Some(Sticky::Cookie),
        (None, None) => is_static.then_some(Sticky::Cookie),
    };
    let protocol = match route.text("protocol") {
        Some("h2c") => Protocol::H2c,
        _ => Protocol::Http1,
    };
    Handling {
        sticky,
        mirror: route.value("mirror"),
        concurrency: concurrency::read(route),
        slow_start: route.given("slow_start"),
        protocol,
    }
}

fn process(fields: &Fields<'_>, routed: bool, report: &mut Report<'_>) -> Workload {
    let port = port(fields);
    let asked = health::asks_port(fields.node("health"));
    let listens = match port {
        Port::None => false,
        Port::Auto | Port::Fixed(_) => true,
        Port::NotGiven => routed || asked,
    };
    if port == Port::None
        && let Some(span) = fields.span("port")
    {
        let reason = match (routed, asked) {
            (true, _) => Some("its `route` needs one"),
            (false, true) => Some("its health check asks one"),
            (false, false) => None,
        };
        if let Some(reason) = reason {
            report
                .error(
                    "port-needed",
                    span,
                    format!("the component listens on no port, but {reason}"),
                )
                .help("write `port: auto`, or remove what needs the port");
        }
    }
    let stop = fields.child("stop");
    let log = fields.child("log");
    Workload::Process {
        command: fields.value("command"),
        fixed_port: match port {
            Port::Fixed(number) => Some(number),
            Port::NotGiven | Port::Auto | Port::None => None,
        },
        listens,
        health: health::read(fields, listens, report),
        stop: StopPolicy {
            drain: stop.value("drain"),
            signal: stop
                .given("signal")
                .or_else(|| stop.default("signal"))
                .unwrap_or(Signal::Sigterm),
            timeout: stop.value("timeout"),
        },
        log: LogLimits {
            file_bytes: log
                .text("file_size")
                .and_then(scalar::size)
                .or_else(|| scalar::size(&log.default::<String>("file_size")?))
                .unwrap_or_default(),
            files: log.value("files"),
        },
    }
}

fn variables(
    fields: &Fields<'_>,
    workload: &Workload,
    report: &mut Report<'_>,
) -> BTreeMap<String, EnvironmentVariable> {
    let listens = matches!(workload, Workload::Process { listens: true, .. });
    let mut variables = BTreeMap::new();
    for entry in fields.named("env") {
        if entry.key == "PORT" && listens {
            report
                .error(
                    "reserved-name",
                    entry.key_span,
                    "`PORT` is set by Tidegate in a component that listens",
                )
                .help("for a port of your own choice write it as the component's `port`");
        }
        let short = entry.value.scalar().map(|scalar| scalar.text.clone());
        let declared = Fields::new(Some(&entry.value), "components.*.env.*");
        let kind: String = declared.value("type");
        let kind = variable::parse_type(&kind).unwrap_or(crate::model::VariableType::Text);
        let default = short.or_else(|| declared.given("default"));
        if let Some(value) = &default
            && !kind.takes(value)
            && let Some(span) = declared.span("default")
        {
            report
                .error(
                    "wrong-variable-type",
                    span,
                    format!("the default of `{}` is not {}", entry.key, kind.noun()),
                )
                .help("change the default or the `type`");
        }
        variables.insert(
            entry.key.clone(),
            EnvironmentVariable {
                kind,
                required: declared.value("required"),
                default,
                description: declared.given("description"),
            },
        );
    }
    variables
}
