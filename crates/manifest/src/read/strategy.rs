//! Strategies, of environments and of components.

use tidegate_types::{Duration, Share};

use super::fields::Fields;
use crate::{
    model::{Strategy, StrategyStep},
    problem::{Report, Span},
    suggest,
    yaml::Node,
};

const PATH: &str = "environments.*.strategy";

/// A strategy and what its bakes are called.
pub(super) struct StrategyDraft {
    pub(super) strategy: Strategy,
    /// Every time at which the new is watched.
    pub(super) bakes: Vec<Bake>,
    /// Where it was written, if it was.
    pub(super) span: Option<Span>,
}

/// A time at which the new is watched.
pub(super) struct Bake {
    /// As in `step 2`.
    pub(super) what: String,
    pub(super) length: Duration,
    /// Where its length was written, if it was.
    pub(super) span: Option<Span>,
}

/// Reads a strategy; without one the default of environments.
pub(super) fn read(node: Option<&Node>, report: &mut Report<'_>) -> StrategyDraft {
    let span = node.map(|node| node.span);
    let default: String = crate::reference::default_value(PATH).unwrap_or_default();
    let mut word = default.as_str();
    if let Some(scalar) = node.and_then(Node::scalar) {
        word = scalar.text.as_str();
    }
    if let Some(node) = node
        && let Some(entries) = node.entries()
    {
        let known = |key: &str| crate::reference::find(&format!("{PATH}.{key}")).is_some();
        let mut given = entries.iter().filter(|entry| known(&entry.key));
        match given.next() {
            Some(entry) => word = &entry.key,
            None if report.is_faulty(node.span) => {}
            None => {
                let words = crate::reference::children(PATH).map(crate::reference::Key::name);
                report
                    .error("no-strategy", node.span, "no strategy is named here")
                    .help(format!("name one of {}", suggest::list(words, "or")));
            }
        }
        for other in given {
            report
                .error(
                    "several-strategies",
                    other.key_span,
                    format!("`{word}` is the strategy already: there can be only one"),
                )
                .help(format!("remove `{word}` or `{}`", other.key));
        }
    }
    let fields = Fields::new(node, PATH);
    let (strategy, bakes) = match word {
        "recreate" => recreate(&fields.child(word)),
        "rolling" => rolling(&fields.child(word), report),
        "canary" => canary(&fields.child(word), report),
        _ => blue_green(&fields.child("blue_green"), report),
    };
    StrategyDraft { strategy, bakes, span }
}

/// The strategy of a component that insists on its port.
pub(super) fn recreate_by_default() -> StrategyDraft {
    let (strategy, bakes) = recreate(&Fields::new(None, format!("{PATH}.recreate")));
    StrategyDraft { strategy, bakes, span: None }
}

fn bake(fields: &Fields<'_>, what: &str) -> Bake {
    Bake { what: what.to_owned(), length: fields.value("bake"), span: fields.span("bake") }
}

fn recreate(fields: &Fields<'_>) -> (Strategy, Vec<Bake>) {
    let bake = bake(fields, "the time after the start");
    let strategy = Strategy::Recreate { bake: bake.length };
    (strategy, vec![bake])
}

fn rolling(fields: &Fields<'_>, report: &mut Report<'_>) -> (Strategy, Vec<Bake>) {
    let bake = bake(fields, "the time after the last instances");
    let max_surge: u32 = fields.value("max_surge");
    let max_unavailable: u32 = fields.value("max_unavailable");
    if max_surge == 0
        && max_unavailable == 0
        && let Some(span) = fields.span("max_surge")
        && !report.is_faulty(span)
    {
        report
            .error(
                "rolling-stuck",
                span,
                "`max_surge` and `max_unavailable` are both 0, so no instance could be replaced",
            )
            .help("write `max_surge: 1` to start the new before the old ends, or `max_unavailable: 1` for the other way round");
    }
    let strategy = Strategy::Rolling { max_surge, max_unavailable, bake: bake.length };
    (strategy, vec![bake])
}

