//! Scenarios that failed once, and never again.

use std::{fs, path::Path};

use tidegate_trials::{Scenario, trouble};

#[test]
fn what_failed_once_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sim/corpus");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let scenarios: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "ron"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let scenario = Scenario::from_text(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, scenario)
        })
        .collect();
    assert!(!scenarios.is_empty(), "the corpus is gone");
    let failed: Vec<_> = scenarios
        .into_iter()
        .filter_map(|(name, scenario)| trouble(&scenario).map(|trouble| (name, trouble)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
