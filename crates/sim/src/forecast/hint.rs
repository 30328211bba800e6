//! What would make the plan better, found by trying it.

use serde::Serialize;
use tidegate_types::{Condition, Share, Step};

use super::{
    Error, Fault, FaultForecast, Forecast, Question,
    change::{Change, changes},
    subject::Subject,
    work::simulate,
};

/// Something that the plan is often wrong about, and what would help.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hint {
    /// With this fault.
    pub fault: Fault,
    /// The share of runs in which the plan does what is right: goes back, or lets a healthy version
    /// through.
    pub right: f64,
    /// What would help most cheaply; none when nothing that was tried does.
    pub change: Option<Better>,
    /// Why nothing helps, or what is behind it, as a sentence without a full stop.
    pub why: Option<String>,
}

/// A change and what it brings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Better {
    /// Of the manifest.
    pub what: String,
    /// The share of runs in which the plan does what is right then.
    pub right: f64,
    /// The share of healthy versions that get through now …
    pub healthy_before: f64,
    /// … and then.
    pub healthy_after: f64,
    /// How long a healthy deployment takes now, in the median …
    pub duration_before_ms: Option<u64>,
    /// … and then.
    pub duration_after_ms: Option<u64>,
}

/// The plan is right about a fault when it goes back this often …
const OFTEN: f64 = 0.9;
/// … and about a healthy version when it lets it through this often.
const HEALTHY: f64 = 0.98;
/// What changes less is no help.
const CLEARLY: f64 = 0.15;
/// A change may cost so many healthy versions.
const PRICE: f64 = 0.01;
/// Changes are tried with so few runs before the best is run as often as the rest.
const TRIED: u32 = 60;
/// Nobody reads more.
const MOST: usize = 2;
/// A slow answer is not as bad as none.
const SLOW: f64 = 0.1;

fn right(found: &FaultForecast) -> f64 {
    if found.fault.is_bad() {
        found.went_back
    } else {
        found.outcomes.share(found.outcomes.succeeded)
    }
}

/// What would help with the worst of what the plan is often wrong about.
pub fn hints(question: &Question, forecast: &Forecast) -> Result<Vec<Hint>, Error> {
    let mut wrong: Vec<&FaultForecast> = forecast
        .faults
        .iter()
        .filter(|found| found.fault.is_bad() && right(found) < OFTEN)
        .collect();
    let weight = |found: &FaultForecast| {
        let harm = found.harmed_per_hour_after.unwrap_or(0.0);
        (1.0 - right(found)) * harm * if found.fault.slows() { SLOW } else { 1.0 }
    };
    wrong.sort_by(|left, right| weight(right).total_cmp(&weight(left)));
    wrong.truncate(MOST);
    let Some(healthy) = forecast.faults.iter().find(|found| found.fault == Fault::Healthy) else {
        return Ok(Vec::new());
    };
    // A plan that a healthy version does not get through is mended first: no other change is worth
    // anything before.
    if right(healthy) < HEALTHY {
        wrong = vec![healthy];
    }
    let mut hints = Vec::new();
    for found in wrong {
        let change = best(question, forecast, found, healthy)?;
        let why = match &change {
            None => Some(why(forecast, found)),
            Some(_) if found.outcomes.held > 0 => lacking(forecast),
            Some(_) => None,
        };
        hints.push(Hint { fault: found.fault, right: right(found), change, why });
    }
    let incident = forecast.faults.iter().find(|found| found.fault == Fault::IncidentBoth);
    if let Some(found) = incident.filter(|found| found.went_back > 1.0 - OFTEN) {
        hints.push(Hint {
            fault: found.fault,
            right: 1.0 - found.went_back,
            change: None,
            why: Some(
                "a fixed limit cannot tell the new version's failures from everybody's".to_owned(),
            ),
        });
    }
    Ok(hints)
}

