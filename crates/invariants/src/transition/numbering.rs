//! The numbers of tables and lists: 19.

use tidegate_core::Event;

use super::Case;
use crate::Breaches;

pub(super) fn check(case: &Case<'_>, breaches: &mut Breaches) {
    epochs(case, breaches);
    generations(case, breaches);
}

fn epochs(case: &Case<'_>, breaches: &mut Breaches) {
    let (before, after) = (case.before.epoch, case.after.epoch);
    breaches.check(19, after >= before, || format!("the epoch fell from {before} to {after}"));
    if before == after {
        let (old, new) = (case.before.route_table(), case.after.route_table());
        breaches.check(19, after.0 == 0 || old == new, || {
            format!("two tables have epoch {after}: {:?} and {:?}", old.routes, new.routes)
        });
    }
    let ahead = case.seen.observation.routes.epoch.filter(|ahead| *ahead > before && before.0 > 0);
    if let Some(ahead) = ahead {
        breaches.check(19, after > ahead, || {
            format!("the data plane is at {ahead}, and epoch {after} is not newer")
        });
    }
    let next = ahead.unwrap_or(before).next();
    breaches.check(19, after <= next, || format!("epoch {before} was followed by {after}"));
    let caught_up = case.events.iter().any(|event| matches!(event, Event::CaughtUp { .. }));
    breaches.check(27, caught_up == ahead.is_some(), || {
        format!("the data plane is at {ahead:?}, and the journal says that it is: {caught_up}")
    });
}

fn generations(case: &Case<'_>, breaches: &mut Breaches) {
    let (before, after) = (case.before.generation, case.after.generation);
    breaches.check(19, after >= before, || format!("the generation fell from {before} to {after}"));
    if before == after {
        breaches.check(19, case.before.revisions == case.after.revisions, || {
            format!("two lists of revisions have generation {after}")
        });
    }
    if let Some(ahead) = case.seen.observation.generation.filter(|ahead| *ahead > before) {
        breaches.check(19, after > ahead, || {
            format!("the target is at {ahead}, and generation {after} is not newer")
        });
    }
}
