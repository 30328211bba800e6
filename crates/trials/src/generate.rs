//! Random scenarios: the number alone decides.
//!
//! A run in which everything goes wrong all the time gets nowhere. So most scenarios have few
//! faults, some have many, and each kind of trouble is left out of many of them.

use std::collections::BTreeMap;

use rand::{Rng, RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};
use tidegate_types::WithoutEvidence;

use crate::scenario::{Act, Call, Fault, How, Kind, Made, Part, Scenario, Timed};
use tidegate_sim::world::Behaviour;

/// The scenario with this number.
#[must_use]
pub fn generate(number: u64) -> Scenario {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(number);
    let components = components(&mut random);
    let releases = releases(&mut random, &components);
    let acts = acts(&mut random, releases.len());
    Scenario {
        seed: number,
        rate: *pick(&mut random, &[0.0, 2.0, 20.0, 200.0]),
        guards: guards(&mut random),
        without_evidence: *pick(
            &mut random,
            &[
                WithoutEvidence::Hold,
                WithoutEvidence::Hold,
                WithoutEvidence::Proceed,
                WithoutEvidence::RollBack,
            ],
        ),
        faults: faults(&mut random),
        components,
        releases,
        acts,
    }
}

fn pick<'a, T>(random: &mut impl Rng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}

fn components(random: &mut impl Rng) -> Vec<Part> {
    let count = *pick(random, &[1, 1, 1, 2, 2, 3]);
    ["api", "web", "worker"]
        .into_iter()
        .take(count)
        .map(|name| {
            let kind = match name {
                "api" => Kind::Service,
                "web" => *pick(random, &[Kind::Service, Kind::Site]),
                _ => *pick(random, &[Kind::Worker, Kind::Worker, Kind::Site]),
            };
            let replicas = if kind == Kind::Site { 0 } else { random.random_range(1..=3) };
            Part { name: name.into(), kind, replicas, strategy: strategy(random) }
        })
        .collect()
}

fn strategy(random: &mut impl Rng) -> String {
    let bake = pick(random, &["0s", "1s", "4s", "10s"]);
    let keep = pick(random, &["0s", "5s", "1m"]);
    match random.random_range(0..5) {
        0 => format!("{{ recreate: {{ bake: {bake} }} }}"),
        1 => {
            let (surge, unavailable) = *pick(random, &[(1, 0), (0, 1), (1, 1), (2, 0), (0, 2)]);
            format!(
                "{{ rolling: {{ max_surge: {surge}, max_unavailable: {unavailable}, bake: {bake} }} }}"
            )
        }
        2 => format!("{{ blue_green: {{ bake: {bake}, keep: {keep} }} }}"),
        3 => format!(
            "{{ blue_green: {{ canary: {{ share: 10%, bake: {bake} }}, bake: {bake}, keep: {keep} }} }}"
        ),
        _ => {
            let steps = pick(random, &["10%, 100%", "1%, 50%, 100%", "50%, 100%", "100%"]);
            format!("{{ canary: {{ steps: [{steps}], bake: {bake}, keep: {keep} }} }}")
        }
    }
}

fn releases(random: &mut impl Rng, components: &[Part]) -> Vec<Made> {
    let count = random.random_range(2..=4);
    (0..count)
        .map(|index| {
            let changes: BTreeMap<String, Behaviour> = components
                .iter()
                .filter(|_| index == 0 || random.random_bool(0.8))
                .map(|part| part.name.clone())
                .collect::<Vec<_>>()
                .into_iter()
                .map(|name| {
                    // The first one is good most of the time, or there is nothing to go back to.
                    let good = random.random_bool(if index == 0 { 0.9 } else { 0.4 });
                    (name, if good { good_one(random) } else { bad_one(random) })
                })
                .collect();
            let without = components
                .iter()
                .skip(1)
                .filter(|_| random.random_bool(0.08))
                .map(|part| part.name.clone())
                .collect();
            Made {
                changes,
                without,
                replicas: random.random_bool(0.1).then(|| random.random_range(1..=4)),
                takes: *pick(random, &[0, 100, 2_000]),
                fails: index > 0 && random.random_bool(0.05),
            }
        })
        .collect()
}

fn good_one(random: &mut impl Rng) -> Behaviour {
    Behaviour {
        ready_after: Some(random.random_range(0..3_000)),
        stops_after: random.random_range(0..3_000),
        errors: *pick(random, &[0.0, 0.001]),
        ..Behaviour::default()
    }
}

fn bad_one(random: &mut impl Rng) -> Behaviour {
    let good = good_one(random);
    let age = random.random_range(0..20_000);
    match random.random_range(0..8) {
        0 => Behaviour { ready_after: None, ..good },
        1 => Behaviour { broken: true, ..good },
        2 => Behaviour { exits_after: Some(age), ..good },
        3 => Behaviour { hangs_after: Some(age), ..good },
        4 => Behaviour { flaps_every: Some(random.random_range(400..6_000)), ..good },
        5 => Behaviour { old_after: Some(age), errors_when_old: 0.3, ..good },
        6 => Behaviour { old_after: Some(age), slower_when_old: 40.0, ..good },
        _ => Behaviour { errors: *pick(random, &[0.04, 0.08, 0.5, 1.0]), ..good },
    }
}