fn blue_green(fields: &Fields<'_>, report: &mut Report<'_>) -> (Strategy, Vec<Bake>) {
    let after = bake(fields, "the time after the switch");
    let keep = keep(fields, report);
    let mut bakes = Vec::new();
    let canary = fields.node("canary").map(|node| {
        let child = fields.child("canary");
        let share: Share =
            fields.given("canary").or_else(|| child.given("share")).unwrap_or(Share::percent(1));
        if share == Share::NONE || share == Share::ALL {
            report
                .error(
                    "bad-steps",
                    child.span("share").unwrap_or(node.span),
                    format!("a share of {share} is no canary"),
                )
                .help("write a share between, such as `10%`, or leave `canary` out");
        }
        let bake = child.given("bake").unwrap_or(after.length);
        bakes.push(Bake {
            what: "the canary before the switch".to_owned(),
            length: bake,
            span: child.span("bake").or(after.span),
        });
        StrategyStep { share, bake }
    });
    let strategy = Strategy::BlueGreen { canary, bake: after.length, keep };
    bakes.push(after);
    (strategy, bakes)
}

fn canary(fields: &Fields<'_>, report: &mut Report<'_>) -> (Strategy, Vec<Bake>) {
    let common = bake(fields, "");
    let keep = keep(fields, report);
    let mut steps = Vec::new();
    let mut bakes = Vec::new();
    if let Some(items) = fields.items("steps") {
        for (index, item) in items.iter().enumerate() {
            let step = Fields::new(Some(item), format!("{PATH}.canary.steps.*"));
            let share = item
                .scalar()
                .and_then(|scalar| scalar.text.parse().ok())
                .or_else(|| step.given("share"));
            let length = step.given("bake").unwrap_or(common.length);
            bakes.push(Bake {
                what: format!("step {}", index + 1),
                length,
                span: step.span("bake").or(common.span),
            });
            if let Some(share) = share {
                steps.push((StrategyStep { share, bake: length }, item.span));
            }
        }
        let span = fields.span("steps").filter(|span| !report.is_faulty(*span));
        if let Some(span) = span {
            check_steps(&steps, span, report);
        }
    } else {
        let list: String = fields.default("steps").unwrap_or_default();
        let shares = list.trim_matches(['[', ']']).split(", ").filter_map(|text| text.parse().ok());
        for (index, share) in shares.enumerate() {
            let step = StrategyStep { share, bake: common.length };
            steps.push((step, Span { start: 0, end: 0 }));
            bakes.push(Bake {
                what: format!("step {}", index + 1),
                length: common.length,
                span: common.span,
            });
        }
    }
    let steps = steps.into_iter().map(|(step, _)| step).collect();
    (Strategy::Canary { steps, keep }, bakes)
}

fn check_steps(steps: &[(StrategyStep, Span)], list: Span, report: &mut Report<'_>) {
    let Some((final_step, end)) = steps.last() else {
        report
            .error("bad-steps", list, "a canary has at least one step")
            .help("write for example `steps: [10%, 50%, 100%]`");
        return;
    };
    let mut previous: Option<Share> = None;
    for (step, span) in steps {
        if step.share == Share::NONE {
            report
                .error("bad-steps", *span, "a step of 0% shows the new to nobody")
                .help("start with a small share such as `1%`");
        } else if let Some(previous) = previous
            && step.share <= previous
        {
            report
                .error(
                    "bad-steps",
                    *span,
                    format!("steps grow, but {} comes after {previous}", step.share),
                )
                .help("remove this step, or put the shares in order");
        }
        previous = Some(step.share);
    }
    if final_step.share != Share::ALL && !report.is_faulty(list) {
        report
            .error(
                "bad-steps",
                *end,
                format!(
                    "the last step is {}, so the deployment would never be done",
                    final_step.share
                ),
            )
            .help("add `100%` as the last step");
    }
}

fn keep(fields: &Fields<'_>, report: &mut Report<'_>) -> Duration {
    let keep: Duration = fields.value("keep");
    if keep.is_zero()
        && let Some(span) = fields.span("keep")
        && !report.is_faulty(span)
    {
        report
            .warning(
                "cold-rollback",
                span,
                "with `keep: 0s` the old is stopped at once, and going back has to start it again",
            )
            .help("write for example `keep: 15m`, and going back takes one switch");
    }
    keep
}
