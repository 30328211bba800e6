//! `tidegate demo`: a real project, a bad release, and the way back.
//!
//! It does what a user does: a repository, `tidegate up`, and three times `tidegate deploy`, while
//! visitors come all the time. Then it counts, and fails when anything is not as it should be.

mod place;
mod processes;
mod shop;
mod story;
mod tally;
mod traffic;
mod verdict;

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
    time::Instant,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{context::Context, exit::Exit, fault::Fault, style::Style};
use place::Place;

/// How the demo is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Leave everything running, and say how to look at it.
    #[arg(long)]
    keep: bool,
    /// Lines instead of a live view.
    #[arg(long)]
    plain: bool,
}

/// Runs the demo from the first commit to the last process.
pub(crate) async fn run(context: &Context, options: &Options) -> Result<Exit, Fault> {
    let style = if options.plain { Style::plain() } else { context.talk_style };
    for (tool, purpose) in [("git", "keep the shop's versions"), ("cargo", "build the shop")] {
        need(tool, purpose)?;
    }
    let start = Instant::now();
    let place = Place::new(options.plain)
        .map_err(|error| fault(format!("there is no place for the demo: {error}")))?;
    let told = tokio::select! {
        told = story::tell(&place, style, start) => told,
        name = interrupted() => {
            talk(&format!("\n{name}: clearing up …"));
            let told = cleared(place.close());
            return told.map(|()| Exit::Interrupted);
        }
    };
    let closed = if options.keep {
        leave(place, style);
        Ok(())
    } else {
        cleared(place.close())
    };
    let figures = match (told, closed) {
        (Ok(figures), closed) => closed.map(|()| figures)?,
        (Err(fault), closed) => {
            if let Err(fault) = closed {
                context.report(&fault);
            }
            return Err(fault);
        }
    };
    if context.json {
        context.print_json("demo", &figures);
    } else {
        context.print(format!("\n{}", verdict::table(&figures, story::BAD.name)));
    }
    let rest = if options.keep { "" } else { ", and nothing is left of it" };
    talk(&format!(
        "\n{} It took {:.0} s{rest}.",
        style.green("The demo did what it is there for."),
        start.elapsed().as_secs_f64(),
    ));
    Ok(Exit::Done)
}

fn leave(place: Place, style: Style) {
    talk(&format!("\n{}", style.bold("Everything is left as it is, for you to look at:")));
    for command in ["status production", "history production", "down"] {
        talk(&format!("  {}", place.typed(command)));
    }
    talk(&format!("  rm -r {}    # after `down`", place.root().display()));
    place.leave();
}

fn cleared(closed: Result<(), Vec<String>>) -> Result<(), Fault> {
    closed.map_err(|faults| fault("the demo did not clear up by itself").because(faults.join("\n")))
}

fn fault(what: impl Into<String>) -> Fault {
    Fault::new(Exit::Failed, "demo", what)
}

fn talk(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says at once when `tool` is missing.
fn need(tool: &str, purpose: &str) -> Result<(), Fault> {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(fault(format!("the demo needs `{tool}` to {purpose}"))
            .because(format!("`{tool} --version` failed: {status}"))),
        Err(error) => Err(fault(format!("the demo needs `{tool}` to {purpose}"))
            .because(format!("`{tool}` cannot be run: {error}"))
            .next(format!("install `{tool}`, and run `tidegate demo` again"))),
    }
}

/// Waits for a signal that asks the demo to end, and tells which.
async fn interrupted() -> &'static str {
    let wait = async |kind, name| match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
            name
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        name = wait(SignalKind::interrupt(), "interrupted") => name,
        name = wait(SignalKind::terminate(), "terminated") => name,
        name = wait(SignalKind::hangup(), "the terminal is gone") => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_told_by_its_name() {
        assert!(need("git", "keep the shop's versions").is_ok());
        let fault = need("no-such-tool", "build the shop").expect_err("there is none");
        assert_eq!(fault.what, "the demo needs `no-such-tool` to build the shop");
    }
}
