//! Waking up: 17, 18.

use tidegate_core::{Stage, waiting};
use tidegate_types::Step;

use super::Case;
use crate::Breaches;

pub(super) fn check(case: &Case<'_>, breaches: &mut Breaches) {
    breaches.check(17, case.wake_at.is_none_or(|wake_at| wake_at > case.now), || {
        format!("it wakes at {:?}, and it is {:?}", case.wake_at, case.now)
    });
    let wakes_by = |due: tidegate_types::Timestamp| {
        due <= case.now || case.wake_at.is_some_and(|wake_at| wake_at <= due)
    };
    let Some(deployment) = &case.after.deployment else {
        let warm = case.after.components.values().filter_map(|component| component.warm.as_ref());
        for warm in warm {
            breaches.check(17, wakes_by(warm.until), || {
                format!("{} is warm until {:?}, and nobody wakes then", warm.revision, warm.until)
            });
        }
        return;
    };
    if let Some(pause) = &deployment.pause {
        breaches.check(18, pause.since <= case.now, || "a pause begins later".to_owned());
        return;
    }
    let waits = waiting(case.after, case.seen);
    breaches.check(17, case.wake_at.is_some() || waits.is_some(), || {
        format!("it waits for nothing at {:?}", deployment.stage)
    });
    let Stage::Rolling(position) = &deployment.stage else { return };
    breaches.check(18, position.since <= case.now, || {
        format!("step {:?} begins in the future", position.place())
    });
    let entered = position.entered && !position.held;
    if let Some((_, Step::Bake { time })) = deployment.current().filter(|_| entered) {
        let due = position.since.after(time);
        breaches.check(17, wakes_by(due), || {
            format!("the bake is over at {due:?}, and it wakes at {:?}", case.wake_at)
        });
    }
}
