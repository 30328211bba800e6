//! Words of people: 12, 13, 20.

use tidegate_core::{Command, Environment, Event, Input, Rejected, Stage};
use tidegate_types::Share;

use super::{Case, going_back, rolling};
use crate::Breaches;

/// Whether what was refused had to be, and what had to be refused was.
pub(super) fn check(
    before: &Environment,
    input: &Input,
    rejected: Option<&Rejected>,
    breaches: &mut Breaches,
) {
    let running = before.deployment.as_ref();
    match input {
        Input::Look | Input::Prepared(_) | Input::NotPrepared { .. } | Input::Maintain { .. } => {
            breaches.check(12, rejected.is_none(), || {
                format!("what can always be said was refused: {rejected:?}")
            });
        }
        Input::Request { deployment, .. } => {
            let busy = running.is_some_and(|running| running.id != *deployment);
            let refused = matches!(rejected, Some(Rejected::Busy { .. }));
            breaches.check(20, refused == busy, || {
                format!("a request while {running:?} is under way: {rejected:?}")
            });
        }
        Input::Command { command, deployment, place, .. } => {
            let Some(running) = running else {
                let idle = matches!(rejected, Some(Rejected::Idle { .. }));
                breaches.check(13, idle, || format!("{command:?} of nothing: {rejected:?}"));
                return;
            };
            let stale = deployment.is_some_and(|meant| meant != running.id);
            let told_stale = matches!(rejected, Some(Rejected::Stale { .. }));
            breaches.check(12, stale == told_stale, || {
                format!("{command:?} of {deployment:?} in {}: {rejected:?}", running.id)
            });
            let passed = rolling(before)
                .is_some_and(|(_, position)| place.is_some_and(|meant| meant != position.place()));
            let told_passed = matches!(rejected, Some(Rejected::Passed { .. }));
            breaches.check(12, stale || passed == told_passed, || {
                format!("{command:?} at {place:?} in {:?}: {rejected:?}", running.stage)
            });
            let abort = *command == Command::Abort && !stale && !passed;
            breaches.check(11, !abort || rejected.is_none(), || {
                format!("an abort was refused: {rejected:?}")
            });
        }
    }
}

/// What a word that was taken did.
pub(super) fn check_taken(case: &Case<'_>, breaches: &mut Breaches) {
    match (&case.before.deployment, &case.after.deployment) {
        (Some(before), Some(after)) => breaches.check(20, before.id == after.id, || {
            format!("deployment {} became {}", before.id, after.id)
        }),
        (None, Some(after)) => {
            let asked = matches!(case.input, Input::Request { deployment, .. }
                if *deployment == after.id);
            breaches.check(15, asked, || format!("nobody asked for deployment {}", after.id));
        }
        (Some(before), None) => {
            let latest = case.after.latest.as_ref().map(|latest| latest.deployment);
            breaches.check(20, latest == Some(before.id), || {
                format!("deployment {} is gone, and the latest is {latest:?}", before.id)
            });
        }
        (None, None) => {}
    }
    if let Input::Request { deployment, .. } = case.input {
        let over = case.before.latest.as_ref().map(|latest| latest.deployment);
        let again = case.before.deployment.is_none() && over == Some(*deployment);
        breaches.check(16, !again || case.after.deployment.is_none(), || {
            format!("deployment {deployment} is over, and its request began it again")
        });
    }
    let Input::Command { command: Command::Abort, .. } = case.input else {
        return;
    };
    let began = case.before.deployment.as_ref().map(|deployment| &deployment.stage);
    breaches.check(11, case.after.deployment.is_none() || going_back(case.after), || {
        "an abort was taken, and the deployment goes on".to_owned()
    });
    if began == Some(&Stage::Preparing) {
        let traffic = |environment: &'_ Environment| {
            let components = environment.components.iter();
            components
                .map(|(name, one)| (name.clone(), one.serving.clone(), one.shares.clone()))
                .collect::<Vec<_>>()
        };
        breaches.check(13, traffic(case.after) == traffic(case.before), || {
            "an abort while preparing changed what runs".to_owned()
        });
    }
    let stuck = |component: &_| {
        let could_not = |event: &Event| matches!(event, Event::CouldNotGoBack { component: named, .. } if named == component);
        case.events.iter().any(could_not)
    };
    for rollout in case.rollouts() {
        let Some(stable) = &rollout.stable else { continue };
        if stuck(&rollout.component) || case.ended() {
            continue;
        }
        let before = case.before.share(&rollout.component, stable);
        let after = case.after.share(&rollout.component, stable);
        let kept = case.after.revisions.contains_key(stable);
        let emptied = rollout.exclusive && after == Share::NONE;
        breaches.check(13, kept && (after >= before || emptied), || {
            format!("an abort took {stable} from {before} to {after}")
        });
    }
}
