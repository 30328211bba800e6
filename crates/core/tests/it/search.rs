//! Every state that small configurations can reach, and every way into it.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use tidegate_core::Outcome;
use tidegate_invariants::Breach;
use tidegate_types::DeploymentKind;

use crate::{
    model::{Action, Model, Next, breach},
    shop::{Kind, Piece, Shipment},
};

/// What was found.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    states: usize,
    transitions: usize,
    ends: usize,
}

/// How a state was come to first.
struct Reached {
    parent: u32,
    action: Action,
}

/// Visits everything that can be reached from `start`.
fn explore(name: &str, start: &Model) -> Found {
    // More than any of them has; each fault more makes about ten times as many.
    let limit = 30_000 * 10_usize.pow(start.faults);
    let mut known: BTreeMap<u128, u32> = BTreeMap::new();
    let mut reached: Vec<Reached> = Vec::new();
    let mut queue: VecDeque<(u32, Model)> = VecDeque::new();
    // Edges that a good world takes by itself, backwards.
    let mut fair_edges: Vec<(u32, u32)> = Vec::new();
    let mut resting: Vec<u32> = Vec::new();
    let mut found = Found::default();
    known.insert(start.identity(), 0);
    reached.push(Reached { parent: 0, action: Action::Wait });
    queue.push_back((0, start.clone()));
    while let Some((index, model)) = queue.pop_front() {
        found.states += 1;
        if model.at_rest() {
            resting.push(index);
            found.ends += usize::from(model.environment.deployment.is_none());
        }
        let (actions, fair) = model.possible();
        for (number, action) in actions.into_iter().enumerate() {
            let mut next = model.clone();
            let breaches = next.act(&action);
            found.transitions += 1;
            if !breaches.is_empty() {
                fail(name, start, &reached, index, &action, &breaches);
            }
            let target = match known.entry(next.identity()) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    let target = u32::try_from(reached.len()).unwrap();
                    entry.insert(target);
                    reached.push(Reached { parent: index, action: action.clone() });
                    queue.push_back((target, next));
                    target
                }
            };
            if number < fair && target != index {
                fair_edges.push((target, index));
            }
        }
        assert!(found.states < limit, "{name}: more than {limit} states");
    }
    if let Some(stuck) = stuck(reached.len(), fair_edges, resting) {
        let action = reached[stuck as usize].action.clone();
        let parent = reached[stuck as usize].parent;
        let breaches = [breach(17, "no end can be reached from here, although the world is good")];
        fail(name, start, &reached, parent, &action, &breaches);
    }
    println!(
        "search {name}: {} states, {} transitions, {} of them without a deployment",
        found.states, found.transitions, found.ends
    );
    found
}

/// A state from which a good world leads neither to an end nor to a person.
fn stuck(states: usize, mut edges: Vec<(u32, u32)>, resting: Vec<u32>) -> Option<u32> {
    edges.sort_unstable();
    let mut good = vec![false; states];
    let mut queue = resting;
    for at in &queue {
        good[*at as usize] = true;
    }
    while let Some(at) = queue.pop() {
        let from = edges.partition_point(|(target, _)| *target < at);
        for (_, source) in edges[from..].iter().take_while(|(target, _)| *target == at) {
            if !std::mem::replace(&mut good[*source as usize], true) {
                queue.push(*source);
            }
        }
    }
    good.iter().position(|good| !good).map(|at| u32::try_from(at).unwrap())
}

/// Tells the way to what did not hold.
fn fail(
    name: &str,
    start: &Model,
    reached: &[Reached],
    index: u32,
    last: &Action,
    breaches: &[Breach],
) -> ! {
    let mut actions = vec![last.clone()];
    let mut at = index;
    while at != 0 {
        actions.push(reached[at as usize].action.clone());
        at = reached[at as usize].parent;
    }
    actions.reverse();
    let mut model = start.clone();
    println!("search {name}, the shortest way:");
    let began = model.now;
    for action in &actions {
        model.events.clear();
        let _ = model.act(action);
        println!("  {:>8} ms  {action:?}", model.now - began);
        for event in &model.events {
            println!("               {}", serde_json::to_string(event).unwrap());
        }
        let stage = model.environment.deployment.as_ref().map(|deployment| &deployment.stage);
        println!("               -> {stage:?}");
    }
    let told: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    panic!("{name}: {}", told.join("\n"));
}

fn piece(name: &'static str, kind: Kind, replicas: u32, strategy: &str, content: u32) -> Piece {
    Piece { name, kind, replicas, strategy: strategy.to_owned(), content, path: "/" }
}

