//! Makes a scenario that fails as small as it can be while it still fails in the same way.

use crate::{
    life::run,
    scenario::{Part, Scenario},
};
use tidegate_sim::world::Behaviour;

/// Not more trials than this for one scenario.
const MOST_TRIALS: usize = 2_000;

/// What is wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The invariant that was breached; 0 when something panicked.
    pub number: u8,
    /// What was found.
    pub what: String,
}

/// Lives a scenario; the first thing that is wrong with it.
#[must_use]
pub fn trouble(scenario: &Scenario) -> Option<Trouble> {
    match std::panic::catch_unwind(|| run(scenario)) {
        Ok(verdict) => verdict
            .breaches
            .into_iter()
            .next()
            .map(|breach| Trouble { number: breach.number, what: breach.what }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Trouble { number: 0, what: text.unwrap_or_else(|| "a panic".to_owned()) })
        }
    }
}

/// The smallest scenario that was found to breach the same invariant as `scenario`, which breaches
/// `number`.
#[must_use]
pub fn shrink(scenario: &Scenario, number: u8) -> Scenario {
    shrink_while(scenario, |candidate| {
        trouble(candidate).is_some_and(|trouble| trouble.number == number)
    })
}

fn shrink_while(scenario: &Scenario, still: impl Fn(&Scenario) -> bool) -> Scenario {
    let mut smallest = scenario.clone();
    let mut trials = 0;
    loop {
        let better = smaller(&smallest).into_iter().find(|candidate| {
            trials += 1;
            trials <= MOST_TRIALS && still(candidate)
        });
        match better {
            Some(better) => smallest = better,
            None => return smallest,
        }
    }
}

/// Scenarios that are a little smaller, the boldest cuts first.
fn smaller(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    for kept in halves(&scenario.faults) {
        all.push(Scenario { faults: kept, ..scenario.clone() });
    }
    for kept in halves(&scenario.acts) {
        all.push(Scenario { acts: kept, ..scenario.clone() });
    }
    for kept in halves(&scenario.guards) {
        all.push(Scenario { guards: kept, ..scenario.clone() });
    }
    if scenario.components.len() > 1 {
        for kept in halves(&scenario.components).into_iter().filter(|kept| !kept.is_empty()) {
            let mut fewer = Scenario { components: kept, ..scenario.clone() };
            let named = |name: &String| fewer.components.iter().any(|part| part.name == *name);
            for made in &mut fewer.releases {
                made.changes.retain(|name, _| named(name));
                made.without.retain(named);
            }
            all.push(fewer);
        }
    }
    for (index, part) in scenario.components.iter().enumerate() {
        let mut simpler = |part: Part| {
            let mut scenario = scenario.clone();
            scenario.components[index] = part;
            all.push(scenario);
        };
        if part.replicas > 1 {
            simpler(Part { replicas: 1, ..part.clone() });
        }
        for strategy in ["{ recreate: { bake: 1s } }", "{ blue_green: { bake: 1s, keep: 5s } }"] {
            if part.strategy.len() > strategy.len() {
                simpler(Part { strategy: strategy.to_owned(), ..part.clone() });
            }
        }
    }
    for (index, made) in scenario.releases.iter().enumerate() {
        for (name, behaviour) in &made.changes {
            if *behaviour != Behaviour::default() {
                let mut scenario = scenario.clone();
                let behaviours = &mut scenario.releases[index].changes;
                behaviours.insert(name.clone(), Behaviour::default());
                all.push(scenario);
            }
        }
        if !made.without.is_empty() || made.replicas.is_some() || made.takes > 0 || made.fails {
            let mut scenario = scenario.clone();
            let changes = made.changes.clone();
            scenario.releases[index] = crate::Made { changes, ..crate::Made::default() };
            all.push(scenario);
        }
    }
    all
}

/// The list without its first and its second half, and then without each of its elements.
fn halves<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    let mut all = Vec::new();
    if list.len() > 2 {
        let middle = list.len() / 2;
        all.push(list[middle..].to_vec());
        all.push(list[..middle].to_vec());
    }
    for index in 0..list.len() {
        let mut fewer = list.to_vec();
        fewer.remove(index);
        all.push(fewer);
    }
    all
}
