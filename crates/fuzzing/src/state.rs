//! The stored state of an environment, and everything that can happen to it.

mod invented;

use serde::{Serialize, de::DeserializeOwned};
use tidegate_core::{Environment, step, waiting};

use crate::choices::Choices;

/// So many inputs follow one another.
const MOST_INPUTS: usize = 12;

pub(crate) fn hold(bytes: &[u8]) {
    let (environment, choices) = if bytes.first() == Some(&b'{') {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Environment>();
        let Some(Ok(environment)) = values.next() else { return };
        (environment, Choices::new(&bytes[values.byte_offset()..]))
    } else {
        let mut choices = Choices::new(bytes);
        (invented::environment(&mut choices), choices)
    };
    follow(environment, choices);
}

fn follow(mut environment: Environment, mut choices: Choices<'_>) {
    kept(&environment);
    for _ in 0..MOST_INPUTS {
        let input = invented::input(&mut choices);
        let seen = invented::seen(&mut choices);
        let now = invented::timestamp(&mut choices);
        read(&environment, &seen);
        let decision = step(&environment, &input, &seen, now);
        assert_eq!(decision, step(&environment, &input, &seen, now), "the same gives the same");
        match decision {
            Ok(decision) => {
                kept(&decision.environment);
                decision.events.iter().for_each(kept);
                environment = decision.environment;
            }
            Err(rejected) => assert!(!rejected.to_string().is_empty()),
        }
        if choices.are_over() {
            break;
        }
    }
}

/// Everything that is asked of a state can be asked of any.
fn read(environment: &Environment, seen: &tidegate_core::Seen) {
    let _ = waiting(environment, seen);
    let _ = environment.serving_releases();
    let _ = environment.wanted();
    if let Some(deployment) = &environment.deployment {
        let _ = (deployment.begun(), deployment.current());
    }
    for route in environment.route_table().routes {
        for backend in &route.backends {
            let share = environment.share(&route.component, &backend.revision);
            assert!(share.hundredths() <= 10_000, "{share}");
        }
    }
}

/// What is stored is the same when it is read.
pub(crate) fn kept<T>(value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let stored = serde_json::to_vec(value).expect("it can be stored");
    let read: T = serde_json::from_slice(&stored).expect("what was stored can be read");
    assert_eq!(&read, value, "it is another one after it was stored");
    let again = serde_json::to_vec(&read).expect("it can be stored again");
    assert_eq!(again, stored, "it is stored in another way");
}

#[cfg(test)]
mod tests {
    use tidegate_types::{Condition, Duration};

    use super::*;

    /// Found by fuzzing: read back from a store, the limit of a guard was its neighbour.
    #[test]
    fn a_fraction_of_many_digits_is_kept() {
        for above in [1.0 / 3.0, 0.1 + 0.2, 1.07 / 100.0, 97.0 / 114.0] {
            let window = Duration::ZERO;
            kept(&Condition::ErrorRate { above, window, min_requests: 0 });
        }
    }
}
