//! Thousands of random lives: any plan, any order of events, any fault. Whatever happens, the
//! invariants hold, and when the faults stop, every deployment ends or waits for a person.

use proptest::{prelude::*, strategy::Strategy as Generator};
use tidegate_core::Command;
use tidegate_types::{DeploymentKind, Verdict};

use crate::{
    model::{Action, Meant, Model, Next, breach},
    shop::{Kind, Piece, Shipment},
};

const NAMES: [&str; 3] = ["api", "web", "work"];
const PATHS: [&str; 3] = ["/", "/web", "/work"];

fn strategies() -> impl Generator<Value = String> {
    let bake = || (0_u64..3).prop_map(|minutes| format!("{minutes}m"));
    let keep = || prop_oneof![Just("0s"), Just("10m")];
    prop_oneof![
        bake().prop_map(|bake| format!("{{ recreate: {{ bake: {bake} }} }}")),
        (0_u32..3, 0_u32..3, bake()).prop_map(|(surge, unavailable, bake)| {
            let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
            format!(
                "{{ rolling: {{ max_surge: {surge}, max_unavailable: {unavailable}, bake: {bake} \
                 }} }}"
            )
        }),
        (bake(), keep())
            .prop_map(|(bake, keep)| format!("{{ blue_green: {{ bake: {bake}, keep: {keep} }} }}")),
        (1_u32..100, bake(), keep()).prop_map(|(share, bake, keep)| format!(
            "{{ canary: {{ steps: [{share}%, 100%], bake: {bake}, keep: {keep} }} }}"
        )),
        (1_u32..50, 50_u32..100, bake(), keep()).prop_map(|(low, high, bake, keep)| format!(
            "{{ canary: {{ steps: [{low}%, {high}%, 100%], bake: {bake}, keep: {keep} }} }}"
        )),
    ]
}

fn pieces() -> impl Generator<Value = Vec<Piece>> {
    let kinds =
        prop_oneof![3 => Just(Kind::Service), 1 => Just(Kind::Worker), 1 => Just(Kind::Site)];
    let one =
        (kinds, 1_u32..4, strategies(), 0_u32..3, proptest::option::weighted(0.2, 0_usize..3));
    (proptest::collection::vec(one, 3), proptest::sample::subsequence(vec![0_usize, 1, 2], 1..=3))
        .prop_map(|(all, present)| {
            let mut pieces: Vec<Piece> = Vec::new();
            for at in present {
                let (kind, replicas, strategy, content, path) = all[at].clone();
                let path = PATHS[path.unwrap_or(at)];
                let taken =
                    pieces.iter().any(|other| other.kind != Kind::Worker && other.path == path);
                let path = if taken { PATHS[at] } else { path };
                let still =
                    pieces.iter().any(|other| other.kind != Kind::Worker && other.path == path);
                let kind = if still { Kind::Worker } else { kind };
                pieces.push(Piece { name: NAMES[at], kind, replicas, strategy, content, path });
            }
            pieces
        })
}

fn deployments() -> impl Generator<Value = Vec<Next>> {
    let guards = prop_oneof![
        Just("[]"),
        Just("[error_rate > 5%]"),
        Just("[error_rate > 5%, \"p95 > 300ms\", restarts >= 2]"),
        Just("[health_check_failures >= 2]"),
    ];
    let without = prop_oneof![Just("hold"), Just("proceed"), Just("roll_back")];
    let one = (pieces(), guards, without, proptest::bool::weighted(0.2), 0_u16..2);
    proptest::collection::vec(one, 1..4).prop_map(|all| {
        let mut next: Vec<Next> = Vec::new();
        for (index, (pieces, guards, without_evidence, back, port)) in all.into_iter().enumerate() {
            let mut pieces = pieces;
            let routed = pieces.iter().any(|piece| piece.kind != Kind::Worker);
            let guards = if routed { guards } else { "[restarts >= 2]" };
            if guards != "[]" {
                // A guard on traffic needs a bake that is as long as its window.
                for piece in &mut pieces {
                    piece.strategy = piece.strategy.replace("bake: 0m", "bake: 1m");
                }
            }
            let number = u32::try_from(index).unwrap() + 1;
            if back && index >= 2 {
                // What a person goes back to is what was there two releases ago.
                let shipment = next[index - 2].shipment.clone();
                next.push(Next { shipment, kind: DeploymentKind::Rollback });
                continue;
            }
            let shipment = Shipment {
                number,
                pieces,
                guards: guards.to_owned(),
                without_evidence,
                port: 8080 + port,
            };
            next.push(Next { shipment, kind: DeploymentKind::Deploy });
        }
        next
    })
}

