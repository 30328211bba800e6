//! Small changes of a manifest that may help.

use tidegate_manifest::{Component, Environment, Manifest, Strategy, StrategyStep};
use tidegate_types::{Condition, Duration, Guard, Quantile, Share};

use super::{Error, Fault, Question};

/// A manifest with one thing changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// As in `error_rate > 1% for 3s` in place of `error_rate > 5% for 3s`.
    pub(crate) what: String,
    pub(crate) manifest: Manifest,
}

/// What could make the plan right about `fault` more often: what costs no time first.
pub(crate) fn changes(question: &Question, fault: Fault) -> Result<Vec<Change>, Error> {
    let edit = Edit { question, component: question.component()? };
    let mut found = Vec::new();
    if edit.environment().is_none() {
        return Ok(found);
    }
    match fault {
        Fault::Healthy => {
            edit.looser(&mut found);
            edit.with_less_evidence(&mut found);
            edit.longer_windows(&[2, 4], &mut found);
        }
        Fault::IncidentBoth | Fault::NeverReady => {}
        Fault::CrashLoop => {
            edit.fewer_restarts(&mut found);
            edit.longer_bakes(&mut found);
        }
        Fault::Leak20m => {
            edit.long_last_bake(Duration::from_mins(30), &mut found);
            edit.new_guard(fault, &mut found);
        }
        Fault::Errors50 | Fault::Errors8 | Fault::Errors2 | Fault::P95Doubled => {
            edit.stricter(fault, &mut found);
            edit.new_guard(fault, &mut found);
            edit.with_less_evidence(&mut found);
            edit.larger_first_step(&mut found);
            edit.longer_bakes(&mut found);
            edit.one_more_step(&mut found);
            edit.longer_windows(&[2, 4], &mut found);
            edit.stricter_and_longer(fault, &mut found);
        }
    }
    found.retain(|change| fits(&change.manifest, question));
    Ok(found)
}

struct Edit<'a> {
    question: &'a Question,
    component: &'a Component,
}

