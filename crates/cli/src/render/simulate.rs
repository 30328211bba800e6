//! A forecast as a table, and what would make it better.

use tidegate_sim::forecast::{Better, Fault, FaultForecast, Forecast, Hint};
use tidegate_types::{Duration, Scope};

use super::{
    number::{mean, percent},
    table::{table, width},
    time::length,
};
use crate::style::Style;

/// No line of a forecast is wider.
const WIDTH: usize = 80;

pub(crate) fn render(
    scope: &Scope,
    forecast: &Forecast,
    hints: &[Hint],
    style: Style,
) -> Vec<String> {
    let component = &forecast.component;
    let mut lines = vec![
        format!(
            "{}  the plan of tidegate.yaml, {} runs a fault",
            style.bold(&scope.to_string()),
            forecast.runs
        ),
        format!(
            "  {} to each component; when all is well {} fail and p95 is {}",
            forecast.rate,
            percent(forecast.errors),
            forecast.p95_ms
        ),
        format!(
            "  the fault is in the new version of {component}; looked at every {}",
            every(forecast)
        ),
        String::new(),
    ];
    let heads = ["FAULT", "BACK", "HELD", "DECIDED", "P95", "HARMED", "OF ALL", "TOOK", "THEN/H"];
    let mut cells = vec![heads.map(|head| style.dim(head)).to_vec()];
    cells.extend(forecast.faults.iter().map(|found| cells_of(found, style)));
    lines.extend(table(&cells));
    lines.push(String::new());
    let legend = [
        "BACK     share of the runs that went back; for healthy and incident-both wrongly",
        "HELD     share that waited for enough requests, and would go on to",
        "DECIDED  from the start of its rollout to the decision: median, then p95",
        "HARMED   requests failed, slowed or not answered meanwhile; mean of the runs",
        "THEN/H   the same in the hour after, where the new version stayed",
    ];
    lines.extend(legend.map(|line| style.dim(line)));
    lines.push(String::new());
    for hint in hints {
        lines.extend(paragraph(&style.cyan("hint"), &sentence(hint)));
    }
    if hints.is_empty() {
        lines.push(format!("{}    the plan is right about each of them", style.green("ok")));
    }
    for next in next(scope, forecast, hints) {
        lines.push(format!("{}  {next}", style.dim("next")));
    }
    lines
}

fn every(forecast: &Forecast) -> Duration {
    Duration::from_millis(forecast.look_ms)
}

fn cells_of(found: &FaultForecast, style: Style) -> Vec<String> {
    let nothing = || "-".to_owned();
    let time = |millis: u64| length(Duration::from_millis(millis));
    let went = percent(found.went_back);
    // What is right is green, what is mostly wrong is red.
    let right = if found.should_go_back { found.went_back } else { 1.0 - found.went_back };
    let went = match right {
        right if right >= 0.9 => style.green(&went),
        right if right >= 0.5 => style.yellow(&went),
        _ => style.red(&went),
    };
    let held = found.outcomes.held;
    // Whoever is hurt by an incident is not hurt by the new version.
    let is_counted = found.fault != Fault::IncidentBoth;
    let harmed = if is_counted { mean(found.during.harmed) } else { nothing() };
    vec![
        found.fault.to_string(),
        went,
        if held == 0 { nothing() } else { style.yellow(&percent(found.outcomes.share(held))) },
        found.decision_ms.map_or_else(nothing, |decision| time(decision.median)),
        found.decision_ms.map_or_else(nothing, |decision| time(decision.p95)),
        harmed.clone(),
        match harmed.as_str() {
            "-" | "0" => "-".to_owned(),
            _ => percent(found.during.share),
        },
        found.duration_ms.map_or_else(nothing, |duration| time(duration.median)),
        found.harmed_per_hour_after.map_or_else(nothing, mean),
    ]
}

fn sentence(hint: &Hint) -> String {
    let fault = hint.fault;
    let verb = if fault.is_bad() { "goes back" } else { "gets through" };
    let now = percent(hint.right);
    let Some(change) = &hint.change else {
        let why = hint.why.as_deref().unwrap_or("nothing that was tried helps");
        return format!("{fault} {verb} in {now} of the runs: {why}");
    };
    let then = percent(change.right);
    let gain = format!("{fault} {verb} in {then} instead of {now} with {}", change.what);
    let price = price(fault, change);
    match &hint.why {
        Some(why) => format!("{gain}{price}: {why}"),
        None => format!("{gain}{price}"),
    }
}

/// What a change costs the deployments of healthy versions.
fn price(fault: Fault, change: &Better) -> String {
    let time = |millis: u64| length(Duration::from_millis(millis));
    let duration = match (change.duration_before_ms, change.duration_after_ms) {
        (Some(before), Some(after)) if after > before => {
            format!("; a healthy deployment takes {} instead of {}", time(after), time(before))
        }
        (Some(_), Some(_)) => "; a healthy deployment takes no longer".to_owned(),
        (None, Some(after)) => format!("; a healthy deployment takes {}", time(after)),
        (_, None) => String::new(),
    };
    let [before, after] = [change.healthy_before, change.healthy_after].map(percent);
    if fault == Fault::Healthy || before == after {
        return duration;
    }
    format!("{duration}, and gets through in {after} instead of {before}")
}

fn next(scope: &Scope, forecast: &Forecast, hints: &[Hint]) -> Vec<String> {
    let environment = &scope.environment;
    if hints.iter().any(|hint| hint.change.is_some()) {
        return vec![
            "change tidegate.yaml and run it again; nothing has to be committed".to_owned(),
            "tidegate explain rollback.when".to_owned(),
        ];
    }
    vec![
        format!(
            "tidegate simulate {environment} --rate {}   with less traffic",
            slower(forecast.rate.per_second())
        ),
        format!("tidegate plan {environment}"),
    ]
}

/// A tenth of the rate, as users write it.
fn slower(per_second: f64) -> String {
    format!("{:.0}/m", (per_second * 6.0).max(1.0))
}

/// A word and a text beside it, in lines that are not too wide.
fn paragraph(word: &str, text: &str) -> Vec<String> {
    let indent = width(word) + 2;
    let mut lines: Vec<String> = Vec::new();
    let mut line = format!("{word}  ");
    for part in text.split(' ') {
        if width(&line) + width(part) > WIDTH && width(&line) > indent {
            lines.push(line.trim_end().to_owned());
            line = " ".repeat(indent);
        }
        line.push_str(part);
        line.push(' ');
    }
    lines.push(line.trim_end().to_owned());
    lines
}
