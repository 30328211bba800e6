//! All scenarios with all victims, several at a time, and the table of what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use super::{
    round::{self, Attack, Losses, Round},
    scenario::Scenario,
    victim::Victim,
};

/// Scenarios wait most of the time: more at a time than there are processors.
const AT_ONCE: usize = 6;
/// A point that is there and cannot be hit in so many rounds more than are needed is a fault of the
/// test. Some last for a few milliseconds.
const SPARE_ROUNDS: usize = 12;

/// One scenario with one victim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    pub(crate) scenario: Scenario,
    pub(crate) victim: Victim,
}

/// One line of the table.
#[derive(Debug, Default)]
struct Row {
    existing: usize,
    hit: usize,
    rounds: usize,
    requests: u64,
    lost: Losses,
    outage: Duration,
    elapsed: Duration,
    faults: Vec<String>,
}

type References = Mutex<BTreeMap<String, Arc<OnceLock<Round>>>>;

/// Only tasks whose title has these words are run, to look at one of them alone.
const ONLY: &str = "TIDEGATE_CRASH_ONLY";

/// Runs the tasks, prints the table, and fails if anything was not as it should be. After the rounds
/// that hit every point at once, there is one more for each time in `late`: the victim dies so much
/// later, in the middle of what follows from the transition.
pub(crate) fn run(mut tasks: Vec<Task>, late: &[Duration]) {
    let began = Instant::now();
    if let Ok(only) = std::env::var(ONLY) {
        tasks.retain(|task| title(*task).contains(&only));
    }
    let references = References::default();
    let rows: Mutex<Vec<Option<Row>>> = Mutex::new(tasks.iter().map(|_| None).collect());
    let next = Mutex::new(0);
    let tasks = &tasks;
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                loop {
                    let index = {
                        let mut next = next.lock().expect("nobody panics with it");
                        *next += 1;
                        *next - 1
                    };
                    let Some(task) = tasks.get(index) else { return };
                    let row = attempt(*task, late, &references);
                    rows.lock().expect("nobody panics with it")[index] = Some(row);
                }
            });
        }
    });
    let rows: Vec<Row> =
        rows.into_inner().expect("nobody panics with it").into_iter().flatten().collect();
    let table = print(tasks, &rows, began.elapsed());
    // Also when the test passes, whose output would be kept back.
    let _ = std::io::stderr().write_all(table.as_bytes());
    let faults: Vec<&str> = rows.iter().flat_map(|row| &row.faults).map(String::as_str).collect();
    assert!(faults.is_empty(), "{} faults:\n\n{}", faults.len(), faults.join("\n\n"));
}

fn attempt(task: Task, late: &[Duration], references: &References) -> Row {
    let began = Instant::now();
    let mut row = Row::default();
    let done = catch_unwind(AssertUnwindSafe(|| work(task, late, references, &mut row)));
    if let Err(panic) = done {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        row.faults.push(format!("{}: {}", title(task), text.unwrap_or_default()));
    }
    row.elapsed = began.elapsed();
    row
}

fn work(task: Task, late: &[Duration], references: &References, row: &mut Row) {
    let known = Arc::clone(
        references.lock().expect("nobody panics with it").entry(task.scenario.name()).or_default(),
    );
    let reference = known.get_or_init(|| undisturbed(task.scenario));
    let existing: BTreeSet<String> = reference
        .points
        .iter()
        .filter(|(_, victims)| victims.contains(&task.victim))
        .map(|(name, _)| name.clone())
        .collect();
    row.existing = existing.len();
    let mut left = existing.clone();
    let least = existing.len().div_ceil(task.victim.kills_in_a_round());
    while !left.is_empty() && row.rounds < least + SPARE_ROUNDS && row.faults.is_empty() {
        for hit in attack(task, &left, Duration::ZERO, reference, row) {
            left.remove(&hit);
        }
    }
    row.hit = existing.len() - left.len();
    // Who dies again and again by itself is there at some moments and not at others.
    let is_certain = !(task.scenario.release.dies() && task.victim == Victim::CandidateShim);
    if row.faults.is_empty() && (is_certain && !left.is_empty() || row.hit == 0) {
        row.faults.push(format!("{}: never hit: {left:#?}", title(task)));
    }
    for delay in late {
        attack(task, &existing, *delay, reference, row);
    }
}

/// One round; says where the victim died.
fn attack(
    task: Task,
    at: &BTreeSet<String>,
    delay: Duration,
    reference: &Round,
    row: &mut Row,
) -> Vec<String> {
    let attack = Attack { victim: task.victim, at, delay, expected: &reference.ending };
    let round = round::run(task.scenario, Some(&attack));
    row.rounds += 1;
    row.requests += round.requests;
    row.lost.in_outages += round.lost.in_outages;
    row.lost.in_gaps += round.lost.in_gaps;
    row.lost.broken += round.lost.broken;
    row.outage = row.outage.max(round.outage);
    for fault in &round.broken {
        row.faults.push(format!("{}: {fault}", title(task)));
    }
    round.hit
}

/// The scenario without an attack, in a run in which every transition was seen.
fn undisturbed(scenario: Scenario) -> Round {
    for _ in 0..SPARE_ROUNDS {
        let round = round::run(scenario, None);
        assert!(round.broken.is_empty(), "{}: {}", scenario.name(), round.broken.join("\n"));
        if round.complete {
            return round;
        }
    }
    panic!("{}: transitions went by unseen in every run", scenario.name());
}

fn title(task: Task) -> String {
    format!("{}, killed: {}", task.scenario.name(), task.victim.name())
}

fn print(tasks: &[Task], rows: &[Row], elapsed: Duration) -> String {
    let mut lines = vec![format!(
        "{:<20} {:<15} {:<22} {:>7} {:>6} {:>8} {:>6} {:>6} {:>5} {:>7} {:>7}",
        "strategy",
        "release",
        "killed",
        "points",
        "rounds",
        "requests",
        "outage",
        "gap",
        "lost",
        "ms out",
        "seconds"
    )];
    let mut all = Row::default();
    for (task, row) in tasks.iter().zip(rows) {
        let Losses { in_outages, in_gaps, broken } = row.lost;
        all.existing += row.existing;
        all.hit += row.hit;
        all.rounds += row.rounds;
        all.requests += row.requests;
        all.lost.in_outages += in_outages;
        all.lost.in_gaps += in_gaps;
        all.lost.broken += broken;
        lines.push(format!(
            "{:<20} {:<15} {:<22} {:>7} {:>6} {:>8} {in_outages:>6} {in_gaps:>6} {broken:>5} \
             {:>7} {:>7.1}{}",
            task.scenario.strategy.name,
            task.scenario.release.name(),
            task.victim.name(),
            format!("{}/{}", row.hit, row.existing),
            row.rounds,
            row.requests,
            row.outage.as_millis(),
            row.elapsed.as_secs_f64(),
            if row.faults.is_empty() { "" } else { "  FAILED" },
        ));
    }
    lines.push(format!(
        "{} of {} points hit in {} rounds; of {} requests {} were lost in outages by a killed \
         proxy or machine, {} in gaps that are by design, {} against what is promised; {:.0} s",
        all.hit,
        all.existing,
        all.rounds,
        all.requests,
        all.lost.in_outages,
        all.lost.in_gaps,
        all.lost.broken,
        elapsed.as_secs_f64()
    ));
    format!("\n{}\n", lines.join("\n"))
}