impl Edit<'_> {
    fn environment(&self) -> Option<&Environment> {
        environment(&self.question.manifest, self.question)
    }

    fn guards(&self) -> &[Guard] {
        self.environment().map_or(&[], |environment| &environment.rollback.when)
    }

    fn strategy(&self) -> Option<&Strategy> {
        self.component.strategy.as_ref().or(self.environment().map(|found| &found.strategy))
    }

    fn change(&self, what: String, edit: impl FnOnce(&mut Environment, &mut Component)) -> Change {
        let mut manifest = self.question.manifest.clone();
        let mut environments = manifest.environments.iter_mut();
        let environment =
            environments.find(|environment| environment.name == self.question.environment);
        let mut components = manifest.components.iter_mut();
        let component = components.find(|component| component.name == self.component.name);
        if let (Some(environment), Some(component)) = (environment, component) {
            edit(environment, component);
        }
        Change { what, manifest }
    }

    fn with_guard(&self, index: usize, condition: Condition) -> Change {
        let before = &self.guards()[index];
        let what = format!("`{}` in place of `{}`", text(&condition), text(&before.condition));
        self.change(what, |environment, _| environment.rollback.when[index] = guard(condition))
    }

    fn with_strategy(&self, what: String, strategy: Strategy) -> Change {
        self.change(what, |environment, component| match &mut component.strategy {
            Some(own) => *own = strategy,
            None => environment.strategy = strategy,
        })
    }

    fn each_guard(&self, of: impl Fn(&Condition) -> Option<Condition>, found: &mut Vec<Change>) {
        for (index, guard) in self.guards().iter().enumerate() {
            if let Some(condition) = of(&guard.condition).filter(|new| *new != guard.condition) {
                found.push(self.with_guard(index, condition));
            }
        }
    }

    /// Lower limits, and never so low that the usual would breach them.
    fn stricter(&self, fault: Fault, found: &mut Vec<Change>) {
        for part in [0.5, 0.2] {
            self.each_guard(|condition| self.stricter_by(condition, fault, part), found);
        }
    }

    fn stricter_by(&self, condition: &Condition, fault: Fault, part: f64) -> Option<Condition> {
        match condition.clone() {
            Condition::ErrorRate { above, window, min_requests } if !fault.slows() => {
                let above = nice(above * part);
                (above > self.question.errors * 2.0 && above >= 0.001)
                    .then_some(Condition::ErrorRate { above, window, min_requests })
            }
            Condition::Latency { quantile: Quantile::P95, above, window, min_requests }
                if fault.slows() =>
            {
                let wanted = self.question.p95.as_millis() * if part > 0.4 { 15 } else { 13 } / 10;
                let wanted = Duration::from_millis(round_up(wanted));
                (wanted < above).then_some(Condition::Latency {
                    quantile: Quantile::P95,
                    above: wanted,
                    window,
                    min_requests,
                })
            }
            _ => None,
        }
    }

    fn looser(&self, found: &mut Vec<Change>) {
        for factor in [2_u32, 4] {
            self.each_guard(
                |condition| match condition.clone() {
                    Condition::ErrorRate { above, window, min_requests } => {
                        let above = nice(above * f64::from(factor));
                        (above < 0.5).then_some(Condition::ErrorRate {
                            above,
                            window,
                            min_requests,
                        })
                    }
                    Condition::Latency { quantile, above, window, min_requests } => {
                        let above = Duration::from_millis(round_up(
                            above.as_millis() * (2 + u64::from(factor)) / 3,
                        ));
                        Some(Condition::Latency { quantile, above, window, min_requests })
                    }
                    _ => None,
                },
                found,
            );
        }
    }

    /// Fewer requests, for all guards at once: a bake waits for the one that asks for most.
    fn with_less_evidence(&self, found: &mut Vec<Change>) {
        let asked = self.guards().iter().filter_map(|guard| min_requests(&guard.condition));
        let most = asked.max().unwrap_or(0);
        for least in [most / 2, most / 5, 5] {
            if least < 5 || least >= most {
                continue;
            }
            let what = format!("`min_requests: {least}` in place of {most}");
            found.push(self.change(what, |environment, _| {
                for guard in &mut environment.rollback.when {
                    lower_min_requests(&mut guard.condition, least);
                }
            }));
        }
    }

    fn longer_windows(&self, factors: &[u64], found: &mut Vec<Change>) {
        for factor in factors {
            for (index, guard) in self.guards().iter().enumerate() {
                if let Some(window) = guard.condition.window() {
                    let length = Duration::from_millis(window.as_millis() * factor);
                    found.extend(self.with_window(index, &guard.condition, length));
                }
            }
        }
    }

    /// A lower limit strays less into alarm when it looks back longer.
    fn stricter_and_longer(&self, fault: Fault, found: &mut Vec<Change>) {
        for (part, factor) in [(0.5, 4), (0.2, 10)] {
            for (index, guard) in self.guards().iter().enumerate() {
                if let Some(condition) = self.stricter_by(&guard.condition, fault, part)
                    && let Some(window) = condition.window()
                {
                    let length = Duration::from_millis(window.as_millis() * factor);
                    found.extend(self.with_window(index, &condition, length));
                }
            }
        }
    }

    /// A guard that looks back longer, and bakes that last as long.
    fn with_window(&self, index: usize, condition: &Condition, length: Duration) -> Option<Change> {
        let longer = match condition.clone() {
            Condition::ErrorRate { above, min_requests, .. } => {
                Condition::ErrorRate { above, window: length, min_requests }
            }
            Condition::Latency { quantile, above, min_requests, .. } => {
                Condition::Latency { quantile, above, window: length, min_requests }
            }
            Condition::HealthCheckFailures { .. } | Condition::Restarts { .. } => return None,
        };
        let short = self
            .strategies()
            .any(|strategy| bakes(strategy).iter().any(|bake| !bake.is_zero() && *bake < length));
        let mut change = self.with_guard(index, longer);
        if short {
            change.what = format!("{} and bakes of at least {length}", change.what);
            let at_least = |bake: Duration| if bake.is_zero() { bake } else { bake.max(length) };
            for strategy in strategies_mut(&mut change.manifest, self.question) {
                *strategy = with_bakes(strategy, at_least);
            }
        }
        Some(change)
    }

    /// The strategies that move requests in this environment.
    fn strategies(&self) -> impl Iterator<Item = &Strategy> {
        let environment = self.environment().map(|environment| &environment.strategy);
        self.question
            .manifest
            .components
            .iter()
            .filter(|component| component.route.is_some())
            .filter_map(move |component| component.strategy.as_ref().or(environment))
    }

    fn new_guard(&self, fault: Fault, found: &mut Vec<Change>) {
        let latency = fault.slows();
        let has_one = self.guards().iter().any(|guard| match guard.condition {
            Condition::ErrorRate { .. } => !latency,
            Condition::Latency { .. } => latency,
            _ => false,
        });
        let shortest = self
            .strategies()
            .flat_map(bakes)
            .filter(|bake| !bake.is_zero())
            .min()
            .unwrap_or_default();
        if has_one || shortest.is_zero() {
            return;
        }
        let window = shortest.min(Duration::from_mins(1));
        for min_requests in [50, 20] {
            let condition = if latency {
                let above = Duration::from_millis(round_up(self.question.p95.as_millis() * 3 / 2));
                Condition::Latency { quantile: Quantile::P95, above, window, min_requests }
            } else {
                let above = nice((self.question.errors * 5.0).clamp(0.01, 0.4));
                Condition::ErrorRate { above, window, min_requests }
            };
            let least = match min_requests {
                50 => String::new(),
                least => format!(" with `min_requests: {least}`"),
            };
            let what = format!("a guard `{}`{least}", text(&condition));
            found.push(self.change(what, |environment, _| {
                environment.rollback.when.push(guard(condition));
            }));
        }
    }

    fn fewer_restarts(&self, found: &mut Vec<Change>) {
        self.each_guard(
            |condition| match condition {
                Condition::Restarts { at_least } if *at_least > 3 => {
                    Some(Condition::Restarts { at_least: 3 })
                }
                Condition::Restarts { at_least } if *at_least > 1 => {
                    Some(Condition::Restarts { at_least: at_least - 1 })
                }
                _ => None,
            },
            found,
        );
    }

    fn longer_bakes(&self, found: &mut Vec<Change>) {
        let Some(strategy) = self.strategy() else { return };
        let before = bakes(strategy);
        let Some(first) = before.iter().find(|bake| !bake.is_zero()) else {
            let minute = Duration::from_mins(1);
            let what = format!("bakes of {minute} in place of none");
            found.push(self.with_strategy(what, with_bakes(strategy, |_| minute)));
            return;
        };
        for factor in [2, 5, 10, 30] {
            let longer = |bake: Duration| Duration::from_millis(bake.as_millis() * factor);
            let what = if before.iter().all(|bake| bake == first) {
                format!("`bake: {}` in place of {first}", longer(*first))
            } else {
                format!("bakes {factor} times as long")
            };
            found.push(self.with_strategy(what, with_bakes(strategy, longer)));
        }
    }

    fn long_last_bake(&self, length: Duration, found: &mut Vec<Change>) {
        let Some(strategy) = self.strategy() else { return };
        let Some(last) = bakes(strategy).last().copied().filter(|last| *last < length) else {
            return;
        };
        let mut all = bakes(strategy).len();
        let changed = with_bakes(strategy, |bake| {
            all -= 1;
            if all == 0 { length } else { bake }
        });
        let what = format!("a last bake of {length} in place of {last}");
        found.push(self.with_strategy(what, changed));
    }

    fn larger_first_step(&self, found: &mut Vec<Change>) {
        for percent in [25, 50] {
            let wanted = Share::percent(percent);
            let changed = match self.strategy() {
                Some(Strategy::Canary { steps, keep }) => {
                    let mut steps = steps.clone();
                    let Some(first) = steps.first().copied().filter(|step| step.share < wanted)
                    else {
                        continue;
                    };
                    steps.retain(|step| step.share > wanted);
                    steps.insert(0, StrategyStep { share: wanted, ..first });
                    Some((first.share, Strategy::Canary { steps, keep: *keep }))
                }
                Some(Strategy::BlueGreen { canary: Some(canary), bake, keep })
                    if canary.share < wanted =>
                {
                    let larger = Some(StrategyStep { share: wanted, ..*canary });
                    let strategy = Strategy::BlueGreen { canary: larger, bake: *bake, keep: *keep };
                    Some((canary.share, strategy))
                }
                _ => None,
            };
            if let Some((before, strategy)) = changed {
                let what = format!("a first step of {wanted} in place of {before}");
                found.push(self.with_strategy(what, strategy));
            }
        }
    }

    fn one_more_step(&self, found: &mut Vec<Change>) {
        match self.strategy() {
            Some(Strategy::Canary { steps, keep }) => {
                let small = steps.iter().rev().find(|step| step.share < Share::ALL);
                let Some(before) = small.filter(|step| step.share < Share::percent(50)) else {
                    return;
                };
                let more = StrategyStep { share: Share::percent(50), ..*before };
                let mut steps = steps.clone();
                let at = steps.iter().position(|step| step.share == Share::ALL);
                steps.insert(at.unwrap_or(steps.len()), more);
                let what = format!("one more step of {} for {}", more.share, more.bake);
                found.push(self.with_strategy(what, Strategy::Canary { steps, keep: *keep }));
            }
            Some(Strategy::BlueGreen { canary: None, bake, keep }) => {
                let canary = StrategyStep { share: Share::percent(10), bake: *bake };
                let what = format!("`canary: 10%` for {bake} before the switch");
                let strategy =
                    Strategy::BlueGreen { canary: Some(canary), bake: *bake, keep: *keep };
                found.push(self.with_strategy(what, strategy));
            }
            _ => {}
        }
    }
}

