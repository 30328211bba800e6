//! A deployment under way, as a block that is drawn again and again.

use std::fmt::Write as _;

use tidegate_engine::{
    DeploymentView, EnvironmentView, RevisionView, RolloutView, StepState, StepView,
};
use tidegate_types::{ComponentName, DeploymentKind, Timestamp, Verdict};

use super::{event, table::cut, time};
use crate::style::Style;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// The deployment under way, or what serves when there is none.
pub(crate) fn render(
    view: &EnvironmentView,
    width: usize,
    now: Timestamp,
    style: Style,
) -> Vec<String> {
    let Some(deployment) = &view.deployment else {
        return super::status::render(view, width, now, style);
    };
    let mut lines = vec![header(view, deployment, now, style)];
    if deployment.rollouts.is_empty() && deployment.stage == "preparing" {
        let progress = deployment.progress.as_deref().unwrap_or("the release is looked up");
        lines.push(format!("  {} {progress}", spinner(now, style)));
    }
    for rollout in &deployment.rollouts {
        lines.extend(rollout_lines(view, rollout, now, style));
    }
    if !deployment.unchanged.is_empty() {
        let names: Vec<&str> = deployment.unchanged.iter().map(ComponentName::as_str).collect();
        lines.push(format!("  {} unchanged: {}", style.dim("·"), names.join(", ")));
    }
    if let Some(failure) = &deployment.failure {
        lines.push(format!("  {} goes back: {}", style.red("✖"), failure.what));
        lines.extend(failure.evidence.iter().map(|evidence| format!("      {evidence}")));
    }
    lines.extend(waiting(deployment, now, style));
    for trouble in &view.trouble {
        lines.push(format!("  {} {trouble}", style.red("✖")));
    }
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

/// On what a deployment waits, until when, and what ends it.
pub(crate) fn waiting(deployment: &DeploymentView, now: Timestamp, style: Style) -> Vec<String> {
    let Some(waiting) = &deployment.waiting else { return Vec::new() };
    let until = waiting
        .until
        .map(|until| format!(", at the latest {}", time::until(until, now)))
        .unwrap_or_default();
    vec![
        format!("  {} {}{until}", style.dim("waits for"), waiting.on),
        format!("  {} {}", style.dim("ended by "), waiting.ends),
    ]
}

fn spinner(now: Timestamp, style: Style) -> String {
    let tick = usize::try_from(now.as_millis().max(0) / 100).unwrap_or(0);
    style.cyan(SPINNER[tick % SPINNER.len()])
}

fn header(
    view: &EnvironmentView,
    deployment: &DeploymentView,
    now: Timestamp,
    style: Style,
) -> String {
    let scope = &view.scope;
    let what = match (&deployment.version, &deployment.release) {
        (Some(version), Some(release)) => format!("{version} ({release})"),
        (Some(version), None) => version.clone(),
        (None, _) => String::new(),
    };
    let kind = match deployment.kind {
        DeploymentKind::Deploy => "deployment",
        DeploymentKind::Rollback => "rollback",
    };
    let stage = match deployment.stage.as_str() {
        "paused" | "going back" => style.yellow(&deployment.stage),
        stage => stage.to_owned(),
    };
    format!(
        "{} → {}  {kind} {}  {}  by {}  {stage}  {}",
        style.bold(scope.project.as_str()),
        style.bold(scope.environment.as_str()),
        deployment.id,
        style.bold(&what),
        deployment.actor,
        time::clock(now.since(deployment.requested_at)),
    )
}

fn rollout_lines(
    view: &EnvironmentView,
    rollout: &RolloutView,
    now: Timestamp,
    style: Style,
) -> Vec<String> {
    let over = rollout.steps.iter().all(|step| step.state == StepState::Done);
    let begun = rollout.steps.iter().any(|step| step.state != StepState::Ahead);
    let from = rollout.stable.as_ref().map_or("nothing", |stable| stable.as_str());
    let to = rollout.candidate.as_ref().map_or("nothing", |candidate| candidate.as_str());
    let glyph = if over { style.green("✔") } else { " ".to_owned() };
    let mut lines =
        vec![format!("{glyph} {}  {from} → {to}", style.bold(rollout.component.as_str()))];
    if over {
        return lines;
    }
    lines.extend(rollout.steps.iter().map(|step| step_line(step, now, style)));
    if begun {
        let revisions = view
            .components
            .iter()
            .filter(|component| component.name == rollout.component)
            .flat_map(|component| &component.revisions);
        for revision in revisions {
            let role = if rollout.candidate.as_ref() == Some(&revision.id) {
                "candidate"
            } else if rollout.stable.as_ref() == Some(&revision.id) {
                "stable"
            } else {
                continue;
            };
            lines.push(traffic_line(role, revision, style));
        }
        for guard in &rollout.guards {
            let (glyph, evidence) = match &guard.reading {
                None => (style.dim("·"), ""),
                Some(reading) => (
                    match reading.verdict {
                        Verdict::Pass => style.green("✔"),
                        Verdict::Fail => style.red("✖"),
                        Verdict::InsufficientEvidence => style.yellow("?"),
                    },
                    reading.evidence.as_str(),
                ),
            };
            lines.push(format!("    guard {glyph} {}  {}", guard.guard, style.dim(evidence)));
        }
    }
    lines
}

fn step_line(view: &StepView, now: Timestamp, style: Style) -> String {
    let glyph = match view.state {
        StepState::Done => style.green("✔"),
        StepState::Running => spinner(now, style),
        StepState::Ahead => style.dim("·"),
        StepState::Dropped => style.dim("✖"),
    };
    format!("    {glyph} {}", event::step(view.step))
}

fn traffic_line(role: &str, revision: &RevisionView, style: Style) -> String {
    let share =
        revision.share.map_or_else(|| "no traffic".to_owned(), |share| format!("{share:>5}"));
    let ready = if revision.wanted == 0 {
        String::new()
    } else {
        format!("  {}/{} ready", revision.ready, revision.wanted)
    };
    let mut line = format!("    {role:<9}  {share}{ready}");
    if let Some(traffic) = &revision.traffic {
        let _ = write!(line, "  {} requests", traffic.requests);
        if let Some(rate) = traffic.error_rate {
            let text = format!("{:.1} % errors", rate * 100.0);
            line.push_str("  ");
            line.push_str(&if rate > 0.0 { style.yellow(&text) } else { text });
        }
        if let Some(p95) = traffic.p95 {
            let _ = write!(line, "  p95 {}", latency(p95));
        }
    }
    if revision.exits > 0 {
        line.push_str(&style.yellow(&format!("  {} exits", revision.exits)));
    }
    line
}

fn latency(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros}µs"),
        1_000..10_000 => format!("{}.{}ms", micros / 1_000, micros % 1_000 / 100),
        10_000..10_000_000 => format!("{}ms", micros / 1_000),
        _ => format!("{}s", micros / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::Duration;

    use super::{
        super::{sample, table::width},
        *,
    };

    #[test]
    fn a_canary_shows_its_steps_its_guards_and_what_it_waits_for() {
        let view = sample::view();
        let lines = render(&view, 100, view.at, Style::plain());
        insta::assert_snapshot!(lines.join("\n"), @r"
        shop → production  deployment 12  v2 (r-v2)  by ana  rolling  00:10
          api  api@9 → api@12
            ✔ 2 instances ready
            ✔ 10% of the traffic
            ⠋ watch for 10s
            · 100% of the traffic
            candidate    10%  2/2 ready  120 requests  2.5 % errors  p95 12ms
            stable       90%  2/2 ready  1080 requests  0.0 % errors  p95 12ms
            guard ✔ error_rate > 5%  2.5 % of 120 requests failed
            guard ? p95 > 1s  120 of 200 requests
          · unchanged: web
          waits for api: the bake, at the latest in 7s
          ended by  the time, a breached guard (goes back), or `tidegate skip production`
        ");
    }

    #[test]
    fn the_countdown_and_the_spinner_go_on_between_two_looks() {
        let view = sample::view();
        let later = view.at.after(Duration::from_millis(3_100));
        let text = render(&view, 100, later, Style::plain()).join("\n");
        assert!(text.contains("at the latest in 4s") && text.contains("⠙ watch for 10s"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let view = sample::view();
        for most in [10, 20, 40, 80] {
            let lines = render(&view, most, view.at, Style::plain());
            assert!(lines.iter().all(|line| width(line) <= most), "{lines:#?}");
        }
    }
}
