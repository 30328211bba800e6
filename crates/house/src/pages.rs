//! The pages that are made from the code.

use crate::invariants;

/// Each generated file, by its path below the root of the repository.
#[must_use]
pub fn generated() -> Vec<(&'static str, String)> {
    vec![
        ("docs/manifest.md", tidegate_manifest::reference_markdown()),
        ("docs/tidegate.schema.json", schema()),
        ("docs/invariants.md", invariants::page()),
    ]
}

fn schema() -> String {
    let mut text = format!("{:#}", tidegate_manifest::json_schema());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
