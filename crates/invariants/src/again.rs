//! What must not change when a transition is repeated.

use tidegate_core::{Command, Decision, Environment, Input, Rejected, Seen, step};
use tidegate_types::Timestamp;

use crate::{Breach, Breaches};

/// Repeats a transition in three ways: as it was (22), with the same word once more (12), and with
/// another look at what was seen already (21). Costs three transitions more.
#[must_use]
pub fn again(
    before: &Environment,
    input: &Input,
    seen: &Seen,
    now: Timestamp,
    result: &Result<Decision, Rejected>,
) -> Vec<Breach> {
    let mut breaches = Breaches::default();
    breaches.check(22, step(before, input, seen, now) == *result, || {
        format!("the same {} gives another decision", name(input))
    });
    let Ok(decision) = result else { return breaches.0 };
    let after = &decision.environment;
    let unchanged = |repeated: &Result<Decision, Rejected>| match repeated {
        Ok(repeated) => repeated.environment == *after && repeated.events.is_empty(),
        Err(_) => true,
    };
    // Without its place, a second word to skip is a word for the step after.
    let skips = matches!(input, Input::Command { command: Command::Skip, place: None, .. });
    if !skips {
        let repeated = step(after, input, seen, now);
        breaches.check(12, unchanged(&repeated), || {
            format!("{} twice is not {} once: {}", name(input), name(input), told(&repeated))
        });
    }
    let looked = step(after, &Input::Look, seen, now);
    breaches.check(21, looked.is_ok() && unchanged(&looked), || {
        format!("another look at the same changes something: {}", told(&looked))
    });
    breaches.0
}

fn told(result: &Result<Decision, Rejected>) -> String {
    match result {
        Ok(decision) => format!("{:?}", decision.events),
        Err(rejected) => rejected.to_string(),
    }
}

fn name(input: &Input) -> &'static str {
    match input {
        Input::Look => "look",
        Input::Request { .. } => "request",
        Input::Prepared(_) => "plan",
        Input::NotPrepared { .. } => "failed preparation",
        Input::Maintain { .. } => "maintenance",
        Input::Command { command, .. } => match command {
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Skip => "skip",
            Command::Abort => "abort",
        },
    }
}
