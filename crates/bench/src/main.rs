//! Measures the figures that the project promises and prints them as one table, with the machine's
//! load beside each: those of the control plane, or with the word `proxy` those of the data plane.
//!
//! It runs the real binary: a control plane, a proxy and instances in a temporary home. Nothing here
//! is a test: a figure that is not reached is printed like any other, and only what did not work at
//! all makes it exit with 1. `docs/figures.md` says what each figure means.

mod clock;
mod data_plane;
mod deploying;
mod figure;
mod going_back;
mod journal;
mod memory;
mod place;
mod project;
mod starting;
mod statistics;
mod table;
mod traffic;

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{figure::Figures, place::Place, project::Project};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("the runtime cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (measured, table) = match arguments.split_first() {
        None => {
            let mut figures = Figures::default();
            (runtime.block_on(until_interrupted(measure(&mut figures))), figures.table())
        }
        Some((word, parts)) if word == "proxy" => {
            let mut figures = data_plane::Figures::default();
            let measuring = data_plane::measure(parts, &mut figures);
            (runtime.block_on(until_interrupted(measuring)), figures.table())
        }
        Some((word, rest)) if word == data_plane::constant_rate::WORD => {
            said(runtime.block_on(data_plane::constant_rate::client(rest)))
        }
        Some((word, rest)) if word == data_plane::idle::WORD => {
            said(runtime.block_on(data_plane::idle::client(rest)))
        }
        Some((word, _)) => (Err(format!("`{word}` cannot be measured").into()), String::new()),
    };
    // What was measured before something failed is worth reading, too.
    let printed = io::stdout().lock().write_all(table.as_bytes());
    match measured.and(printed.map_err(Into::into)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What one of our own clients has to say.
fn said(outcome: Result<String, Failure>) -> (Result<(), Failure>, String) {
    match outcome {
        Ok(text) => (Ok(()), text),
        Err(error) => (Err(error), String::new()),
    }
}

/// Being interrupted clears up like everything else: what is dropped ends what it started.
async fn until_interrupted(
    measuring: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = measuring => measured,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}

async fn measure(figures: &mut Figures) -> Result<(), Failure> {
    let mut place = Place::new()?;
    say("journal: transitions of 1, 16 and 64 deployments at once");
    journal::measure(place.root(), figures).await?;

    let project = Project::create(&place)?;
    place.start().await?;
    say("memory: an idle control plane and its proxy after one deployment");
    project.deploy_first(&place.client()).await?;
    memory::measure(&place, figures).await?;

    say("deploying: 15 deployments of two commits in turn");
    deploying::measure(&place, &project, figures).await?;

    say("going back: 15 aborted canaries under traffic");
    going_back::measure(&place, &project, figures).await?;

    say("start: 10,000 deployments of history, then 10 starts of the control plane");
    starting::measure(&mut place, figures).await?;
    memory::measure_later(&place, figures).await?;
    let elsewhere = "see the timings that .ci/run prints";
    figures.refer("a clean debug build plus tests on 2 cores", "≤ 15 min", elsewhere);
    place.close()
}

/// Progress, on stderr.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