/// The cheapest change that makes the plan right often, or else the one that helps most.
fn best(
    question: &Question,
    forecast: &Forecast,
    found: &FaultForecast,
    healthy: &FaultForecast,
) -> Result<Option<Better>, Error> {
    let goal = if found.fault.is_bad() { OFTEN } else { HEALTHY };
    let mut tried: Vec<(u64, Change, Subject)> = Vec::new();
    for change in changes(question, found.fault)? {
        let asked = Question { manifest: change.manifest.clone(), ..question.clone() };
        let subject = Subject::new(&asked)?;
        tried.push((subject.pace.watched, change, subject));
    }
    tried.sort_by_key(|(watched, ..)| *watched);
    let mut second: Option<(f64, &Change, &Subject)> = None;
    for (_, change, subject) in &tried {
        let now = simulate_one(subject, found.fault, question.runs.min(TRIED));
        let gain = right(&now) - right(found);
        // Of healthy versions nearly all get through before, so that a little is much.
        if gain < if found.fault.is_bad() { CLEARLY } else { PRICE } {
            continue;
        }
        if right(&now) >= goal {
            if let Some(better) = confirm(forecast, found, healthy, change, subject) {
                return Ok(Some(better));
            }
        } else if second.as_ref().is_none_or(|(best, ..)| right(&now) > *best) {
            second = Some((right(&now), change, subject));
        }
    }
    Ok(second.and_then(|(_, change, subject)| confirm(forecast, found, healthy, change, subject)))
}

fn simulate_one(subject: &Subject, fault: Fault, runs: u32) -> FaultForecast {
    let mut found = simulate(subject, &[fault], runs);
    found.pop().unwrap_or_else(|| FaultForecast::of(fault, &[]))
}

/// Runs it as often as the rest, and looks at what it costs those who are healthy.
fn confirm(
    forecast: &Forecast,
    found: &FaultForecast,
    healthy: &FaultForecast,
    change: &Change,
    subject: &Subject,
) -> Option<Better> {
    let then = simulate_one(subject, Fault::Healthy, forecast.runs);
    if right(&then) < right(healthy) - PRICE {
        return None;
    }
    let now = if found.fault == Fault::Healthy {
        right(&then)
    } else {
        right(&simulate_one(subject, found.fault, forecast.runs))
    };
    Some(Better {
        what: change.what.clone(),
        right: now,
        healthy_before: right(healthy),
        healthy_after: right(&then),
        duration_before_ms: healthy.duration_ms.map(|duration| duration.median),
        duration_after_ms: then.duration_ms.map(|duration| duration.median),
    })
}

/// Why nothing that was tried helps.
fn why(forecast: &Forecast, found: &FaultForecast) -> String {
    let rollout =
        forecast.plan.rollouts.iter().find(|rollout| rollout.component == forecast.component);
    let Some(rollout) = rollout else { return "it is no part of the plan".to_owned() };
    if rollout.candidate.as_ref().is_some_and(|candidate| candidate.spec.route.is_none()) {
        return "it takes no requests, so that only its checks and exits are seen".to_owned();
    }
    if !rollout.steps.iter().any(|step| matches!(step, Step::Bake { .. })) {
        return "the plan watches for no time at all: it has no bake".to_owned();
    }
    if found.fault == Fault::Leak20m {
        return "the plan is through before it shows".to_owned();
    }
    let nothing = "none of the changes that were tried helps";
    match lacking(forecast) {
        Some(lacking) if found.outcomes.held > 0 => format!("{nothing}: {lacking}"),
        _ => nothing.to_owned(),
    }
}

/// How few requests a guard of the component gets to judge by at the first step.
fn lacking(forecast: &Forecast) -> Option<String> {
    let mut rollouts = forecast.plan.rollouts.iter();
    let rollout = rollouts.find(|rollout| rollout.component == forecast.component)?;
    let share = rollout.steps.iter().find_map(|step| match step {
        Step::Shift { share } if *share > Share::NONE => Some(*share),
        _ => None,
    })?;
    let few = |condition: &Condition| {
        let (Condition::ErrorRate { window, min_requests, .. }
        | Condition::Latency { window, min_requests, .. }) = condition
        else {
            return None;
        };
        #[expect(clippy::cast_precision_loss, reason = "numbers that people write")]
        let (seconds, asked) = (window.as_millis() as f64 / 1_000.0, *min_requests as f64);
        let requests = forecast.rate.per_second() * share.fraction() * seconds;
        (requests < asked).then(|| {
            format!(
                "at {} the first step's {share} brings about {requests:.0} requests in {window}, \
                 and a guard asks for {min_requests}",
                forecast.rate
            )
        })
    };
    rollout.guards.iter().find_map(|guard| few(&guard.condition))
}
