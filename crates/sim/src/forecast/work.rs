//! Many runs, on all cores.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    Error, Fault, FaultForecast, Forecast, Question,
    life::{Run, run},
    subject::{FINEST, Subject},
};

/// Answers the question.
pub fn forecast(question: &Question) -> Result<Forecast, Error> {
    let faults = question.faults()?;
    let subject = Subject::new(question)?;
    let found = simulate(&subject, &faults, question.runs);
    Ok(Forecast {
        component: subject.component.clone(),
        plan: subject.plan.clone(),
        rate: question.rate,
        errors: question.errors,
        p95_ms: question.p95,
        runs: question.runs,
        seed: question.seed,
        look_ms: subject.pace.every.unwrap_or(FINEST),
        faults: found,
    })
}

/// Runs each of the faults so often.
pub(crate) fn simulate(subject: &Subject, faults: &[Fault], runs: u32) -> Vec<FaultForecast> {
    let jobs: Vec<(Fault, u32)> =
        faults.iter().flat_map(|fault| (0..runs).map(|number| (*fault, number))).collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Run)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    let work = || {
        let mut own = Vec::new();
        while let Some((index, (fault, number))) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(index).map(|job| (index, *job))
        } {
            own.push((index, run(subject, fault, seed(subject.seed, fault, number))));
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
    };
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Whoever was faster: the same question has the same answer.
    done.sort_by_key(|(index, _)| *index);
    let runs_of_one = usize::try_from(runs).unwrap_or(usize::MAX).max(1);
    let runs: Vec<Run> = done.into_iter().map(|(_, run)| run).collect();
    let mut chunks = runs.chunks(runs_of_one);
    faults
        .iter()
        .map(|fault| FaultForecast::of(*fault, chunks.next().unwrap_or_default()))
        .collect()
}

/// One seed for each run. A run keeps its seed when the manifest changes, so that a comparison is not
/// one of luck.
pub(crate) fn seed(seed: u64, fault: Fault, number: u32) -> u64 {
    mixed(mixed(seed) ^ ((fault as u64) << 32) ^ u64::from(number))
}

/// `SplitMix64`: near numbers give far ones.
const fn mixed(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
