//! `tidegate logs`.

use std::{collections::BTreeMap, time::Duration};

use tidegate_server::client::{Client, Wanted};
use tidegate_types::{InstanceId, LogLine, Scope, Timestamp};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::{arguments::Logs, context::Context, exit::Exit, fault::Fault, project, style::Style};

/// Time between two looks for new lines.
const PERIOD: Duration = Duration::from_millis(400);
/// Lines of each instance that are asked for at each look.
const AT_ONCE: usize = 500;
/// Asked for when so many were not enough.
const AT_MOST: usize = 10_000;

pub(crate) async fn run(context: &Context, arguments: &Logs) -> Result<Exit, Fault> {
    let scope = project::scope(context, arguments.environment.as_deref()).await?;
    let client = context.client();
    let wanted = Wanted {
        component: arguments.component.as_deref(),
        release: arguments.release.as_deref(),
        lines: arguments.lines,
    };
    let mut lines = client.logs(&scope, &wanted).await?;
    lines.sort_by_key(|line| line.at);
    if context.json && !arguments.follow {
        context.print_json("lines", &lines);
        return Ok(Exit::Done);
    }
    if lines.is_empty() && !arguments.follow {
        context.talk("no output yet");
    }
    print(context, &lines, arguments.follow);
    if !arguments.follow {
        return Ok(Exit::Done);
    }
    let mut seen = Seen::default();
    seen.fresh(lines);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| {
        Fault::new(Exit::Failed, "signal", format!("Ctrl-C cannot be heard: {error}"))
    })?;
    loop {
        tokio::select! {
            () = sleep(PERIOD) => {}
            _ = interrupt.recv() => return Ok(Exit::Interrupted),
        }
        print(context, &next(&client, &scope, &wanted, &mut seen).await?, true);
    }
}

async fn next(
    client: &Client,
    scope: &Scope,
    wanted: &Wanted<'_>,
    seen: &mut Seen,
) -> Result<Vec<LogLine>, Fault> {
    let lines = client.logs(scope, &Wanted { lines: AT_ONCE, ..*wanted }).await?;
    let lines = if seen.misses_some(&lines) {
        client.logs(scope, &Wanted { lines: AT_MOST, ..*wanted }).await?
    } else {
        lines
    };
    let mut fresh = seen.fresh(lines);
    fresh.sort_by_key(|line| line.at);
    Ok(fresh)
}

/// What was printed of each instance: the time of its last line, and how many lines have that time.
#[derive(Default)]
struct Seen(BTreeMap<InstanceId, (Timestamp, usize)>);

impl Seen {
    /// Whether lines between the last one printed and the first of these were left out.
    fn misses_some(&self, lines: &[LogLine]) -> bool {
        self.0.iter().any(|(instance, (at, _))| {
            let mut of_instance = lines.iter().filter(|line| &line.instance == instance);
            of_instance.next().is_some_and(|first| first.at > *at)
                && of_instance.count() + 1 >= AT_ONCE
        })
    }

    /// The lines that were not printed yet, which then are.
    fn fresh(&mut self, lines: Vec<LogLine>) -> Vec<LogLine> {
        let before = self.0.clone();
        let mut skipped: BTreeMap<InstanceId, usize> = BTreeMap::new();
        let mut fresh = Vec::new();
        for line in lines {
            if let Some((at, count)) = before.get(&line.instance) {
                if line.at < *at {
                    continue;
                }
                let skipped = skipped.entry(line.instance.clone()).or_default();
                if line.at == *at && *skipped < *count {
                    *skipped += 1;
                    continue;
                }
            }
            let last = self.0.entry(line.instance.clone()).or_insert((line.at, 0));
            if last.0 == line.at {
                last.1 += 1;
            } else {
                *last = (line.at, 1);
            }
            fresh.push(line);
        }
        fresh
    }
}

fn print(context: &Context, lines: &[LogLine], follow: bool) {
    let names = names(lines, follow);
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for (line, name) in lines.iter().zip(names) {
        if context.json {
            context.print(serde_json::to_string(line).unwrap_or_default());
        } else {
            let prefix = paint(context.style, &name, &format!("{name:<width$} |"));
            context.print(format!("{prefix} {}", line.text));
        }
    }
}

fn paint(style: Style, name: &str, text: &str) -> String {
    // Neighbours in number get different colours.
    match name.bytes().fold(0_u32, |sum, byte| sum + u32::from(byte)) % 3 {
        0 => style.cyan(text),
        1 => style.green(text),
        _ => style.yellow(text),
    }
}

/// How instances are called: `api.2`, and `api@3.2` where lines of several revisions are mixed or,
/// when they are followed, may come to be.
fn names(lines: &[LogLine], follow: bool) -> Vec<String> {
    let revision = |line: &LogLine| {
        let text = line.instance.as_str();
        text.rsplit_once('.').map_or(text, |(revision, _)| revision).to_owned()
    };
    let mut revisions: Vec<String> = lines.iter().map(revision).collect();
    revisions.sort();
    revisions.dedup();
    let component = |revision: &str| revision.split('@').next().unwrap_or_default().to_owned();
    let mixed = |line: &LogLine| {
        let name = component(line.instance.as_str());
        revisions.iter().filter(|revision| component(revision) == name).count() > 1
    };
    let name = |line: &LogLine| {
        if follow || mixed(line) { line.instance.to_string() } else { short(&line.instance) }
    };
    lines.iter().map(name).collect()
}

/// `api@3.2` is `api.2` to people.
fn short(instance: &InstanceId) -> String {
    let text = instance.as_str();
    match (text.split_once('@'), text.rsplit_once('.')) {
        (Some((component, _)), Some((_, number))) => format!("{component}.{number}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::ReleaseId;

    use super::*;

    fn line(instance: &str, at: i64, text: &str) -> LogLine {
        LogLine {
            instance: InstanceId::new(instance),
            release: ReleaseId::new("r-1"),
            at: Timestamp::from_millis(at),
            text: text.to_owned(),
        }
    }

    #[test]
    fn each_line_is_printed_once_also_when_two_have_the_same_time() {
        let mut seen = Seen::default();
        let all = [
            line("api@1.1", 1, "a"),
            line("api@1.1", 2, "b"),
            line("api@1.1", 2, "c"),
            line("api@1.2", 1, "d"),
            line("api@1.1", 2, "e"),
            line("api@1.1", 3, "f"),
        ];
        assert_eq!(seen.fresh(all[..2].to_vec()).len(), 2);
        let fresh = seen.fresh(all[..4].to_vec());
        assert_eq!(fresh.iter().map(|line| line.text.as_str()).collect::<String>(), "cd");
        let fresh = seen.fresh(all.to_vec());
        assert_eq!(fresh.iter().map(|line| line.text.as_str()).collect::<String>(), "ef");
        assert!(seen.fresh(all.to_vec()).is_empty());
    }

    #[test]
    fn lines_that_are_followed_name_the_revision() {
        let one = [line("api@3.2", 1, "a")];
        assert_eq!(names(&one, false), ["api.2"]);
        assert_eq!(names(&one, true), ["api@3.2"]);
        let two = [line("api@3.2", 1, "a"), line("api@4.1", 1, "b")];
        assert_eq!(names(&two, false), ["api@3.2", "api@4.1"]);
    }

    #[test]
    fn an_instance_is_named_as_people_name_it() {
        assert_eq!(short(&InstanceId::new("api@12.2")), "api.2");
    }
}
