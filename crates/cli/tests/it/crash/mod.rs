//! `kill -9` at every step of the journal: of the control plane, the proxy and the shims, one by one
//! and all at once, under traffic.
//!
//! A scenario (a strategy and a kind of release) is run once undisturbed: the transitions that it
//! stores are the points at which there can be a crash, and what it leaves is what has to be left
//! after every crash. Then it is run again and again with one kind of victim, which is killed as
//! soon as the store has a transition at which it was not killed before, until there is none.

mod alone;
mod ending;
mod journal;
mod matrix;
mod round;
mod scenario;
mod victim;

use std::time::Duration;

use matrix::Task;
use scenario::{RELEASES, Release, STRATEGIES, Scenario};
use victim::{VICTIMS, Victim};

fn every_task() -> Vec<Task> {
    let mut tasks = Vec::new();
    for victim in VICTIMS {
        for release in RELEASES {
            for strategy in STRATEGIES {
                tasks.push(Task { scenario: Scenario { strategy, release }, victim });
            }
        }
    }
    tasks
}

#[test]
fn killed_at_every_step_everything_ends_as_if_it_never_had_been() {
    // Hardly anything is left out of the control plane's points, and nothing of anybody's with a
    // good release.
    let chosen = |task: &Task| match (task.victim, task.scenario.release) {
        (Victim::ControlPlane, Release::DyingLate) => task.scenario.strategy.keeps,
        (Victim::ControlPlane, _) => true,
        (_, release) => release == Release::Good,
    };
    matrix::run(every_task().into_iter().filter(chosen).collect(), &[]);
}

#[test]
#[ignore = "takes long: `make crash` runs it"]
fn killed_at_every_step_with_every_release() {
    matrix::run(every_task(), &[Duration::from_millis(3), Duration::from_millis(20)]);
}