fn environment<'a>(manifest: &'a Manifest, question: &Question) -> Option<&'a Environment> {
    manifest.environments.iter().find(|environment| environment.name == question.environment)
}

fn strategies_mut<'a>(
    manifest: &'a mut Manifest,
    question: &'a Question,
) -> impl Iterator<Item = &'a mut Strategy> {
    let environments = manifest
        .environments
        .iter_mut()
        .filter(|environment| environment.name == question.environment)
        .map(|environment| &mut environment.strategy);
    let components = manifest.components.iter_mut().filter(|component| component.route.is_some());
    components.filter_map(|component| component.strategy.as_mut()).chain(environments)
}

/// Whether `tidegate check` would take it: no guard looks back longer than any bake of a component
/// that takes requests.
fn fits(manifest: &Manifest, question: &Question) -> bool {
    let Some(environment) = environment(manifest, question) else { return false };
    let windows = environment.rollback.when.iter().filter_map(|guard| guard.condition.window());
    let longest = windows.max().unwrap_or_default();
    manifest.components.iter().filter(|component| component.route.is_some()).all(|component| {
        let strategy = component.strategy.as_ref().unwrap_or(&environment.strategy);
        let watched: Vec<Duration> =
            bakes(strategy).into_iter().filter(|bake| !bake.is_zero()).collect();
        longest.is_zero()
            || (!watched.is_empty() && watched.into_iter().all(|bake| bake >= longest))
    })
}

