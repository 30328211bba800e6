//! `make sim`: lives scenario after scenario and keeps what fails.
//!
//! `tidegate-trials run [ROLLOUTS] [STATE FILE] [CORPUS FOLDER]` lives generated scenarios until so
//! many rollouts have ended, goes on where it was stopped, and writes each failure, made small, into
//! the corpus. `tidegate-trials replay FILE...` lives scenarios from files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate_trials::{Scenario, generate, run, shrink, trouble};

/// Scenarios between two notes of how far it is.
const CHUNK: u64 = 500;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["run", rest @ ..] => many(rest),
        ["replay", files @ ..] if !files.is_empty() => replay(files),
        ["show", number] => {
            number.parse().map_err(|_| format!("{number} is no number")).and_then(|number| {
                println!("{}", generate(number).to_text().map_err(|error| error.to_string())?);
                Ok(true)
            })
        }
        _ => Err("usage: tidegate-trials run [ROLLOUTS] [STATE] [CORPUS] | replay FILE... | show \
                  NUMBER"
            .to_owned()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// How far it is: every scenario below `next` was lived.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    next: u64,
    rollouts: u64,
    transitions: u64,
    faults: u64,
    failures: u64,
    /// Seconds of computing, on all cores together.
    seconds: f64,
}

impl Progress {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let numbers: Vec<f64> =
            text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [next, rollouts, transitions, faults, failures, seconds] = numbers[..] else {
            return Self::default();
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let whole = |number: f64| number.max(0.0) as u64;
        Self {
            next: whole(next),
            rollouts: whole(rollouts),
            transitions: whole(transitions),
            faults: whole(faults),
            failures: whole(failures),
            seconds,
        }
    }

    fn write(&self, path: &Path) -> Result<(), String> {
        let Self { next, rollouts, transitions, faults, failures, seconds } = self;
        let text = format!("{next} {rollouts} {transitions} {faults} {failures} {seconds}\n");
        let error = |error: std::io::Error| format!("{}: {error}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(error)?;
        }
        let aside = path.with_extension("new");
        fs::write(&aside, text).and_then(|()| fs::rename(&aside, path)).map_err(error)
    }
}

fn many(arguments: &[&str]) -> Result<bool, String> {
    let goal: u64 = match arguments.first() {
        None => 1_000_000,
        Some(text) => text.parse().map_err(|_| format!("{text} is not a number of rollouts"))?,
    };
    let state = PathBuf::from(arguments.get(1).copied().unwrap_or("target/sim/state"));
    let corpus = PathBuf::from(arguments.get(2).copied().unwrap_or("sim/corpus"));
    fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let mut progress = Progress::read(&state);
    if progress.next > 0 {
        println!("going on after scenario {} ({} rollouts)", progress.next, progress.rollouts);
    }
    // What panics is told with its scenario; the panic itself says little.
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut told = Instant::now();
    while progress.rollouts < goal {
        let first = progress.next;
        let next = AtomicU64::new(first);
        let sum = Mutex::new(progress);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= first + CHUNK {
                            return;
                        }
                        one(number, &corpus, &sum);
                    }
                });
            }
        });
        progress = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        progress.next = first + CHUNK;
        progress.write(&state)?;
        if told.elapsed() > Duration::from_secs(10) || progress.rollouts >= goal {
            told = Instant::now();
            say(progress, goal);
        }
    }
    Ok(progress.failures == 0)
}

fn one(number: u64, corpus: &Path, sum: &Mutex<Progress>) {
    let scenario = generate(number);
    let began = Instant::now();
    let verdict = std::panic::catch_unwind(|| run(&scenario));
    let seconds = began.elapsed().as_secs_f64();
    let failed = verdict.as_ref().map_or(true, |verdict| !verdict.breaches.is_empty());
    {
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.seconds += seconds;
        sum.failures += u64::from(failed);
        if let Ok(verdict) = &verdict {
            sum.rollouts += verdict.outcomes.len() as u64;
            sum.transitions += u64::from(verdict.commits);
            sum.faults += u64::from(verdict.faults);
        }
    }
    if failed {
        keep(number, &scenario, corpus);
    }
}

/// Writes a scenario that fails, made small. One for each invariant and each hundred scenarios is
/// enough to begin with.
fn keep(number: u64, scenario: &Scenario, corpus: &Path) {
    let Some(trouble) = trouble(scenario) else {
        eprintln!("scenario {number} failed once and not again: it is not deterministic");
        return;
    };
    eprintln!("scenario {number}: invariant {}: {}", trouble.number, trouble.what);
    let name = format!("invariant-{:02}-{number}.ron", trouble.number);
    let same = format!("invariant-{:02}-", trouble.number);
    let known = fs::read_dir(corpus).into_iter().flatten().filter_map(Result::ok);
    let known = known.filter(|entry| entry.file_name().to_string_lossy().starts_with(&same));
    if known.count() >= 5 {
        return;
    }
    let small = shrink(scenario, trouble.number);
    if let Ok(text) = small.to_text()
        && let Err(error) = fs::write(corpus.join(&name), text)
    {
        eprintln!("{name}: {error}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn say(progress: Progress, goal: u64) {
    let Progress { next, rollouts, transitions, faults, failures, seconds } = progress;
    println!(
        "{rollouts} of {goal} rollouts in {next} scenarios, {transitions} transitions, {faults} \
         faults, {failures} failures; {:.0} rollouts a second and core",
        rollouts as f64 / seconds.max(0.001)
    );
}

fn replay(files: &[&str]) -> Result<bool, String> {
    let mut fine = true;
    for file in files {
        let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let scenario = Scenario::from_text(&text).map_err(|error| format!("{file}: {error}"))?;
        match trouble(&scenario) {
            None => println!("{file}: holds"),
            Some(trouble) => {
                fine = false;
                println!("{file}: invariant {}: {}", trouble.number, trouble.what);
            }
        }
        let verdict = std::panic::catch_unwind(|| run(&scenario));
        if let Ok(verdict) = verdict {
            for line in &verdict.story {
                println!("  {line}");
            }
            println!("  {} faults, calls {:?}", verdict.faults, verdict.calls);
        }
    }
    Ok(fine)
}
