//! An environment as `tidegate status` shows it.

use tidegate_engine::{ComponentView, EnvironmentView, RevisionView};
use tidegate_types::{Share, Timestamp};

use super::{
    event,
    table::{cut, table},
    time,
};
use crate::style::Style;

/// So many of the last lines of what failed are shown; `tidegate logs` shows the rest.
const LOG_LINES: usize = 3;

/// What serves now, as sentences.
pub(crate) fn serves(view: &EnvironmentView) -> Vec<String> {
    let sentences: Vec<String> = view.components.iter().filter_map(serves_one).collect();
    if sentences.is_empty() {
        return vec![format!("nothing serves in {}", view.scope)];
    }
    sentences
}

fn serves_one(component: &ComponentView) -> Option<String> {
    let parts: Vec<String> = component
        .revisions
        .iter()
        .filter(|revision| match revision.share {
            Some(share) => share > Share::NONE,
            None => revision.role != "warm",
        })
        .map(|revision| {
            let share = match revision.share {
                Some(share) => format!("has {share} of the traffic"),
                None => "runs".to_owned(),
            };
            format!("{} ({}) {share}{}", revision.version, revision.id, ready(revision))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("{}: {}", component.name, parts.join("; ")))
}

fn ready(revision: &RevisionView) -> String {
    if revision.wanted == 0 {
        String::new()
    } else {
        format!(", {} of {} ready", revision.ready, revision.wanted)
    }
}

/// The whole environment.
pub(crate) fn render(
    view: &EnvironmentView,
    width: usize,
    now: Timestamp,
    style: Style,
) -> Vec<String> {
    let place = view.url().unwrap_or_else(|| "not reachable yet".to_owned());
    let mut lines =
        vec![format!("{}  {}", style.bold(&view.scope.to_string()), style.cyan(&place))];
    if !view.confirmed {
        lines.push(format!(
            "  {} the proxy has not confirmed the latest routing",
            style.yellow("!")
        ));
    }
    if let Some(maintenance) = &view.maintenance {
        let message = maintenance.message.as_deref().map(|text| format!(": {text}"));
        lines.push(format!(
            "  {} in maintenance: requests are answered with 503{}",
            style.yellow("!"),
            message.unwrap_or_default()
        ));
    }
    let mut cells = Vec::new();
    for component in &view.components {
        for (index, revision) in component.revisions.iter().enumerate() {
            let name = if index == 0 { component.name.as_str() } else { "" };
            cells.push(cells_of(name, revision, now, style));
        }
    }
    if cells.is_empty() {
        lines.push("  nothing runs".to_owned());
    } else {
        let heads =
            ["", "COMPONENT", "REVISION", "VERSION", "ROLE", "TRAFFIC", "READY", "EXITS", ""];
        cells.insert(0, heads.map(|head| style.dim(head)).to_vec());
        lines.extend(table(&cells));
    }
    if let Some(deployment) = &view.deployment {
        let version = deployment.version.as_deref().unwrap_or("a release");
        lines.push(format!(
            "  {} deployment {} of {} brings {version}: {}, since {}",
            style.cyan("⠋"),
            deployment.id,
            deployment.actor,
            deployment.stage,
            time::length(now.since(deployment.requested_at)),
        ));
        if let Some(progress) = &deployment.progress {
            lines.push(format!("    {progress}"));
        }
        lines.extend(super::deployment::waiting(deployment, now, style));
    } else if let Some(latest) = &view.latest {
        let version =
            latest.version.as_ref().map(|version| format!(" of {version}")).unwrap_or_default();
        let word = event::outcome(latest.outcome);
        lines.push(format!(
            "  latest: deployment {}{version} {word}, {}",
            latest.deployment,
            time::ago(latest.at, now),
        ));
        if let Some(failure) = &latest.failure {
            lines.push(format!("    {} {}", style.red("✖"), failure.what));
            lines.extend(failure.evidence.iter().map(|evidence| format!("      {evidence}")));
            let last = failure.log.len().saturating_sub(LOG_LINES);
            lines.extend(failure.log[last..].iter().map(|line| format!("      log   {line}")));
            if let Some(component) = &failure.component {
                let environment = &view.scope.environment;
                lines.push(format!("      next  tidegate logs {component} -e {environment}"));
            }
        }
    }
    for trouble in &view.trouble {
        lines.push(format!("  {} {trouble}", style.red("✖")));
    }
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

fn cells_of(name: &str, revision: &RevisionView, now: Timestamp, style: Style) -> Vec<String> {
    let (glyph, ready) = if revision.wanted == 0 {
        (style.green("✔"), "files".to_owned())
    } else {
        let glyph = if revision.ready >= revision.wanted {
            style.green("✔")
        } else if revision.failure.is_some() {
            style.red("✖")
        } else {
            style.yellow("!")
        };
        (glyph, format!("{}/{}", revision.ready, revision.wanted))
    };
    let mut remarks = Vec::new();
    if let Some(until) = revision.warm_until {
        remarks.push(format!("stopped {}", time::until(until, now)));
    }
    if let Some(failure) = &revision.failure {
        remarks.push(format!("{}: {}", failure.instance, failure.what));
    }
    vec![
        format!(" {glyph}"),
        name.to_owned(),
        revision.id.to_string(),
        revision.version.clone(),
        revision.role.clone(),
        revision.share.map_or_else(|| "-".to_owned(), |share| share.to_string()),
        ready,
        revision.exits.to_string(),
        remarks.join("; "),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn every_revision_has_a_line_and_what_waits_says_on_what() {
        let view = sample::view();
        let lines = render(&view, 100, view.at, Style::plain());
        insta::assert_snapshot!(lines.join("\n"), @r"
        shop/production  http://127.0.0.1:8080
            COMPONENT  REVISION  VERSION  ROLE       TRAFFIC  READY  EXITS
         ✔  api        api@12    v2       candidate  10%      2/2    0
         ✔             api@9     v1       stable     90%      2/2    0
         ✔  web        web@8     v0       warm       0%       files  0      stopped in 1h 00m
         ✔             web@9     v1       stable     100%     files  0
          ⠋ deployment 12 of ana brings v2: rolling, since 10s
          waits for api: the bake, at the latest in 7s
          ended by  the time, a breached guard (goes back), or `tidegate skip production`
        ");
    }

    #[test]
    fn an_encrypted_environment_is_reached_by_https() {
        let view = EnvironmentView { secure: true, ..sample::view() };
        let lines = render(&view, 100, view.at, Style::plain());
        assert!(lines[0].ends_with("  https://127.0.0.1:8080"), "{lines:?}");
    }

    #[test]
    fn maintenance_is_never_left_out() {
        let message = Some("back at noon".to_owned());
        let maintenance = Some(tidegate_types::Maintenance { message });
        let view = EnvironmentView { maintenance, ..sample::view() };
        let lines = render(&view, 100, view.at, Style::plain());
        assert_eq!(lines[1], "  ! in maintenance: requests are answered with 503: back at noon");
    }

    #[test]
    fn what_serves_leaves_out_what_is_only_warm() {
        insta::assert_snapshot!(serves(&sample::view()).join("\n"), @r"
        api: v2 (api@12) has 10% of the traffic, 2 of 2 ready; v1 (api@9) has 90% of the traffic, 2 of 2 ready
        web: v1 (web@9) has 100% of the traffic
        ");
    }

    #[test]
    fn trouble_and_an_unconfirmed_table_are_never_left_out() {
        let mut view = sample::view();
        view.deployment = None;
        view.confirmed = false;
        view.trouble = vec!["the proxy does not answer".to_owned()];
        let text = render(&view, 100, view.at, Style::plain()).join("\n");
        assert!(text.contains("✖ the proxy does not answer"), "{text}");
        assert!(text.contains("not confirmed"), "{text}");
    }
}
