//! Generated scenarios, as many as fit into a test. `make sim` lives a million.

use tidegate_trials::{generate, trouble};

const SCENARIOS: u64 = 3_000;

#[test]
fn whatever_happens_the_invariants_hold() {
    let failed: Vec<_> = (0..SCENARIOS)
        .filter_map(|number| trouble(&generate(number)).map(|trouble| (number, trouble)))
        .take(5)
        .collect();
    assert!(failed.is_empty(), "`make sim` makes them small: {failed:#?}");
}