fn deploy(number: u32, pieces: Vec<Piece>) -> Next {
    let shipment = Shipment {
        number,
        pieces,
        guards: "[error_rate > 5%]".to_owned(),
        without_evidence: "hold",
        port: 8080,
    };
    Next { shipment, kind: DeploymentKind::Deploy }
}

/// A person goes back to an earlier release.
fn roll_back(number: u32, pieces: Vec<Piece>) -> Next {
    Next { kind: DeploymentKind::Rollback, ..deploy(number, pieces) }
}

/// How deep to search. A longer run: `TIDEGATE_SEARCH_FAULTS=2`.
#[expect(clippy::disallowed_methods, reason = "how long it runs is up to whoever starts it")]
fn faults(usual: u32) -> u32 {
    let more = std::env::var("TIDEGATE_SEARCH_FAULTS").ok();
    more.and_then(|more| more.parse().ok()).unwrap_or(usual)
}

/// The world in which the first `settled` of these deployments have succeeded without a fault.
fn world(next: Vec<Next>, settled: usize, faults: u32) -> Model {
    let mut model = Model::new(next, 0);
    for _ in 0..settled {
        assert_eq!(model.act(&Action::Request), []);
        for _ in 0..1_000 {
            let Some(action) = model.fair() else { break };
            assert_eq!(model.act(&action), []);
        }
        let latest = model.environment.latest.as_ref().expect("it ends");
        assert_eq!(latest.outcome, Outcome::Succeeded, "{:?}", latest.failure);
    }
    model.faults = self::faults(faults);
    model
}

const CANARY: &str = "{ canary: { steps: [50%, 100%], bake: 1m, keep: 10m } }";
const BLUE_GREEN: &str = "{ blue_green: { bake: 1m, keep: 10m } }";
const ROLLING: &str = "{ rolling: { max_surge: 1, bake: 1m } }";
const RECREATE: &str = "{ recreate: { bake: 1m } }";

fn service(strategy: &str, replicas: u32, content: u32) -> Vec<Piece> {
    vec![piece("api", Kind::Service, replicas, strategy, content)]
}

#[test]
fn canary() {
    let next = vec![deploy(1, service(CANARY, 1, 1)), deploy(2, service(CANARY, 1, 2))];
    explore("canary", &world(next, 1, 1));
}

#[test]
fn blue_green() {
    let next = vec![deploy(1, service(BLUE_GREEN, 1, 1)), deploy(2, service(BLUE_GREEN, 1, 2))];
    explore("blue-green", &world(next, 1, 1));
}

#[test]
fn rolling() {
    let next = vec![deploy(1, service(ROLLING, 2, 1)), deploy(2, service(ROLLING, 2, 2))];
    explore("rolling", &world(next, 1, 1));
}

#[test]
fn recreate() {
    let next = vec![deploy(1, service(RECREATE, 1, 1)), deploy(2, service(RECREATE, 1, 2))];
    explore("recreate", &world(next, 1, 1));
}

#[test]
fn first_release_and_the_one_after_it() {
    let next = vec![deploy(1, service(BLUE_GREEN, 1, 1)), deploy(2, service(BLUE_GREEN, 1, 2))];
    explore("first release", &world(next, 0, 1));
}

#[test]
fn a_roll_back_to_what_is_warm() {
    let next = vec![
        deploy(1, service(BLUE_GREEN, 1, 1)),
        deploy(2, service(BLUE_GREEN, 1, 2)),
        roll_back(1, service(BLUE_GREEN, 1, 1)),
    ];
    explore("roll back to warm", &world(next, 2, 1));
}

#[test]
fn one_warm_and_one_that_runs_alone() {
    let pieces = |content| {
        vec![
            piece("api", Kind::Service, 1, BLUE_GREEN, content),
            piece("work", Kind::Worker, 1, RECREATE, content),
        ]
    };
    let next = vec![deploy(1, pieces(1)), deploy(2, pieces(2))];
    explore("service and worker", &world(next, 1, 1));
}

#[test]
fn a_renamed_component_takes_the_route_over() {
    let help = vec![piece("help", Kind::Service, 1, BLUE_GREEN, 1)];
    let manual = vec![piece("manual", Kind::Service, 1, BLUE_GREEN, 2)];
    let next = vec![deploy(1, help), deploy(2, manual)];
    explore("renamed", &world(next, 1, 1));
}

#[test]
fn another_size() {
    for (name, from, to) in [("one fewer", 2, 1), ("one more", 1, 2)] {
        let pieces = |replicas, content| {
            vec![
                piece("api", Kind::Service, replicas, ROLLING, 1),
                Piece { path: "/site", ..piece("site", Kind::Site, 0, CANARY, content) },
            ]
        };
        let next = vec![deploy(1, pieces(from, 1)), deploy(2, pieces(to, 2))];
        explore(name, &world(next, 1, 1));
    }
}