pub(crate) fn bakes(strategy: &Strategy) -> Vec<Duration> {
    match strategy {
        Strategy::Recreate { bake } | Strategy::Rolling { bake, .. } => vec![*bake],
        Strategy::BlueGreen { canary, bake, .. } => {
            canary.iter().map(|step| step.bake).chain([*bake]).collect()
        }
        Strategy::Canary { steps, .. } => steps.iter().map(|step| step.bake).collect(),
    }
}

fn with_bakes(strategy: &Strategy, mut of: impl FnMut(Duration) -> Duration) -> Strategy {
    let mut strategy = strategy.clone();
    match &mut strategy {
        Strategy::Recreate { bake } | Strategy::Rolling { bake, .. } => *bake = of(*bake),
        Strategy::BlueGreen { canary, bake, .. } => {
            if let Some(step) = canary {
                step.bake = of(step.bake);
            }
            *bake = of(*bake);
        }
        Strategy::Canary { steps, .. } => {
            for step in steps {
                step.bake = of(step.bake);
            }
        }
    }
    strategy
}

fn min_requests(condition: &Condition) -> Option<u64> {
    match condition {
        Condition::ErrorRate { min_requests, .. } | Condition::Latency { min_requests, .. } => {
            Some(*min_requests)
        }
        Condition::HealthCheckFailures { .. } | Condition::Restarts { .. } => None,
    }
}

fn lower_min_requests(condition: &mut Condition, least: u64) {
    match condition {
        Condition::ErrorRate { min_requests, .. } | Condition::Latency { min_requests, .. } => {
            *min_requests = least.min(*min_requests);
        }
        Condition::HealthCheckFailures { .. } | Condition::Restarts { .. } => {}
    }
}

fn guard(condition: Condition) -> Guard {
    Guard { text: text(&condition), condition }
}

/// A guard as users write it.
fn text(condition: &Condition) -> String {
    match condition {
        Condition::ErrorRate { above, window, .. } => {
            format!("error_rate > {} for {window}", percent(*above))
        }
        Condition::Latency { quantile, above, window, .. } => {
            format!("{quantile} > {above} for {window}")
        }
        Condition::HealthCheckFailures { at_least } => {
            format!("health_check_failures >= {at_least}")
        }
        Condition::Restarts { at_least } => format!("restarts >= {at_least}"),
    }
}

/// A fraction as a percentage, to a hundredth of a percent as users can write it.
fn percent(fraction: f64) -> String {
    let text = format!("{:.2}", fraction * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The largest of 1, 2, 5, 10, 20, … hundredths of a percent that is not above.
fn nice(fraction: f64) -> f64 {
    let mut found = 0.000_1;
    let mut unit = 0.000_1;
    while unit < 1.0 {
        for digit in [1.0, 2.0, 5.0] {
            if digit * unit <= fraction * (1.0 + 1e-9) {
                found = digit * unit;
            }
        }
        unit *= 10.0;
    }
    found
}

/// Milliseconds with two digits that count, not below.
fn round_up(millis: u64) -> u64 {
    let mut unit = 1;
    while millis / unit >= 100 {
        unit *= 10;
    }
    millis.div_ceil(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_as_people_would_write_them() {
        for (fraction, found) in
            [(0.05, 0.05), (0.025, 0.02), (0.01, 0.01), (0.004, 0.002), (0.000_01, 0.000_1)]
        {
            assert!((nice(fraction) - found).abs() < 1e-12, "{fraction}: {}", nice(fraction));
        }
        assert_eq!([0, 7, 99, 100, 301, 12_345].map(round_up), [0, 7, 99, 100, 310, 13_000]);
        assert_eq!([0.05, 0.001, 0.000_5].map(percent), ["5%", "0.1%", "0.05%"]);
    }
}
