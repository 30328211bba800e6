//! Every committed seed and everything that was ever found, through the promises that the targets
//! hold.

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use tidegate_fuzzing::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder);
    let mut names: Vec<String> = entries
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").file_name())
        .map(|name| name.into_string().expect("names of inputs are text"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_seed_and_every_finding_keeps_the_promises() {
    let mut broken = Vec::new();
    for (name, promise) in TARGETS {
        let seeds = names(&fuzz().join("seeds").join(name)).len();
        assert!(seeds > 0, "{name} has no seeds");
        for kind in ["seeds", "findings"] {
            let folder = fuzz().join(kind).join(name);
            // Not every target has found something.
            if kind == "findings" && !folder.exists() {
                continue;
            }
            for input in names(&folder) {
                let path = folder.join(&input);
                let bytes = fs::read(&path).expect("an input can be read");
                if catch_unwind(|| promise(&bytes)).is_err() {
                    broken.push(format!("{kind}/{name}/{input}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "promises are broken by: {}", broken.join(", "));
}

#[test]
fn every_target_is_built_and_has_its_seeds() {
    let mut targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    targets.sort_unstable();
    let files: Vec<String> = names(&fuzz().join("targets"))
        .iter()
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .collect();
    assert_eq!(files, targets, "fuzz/targets");
    assert_eq!(names(&fuzz().join("seeds")), targets, "fuzz/seeds");
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("fuzz/Cargo.toml");
    for name in targets {
        let entry = format!("name = \"{name}\"\npath = \"targets/{name}.rs\"");
        assert!(manifest.contains(&entry), "fuzz/Cargo.toml does not build {name}");
    }
}
