//! What a request costs.

use std::time::Duration;

use crate::{
    Failure,
    data_plane::{
        Field, Subject, cpu,
        figure::{Bounds, Figures},
        load::{Load, Protocol},
        rounds::{Rounds, shuffled},
    },
    say,
    statistics::Sorted,
};

/// Long enough that starting wrk is not a part of it, short enough that the machine stays the same.
const SPAN: Duration = Duration::from_secs(2);
/// Never more rounds than that.
const MOST: usize = 21;
/// By their places among the subjects.
const TIDEGATE: usize = 0;
const NGINX: usize = 1;

const SMALL: Bounds = Bounds { least: 1.05, aim: 0.80 };
const LARGE: Bounds = Bounds { least: 1.00, aim: 0.75 };

const MEMORY: Bounds = Bounds { least: 25.0, aim: 15.0 };

const COUNTING: Bounds = Bounds { least: 3.0, aim: 1.0 };

const TLS: Bounds = Bounds { least: 0.95, aim: 0.80 };
const HTTP2: Bounds = Bounds { least: 1.10, aim: 0.90 };

const LOADS: [(&str, Load, Bounds); 6] = [
    ("1 KB, 64 connections", load(Protocol::Http1, 64, "1k"), SMALL),
    ("1 KB, 256 connections", load(Protocol::Http1, 256, "1k"), SMALL),
    ("100 KB, 64 connections", load(Protocol::Http1, 64, "100k"), LARGE),
    ("100 KB, 256 connections", load(Protocol::Http1, 256, "100k"), LARGE),
    ("TLS 1.3, 1 KB, 64 connections", load(Protocol::Http1OverTls, 64, "1k"), TLS),
    ("HTTP/2, 1 KB, 16 connections", load(Protocol::Http2OverTls, 16, "1k"), HTTP2),
];

const fn load(by: Protocol, connections: u32, path: &'static str) -> Load {
    Load { by, connections, path }
}

pub(super) async fn measure(field: &Field, figures: &mut Figures) -> Result<(), Failure> {
    for (what, load, bounds) in LOADS {
        if !field.clients.can(&field.subjects, load.by) {
            say(&format!("SKIPPED: {what}: see above what is missing"));
            continue;
        }
        say(&format!("processor time: {what}"));
        let rounds = rounds(field, load).await?;
        add(field, figures, what, bounds, &rounds);
        if load == LOADS[0].1 {
            add_counting(figures, rounds.median(TIDEGATE));
        }
        if load.connections == 256 {
            remember(field, figures, what)?;
        }
    }
    Ok(())
}

async fn rounds(field: &Field, load: Load) -> Result<Rounds, Failure> {
    for subject in &field.subjects {
        sample(field, subject, load).await?;
    }
    let mut rounds = Rounds::default();
    while !rounds.is_enough(TIDEGATE, NGINX, MOST) {
        let mut round = vec![f64::NAN; field.subjects.len()];
        for index in shuffled(field.subjects.len()) {
            round[index] = sample(field, &field.subjects[index], load).await?;
        }
        rounds.push(round);
    }
    Ok(rounds)
}

/// Microseconds of processor time for a request.
async fn sample(field: &Field, subject: &Subject, load: Load) -> Result<f64, Failure> {
    let before = cpu::processor_time(subject.pid)?;
    let requests = field.clients.run(&field.ground, subject, load, SPAN).await?;
    let spent = cpu::processor_time(subject.pid)?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / requests)
}

/// Which part of a request's time is spent on counting it. Both were measured in this run, the one
/// in this process and the other in the proxy's.
fn add_counting(figures: &mut Figures, micros: f64) {
    let nanos = counting(figures);
    figures.value("… of that", Some(COUNTING), "%", nanos / micros / 10.0);
}

/// How long it takes to count a request, in nanoseconds.
pub(super) fn counting(figures: &mut Figures) -> f64 {
    const REQUESTS: u32 = 1_000_000;
    let rounds = (0..9).map(|_| tidegate_proxy::measuring::count(REQUESTS).as_secs_f64());
    let nanos = Sorted::new(rounds).median() * 1e9 / f64::from(REQUESTS);
    figures.value("counting a request", None, "ns", nanos);
    nanos
}

/// What is resident right after the load: what was needed at most is not given back by then.
fn remember(field: &Field, figures: &mut Figures, what: &str) -> Result<(), Failure> {
    let mut others = Vec::new();
    for (index, subject) in field.subjects.iter().enumerate() {
        let (resident, proportional) = cpu::memory(subject.pid)?;
        if index == TIDEGATE {
            figures.value(&format!("resident memory after {what}"), Some(MEMORY), "MiB", resident);
        } else {
            others.push(format!("{} {resident:.1} MiB, Pss {proportional:.1} MiB", subject.name));
        }
    }
    figures.text("… of the others", &others.join("; "));
    Ok(())
}

fn add(field: &Field, figures: &mut Figures, what: &str, bounds: Bounds, rounds: &Rounds) {
    let name = format!("processor time, {what}: Tidegate / nginx");
    figures.ratio(&name, Some(bounds), rounds.ratio(TIDEGATE, NGINX));
    for (index, subject) in field.subjects.iter().enumerate().skip(NGINX + 1) {
        let name = format!("… Tidegate / {}", subject.name);
        figures.ratio(&name, None, rounds.ratio(TIDEGATE, index));
    }
    let each = field.subjects.iter().enumerate();
    let each = each.map(|(index, subject)| format!("{} {:.1}", subject.name, rounds.median(index)));
    let each: Vec<String> = each.collect();
    figures.text(
        &format!("… µs for a request, medians of {} rounds", rounds.count()),
        &each.join(", "),
    );
}