/// What is possible beyond what the search tries.
fn extras(model: &Model) -> Vec<Action> {
    let mut actions = vec![Action::Crash, Action::PrepareAgain, Action::Look { fresh: false }];
    if model.requested > 0 {
        actions.push(Action::RequestAgain);
    }
    if model.environment.epoch.0 > 0 {
        actions.push(Action::Ahead);
    }
    for command in [Command::Pause, Command::Resume, Command::Skip, Command::Abort] {
        for meant in [Meant::Nothing, Meant::Deployment, Meant::Place, Meant::Former, Meant::Passed]
        {
            actions.push(Action::Word { command, fresh: meant != Meant::Nothing, meant });
        }
    }
    actions
}

/// The action that a number stands for, most of them such that the deployment goes on.
fn chosen(model: &Model, choice: u16) -> Option<Action> {
    let (kind, which) = (choice % 16, usize::from(choice / 16));
    if kind < 9 {
        return model.fair();
    }
    let (possible, fair) = model.possible();
    let actions = match kind {
        9 | 10 => possible[..fair].to_vec(),
        11..=14 => possible,
        _ => extras(model),
    };
    Some(actions[which % actions.len()].clone())
}

fn live(next: Vec<Next>, choices: &[u16]) -> Result<(), TestCaseError> {
    let mut model = Model::watched(next);
    let mut done: Vec<Action> = Vec::new();
    let mut act = |model: &mut Model, action: Action| {
        done.push(action);
        let breaches = model.act(done.last().unwrap());
        let told: Vec<String> = breaches.iter().map(ToString::to_string).collect();
        prop_assert!(told.is_empty(), "{}\nafter {done:#?}", told.join("\n"));
        Ok(())
    };
    for choice in choices {
        if model.environment.deployment.is_none() && model.more() {
            act(&mut model, Action::Request)?;
        }
        if let Some(action) = chosen(&model, *choice) {
            act(&mut model, action)?;
        }
    }
    // 17: the faults stop, and nobody holds it.
    act(&mut model, Action::Say(Verdict::Pass))?;
    let resume = Action::Word { command: Command::Resume, fresh: true, meant: Meant::Nothing };
    act(&mut model, resume)?;
    for _ in 0..400 {
        match model.fair() {
            Some(action) => act(&mut model, action)?,
            None => break,
        }
    }
    if !model.at_rest() {
        let stage = &model.environment.deployment.as_ref().unwrap().stage;
        let stuck = breach(17, &format!("it never ends: {stage:?}"));
        prop_assert!(false, "{stuck}\nafter {done:#?}");
    }
    Ok(())
}

/// A longer run: `TIDEGATE_WALKS=100000`.
#[expect(clippy::disallowed_methods, reason = "how long it runs is up to whoever starts it")]
fn cases() -> u32 {
    std::env::var("TIDEGATE_WALKS").ok().and_then(|cases| cases.parse().ok()).unwrap_or(8_000)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: ProptestConfig::default().max_shrink_iters.min(4_000),
        ..ProptestConfig::default()
    })]


    #[test]
    fn whatever_happens_the_invariants_hold(
        next in deployments(),
        choices in proptest::collection::vec(any::<u16>(), 0..80),
    ) {
        live(next, &choices)?;
    }
}