fn guards(random: &mut impl Rng) -> Vec<(String, u64)> {
    let mut guards = Vec::new();
    if random.random_bool(0.7) {
        guards.push(("error_rate > 5% for 2s".to_owned(), *pick(random, &[1, 20])));
    }
    if random.random_bool(0.2) {
        guards.push(("p95 > 500ms for 2s".to_owned(), 10));
    }
    if random.random_bool(0.7) {
        guards.push(("restarts >= 3".to_owned(), 0));
    }
    if random.random_bool(0.7) {
        guards.push(("health_check_failures >= 3".to_owned(), 0));
    }
    guards
}

fn acts(random: &mut impl Rng, releases: usize) -> Vec<Timed> {
    let mut acts = vec![Timed { at: 0, act: Act::Deploy(0) }];
    let mut at = random.random_range(10_000..40_000);
    for release in 1..releases {
        acts.push(Timed { at, act: Act::Deploy(release) });
        at += random.random_range(2_000..60_000);
        if random.random_bool(0.15) {
            acts.push(Timed { at, act: Act::RollBack });
            at += random.random_range(2_000..40_000);
        }
    }
    let end = at;
    let mut several = |most: usize, make: &dyn Fn(&mut Xoshiro256PlusPlus) -> Act| {
        // A generator of its own for each kind: one kind more does not change the others.
        let mut own = Xoshiro256PlusPlus::seed_from_u64(random.random());
        let count = own.random_range(0..=most);
        for _ in 0..count {
            let at = own.random_range(0..end);
            let act = make(&mut own);
            if own.random_bool(0.2) {
                // Said twice, as by a client that lost the answer.
                acts.push(Timed { at, act: act.clone() });
            }
            acts.push(Timed { at, act });
        }
    };
    several(3, &|own| {
        pick(own, &[Act::Pause, Act::Resume, Act::Skip, Act::Abort, Act::Skip, Act::Resume]).clone()
    });
    several(2, &|own| Act::Crash(*pick(own, &[0, 50, 1_000, 20_000])));
    several(1, &|own| Act::Zombie(*pick(own, &[1_000, 10_000])));
    several(1, &|own| Act::Jump(*pick(own, &[1_000, 60_000, 86_400_000])));
    several(1, &|own| Act::ProxyDown(*pick(own, &[100, 5_000])));
    several(2, &|_| Act::KillInstance);
    several(1, &|own| Act::Silence(*pick(own, &[2_000, 20_000])));
    acts.sort_by_key(|timed| timed.at);
    acts
}

fn faults(random: &mut impl Rng) -> Vec<Fault> {
    let count = *pick(random, &[0, 1, 2, 3, 5, 8, 20]);
    (0..count)
        .map(|_| {
            let (call, most) = *pick(
                random,
                &[
                    (Call::Apply, 14),
                    (Call::Apply, 14),
                    (Call::Route, 12),
                    (Call::Route, 12),
                    (Call::Observe, 120),
                    (Call::Observe, 120),
                    (Call::Traffic, 60),
                    (Call::Logs, 2),
                    (Call::Load, 4),
                    (Call::Pending, 4),
                    (Call::Commit, 30),
                    (Call::Commit, 30),
                    (Call::Request, 4),
                    (Call::Accept, 3),
                    (Call::Samples, 40),
                    (Call::Prepare, 4),
                ],
            );
            Fault { call, nth: random.random_range(1..=most), how: how(random, call) }
        })
        .collect()
}

fn how(random: &mut impl Rng, call: Call) -> How {
    let away = *pick(random, &[0, 100, 5_000]);
    let late = *pick(random, &[10, 500, 12_000]);
    let of_a_target = [
        How::Before,
        How::After,
        How::Hangs,
        How::Lost,
        How::Partial,
        How::Late(late),
        How::Slow(late),
        How::Stale,
        How::CrashBefore(away),
        How::CrashAfter(away),
    ];
    // The store is a file on the same machine: it answers, or the control plane is gone.
    let of_a_store = [How::Before, How::After, How::CrashBefore(away), How::CrashAfter(away)];
    let of_a_build = [How::Slow(late), How::Before, How::CrashBefore(away), How::CrashAfter(away)];
    match call {
        Call::Route if random.random_bool(0.1) => How::Refused,
        Call::Apply | Call::Route | Call::Observe | Call::Traffic | Call::Logs => {
            *pick(random, &of_a_target)
        }
        Call::Prepare => *pick(random, &of_a_build),
        _ => *pick(random, &of_a_store),
    }
}
