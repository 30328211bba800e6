//! The page about the invariants: what each number means, where it is checked, and the fault that
//! the check was seen to catch.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use tidegate_invariants::{INVARIANTS, Level, Status};

use crate::workspace;

const HEAD: &str = "# What always holds

<!-- Generated from crates/invariants and tests/mutations: `make docs`. -->

Tidegate is held to 27 statements about every deployment, whatever dies, hangs, comes late or comes
twice. Each is a check with a number, made after every event of every test of that level:

- **properties**: the state machine with thousands of random plans and events
- **search**: every state that the state machine can reach in small configurations
- **loop**: the real engine on a paused clock, with faults
- **binary**: the real binary with real processes, killed at every step
- **crate**: tests of the crate that is concerned

The last column is a fault that was put into the code on purpose, and that the check with this
number caught. `make mutations` does it again.

| | What always holds | Checked by | Catches |
|---|---|---|---|
";

/// The text of `docs/invariants.md`.
pub(crate) fn page() -> String {
    let faults = faults();
    let mut page = HEAD.to_owned();
    for invariant in &INVARIANTS {
        let levels: Vec<&str> = invariant.levels.iter().copied().map(Level::name).collect();
        let faults = faults.get(&invariant.number).map_or_else(String::new, |all| all.join("; "));
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            invariant.number,
            invariant.meaning,
            if levels.is_empty() { "nothing yet".to_owned() } else { levels.join(", ") },
            faults
        );
    }
    page.push_str("\nNot all of it is checked, or there:\n\n");
    for invariant in &INVARIANTS {
        let (word, why) = match invariant.status {
            Status::Checked => continue,
            Status::Partly(why) => ("in part", why),
            Status::Ahead(why) => ("ahead of what there is", why),
        };
        let _ = writeln!(page, "- {}, {word}: {why}", invariant.number);
    }
    page
}

/// What was broken, by the number of the invariant.
fn faults() -> BTreeMap<u8, Vec<String>> {
    let file = workspace::root().join("tests/mutations/invariants.toml");
    let text = fs::read_to_string(file).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    let mutations = table.get("mutation").and_then(toml::Value::as_array);
    let mut faults: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for mutation in mutations.into_iter().flatten() {
        let number = mutation.get("number").and_then(toml::Value::as_integer);
        let fault = mutation.get("fault").and_then(toml::Value::as_str);
        if let (Some(number), Some(fault)) = (number.and_then(|n| u8::try_from(n).ok()), fault) {
            faults.entry(number).or_default().push(fault.to_owned());
        }
    }
    faults
}
