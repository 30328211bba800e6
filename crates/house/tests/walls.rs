//! The walls of the house: who may know whom, and what is absent where. `ARCHITECTURE.md` says
//! why; this holds it.

use std::{collections::BTreeSet, path::Path};

use tidegate_house::{
    code, pages,
    workspace::{self, Crate, Section},
};

/// Each crate, what it is built on, and what its tests may use besides. Both exactly: an edge that
/// is no longer used goes from here, too.
const WALLS: &[(&str, &[&str], &[&str])] = &[
    ("types", &[], &[]),
    ("analysis", &["types"], &[]),
    ("core", &["types"], &["invariants", "manifest", "plan"]),
    ("invariants", &["core", "types"], &[]),
    ("manifest", &["types"], &[]),
    ("plan", &["manifest", "types"], &[]),
    ("store", &["types"], &["conformance"]),
    ("shim", &["types"], &[]),
    ("proxy", &["types"], &[]),
    ("targets", &["proxy", "shim", "types"], &["conformance", "testapp"]),
    ("release", &["manifest", "shim", "types"], &[]),
    (
        "engine",
        &["analysis", "core", "manifest", "plan", "release", "store", "targets", "types"],
        &[],
    ),
    ("sim", &["core", "engine", "manifest", "plan", "types"], &["store", "targets"]),
    ("server", &["core", "engine", "plan", "store", "targets", "types"], &[]),
    (
        "cli",
        &[
            "core", "engine", "manifest", "plan", "proxy", "release", "server", "shim", "sim",
            "store", "targets", "types",
        ],
        &["loss", "testapp"],
    ),
    ("conformance", &["store", "targets", "types"], &[]),
    (
        "fuzzing",
        &[
            "core", "engine", "manifest", "plan", "proxy", "release", "server", "shim", "store",
            "targets", "types",
        ],
        &[],
    ),
    (
        "trials",
        &["core", "engine", "invariants", "manifest", "plan", "sim", "store", "targets", "types"],
        &["conformance"],
    ),
    ("house", &["invariants", "manifest"], &[]),
    ("loss", &["proxy", "types"], &[]),
    ("testapp", &["loss", "proxy", "shim"], &[]),
    ("bench", &["core", "engine", "proxy", "server", "store", "types"], &[]),
];

/// The name of the binary is the name of its crate, for `cargo install`.
const BINARY: &str = "cli";

/// Crates that only compute: the same input gives the same output, on any machine, at any time.
const PURE: &[&str] = &["analysis", "core", "invariants", "manifest", "plan", "types"];

/// All that a pure crate may be built on besides the workspace.
const PURE_DEPENDENCIES: &[&str] = &["saphyr-parser", "serde", "serde_json", "strsim", "thiserror"];

/// What a pure crate does not name, not even through the standard library.
const IMPURE_PATHS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::sync",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "async",
    "Instant",
    "SystemTime",
];

/// What the data plane does not know: it has routes, endpoints and counters.
const UNKNOWN_TO_THE_PROXY: &[&str] =
    &["bake", "deployment", "environment", "manifest", "rollback", "rollout", "strategy"];

/// No source file is longer: one concept each.
const LONGEST_FILE: usize = 900;

fn every_crate() -> Vec<Crate> {
    let found = workspace::crates().expect("the workspace can be read");
    found.into_values().collect()
}

fn named(name: &str) -> Crate {
    let mut found = workspace::crates().expect("the workspace can be read");
    found.remove(name).unwrap_or_else(|| panic!("there is no crate `{name}`"))
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Sources with comments and strings taken out.
fn code_of(one: &Crate, below: &str) -> Vec<(String, String)> {
    let sources = one.sources(below).expect("sources can be read");
    assert!(below != "src" || !sources.is_empty(), "{}: no sources", one.name);
    sources
        .into_iter()
        .map(|(path, text)| (shown(&path), code::without_comments_and_strings(&text)))
        .collect()
}

fn shown(path: &Path) -> String {
    let root = workspace::root();
    path.strip_prefix(&root).unwrap_or(path).display().to_string()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn crates_know_exactly_those_whom_the_table_names() {
    let mut faults = Vec::new();
    let crates = every_crate();
    for one in &crates {
        let Some((_, shipped, development)) = WALLS.iter().find(|(name, ..)| *name == one.name)
        else {
            faults.push(format!("{}: not in the table of walls", one.name));
            continue;
        };
        for (section, allowed) in [(Section::Shipped, shipped), (Section::Development, development)]
        {
            let mut found = one.internal(section);
            if section == Section::Development {
                // A test may name again what the crate is built on.
                found = &found - &set(shipped);
            }
            let allowed = set(allowed);
            for extra in found.difference(&allowed) {
                faults.push(format!(
                    "{}: depends on {extra} ({section:?}), which the table of walls does not allow",
                    one.name
                ));
            }
            for unused in allowed.difference(&found) {
                faults.push(format!(
                    "{}: no longer depends on {unused} ({section:?}); take it out of the table",
                    one.name
                ));
            }
        }
    }
    for (name, ..) in WALLS {
        if !crates.iter().any(|one| one.name == *name) {
            faults.push(format!("{name}: in the table of walls, and no crate"));
        }
    }
    none(&faults);
}

#[test]
fn arrows_point_downward_only() {
    // A crate is placed once everything that it is built on is.
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    while placed.len() < WALLS.len() {
        let next = WALLS.iter().find(|(name, shipped, _)| {
            !placed.contains(name) && shipped.iter().all(|below| placed.contains(below))
        });
        let (name, ..) = next.unwrap_or_else(|| panic!("a circle above {placed:?}"));
        placed.insert(name);
    }
}

#[test]
fn pure_crates_have_no_clock_no_files_no_network() {
    let mut faults = Vec::new();
    for name in PURE {
        let one = named(name);
        let foreign = &one.external(Section::Shipped) - &set(PURE_DEPENDENCIES);
        for dependency in foreign {
            faults.push(format!(
                "{name}: is pure and depends on {dependency}; PURE_DEPENDENCIES lists what it may"
            ));
        }
        for (path, code) in code_of(&one, "src") {
            for impure in IMPURE_PATHS.iter().filter(|path| code::names(&code, path)) {
                faults.push(format!("{path}: is pure and names `{impure}`"));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_proxy_knows_nothing_of_deployments() {
    let mut faults = Vec::new();
    for (path, code) in code_of(&named("proxy"), "src") {
        let code = code.to_lowercase();
        let words = UNKNOWN_TO_THE_PROXY;
        for word in words.iter().filter(|word| code::contains_word(&code, word)) {
            faults.push(format!("{path}: the data plane does not know `{word}`"));
        }
    }
    none(&faults);
}

#[test]
fn one_concept_a_file() {
    let mut faults = Vec::new();
    for one in every_crate() {
        for below in ["src", "tests", "benches", "examples"] {
            for (path, text) in one.sources(below).expect("sources can be read") {
                let lines = text.lines().count();
                if lines > LONGEST_FILE {
                    faults.push(format!(
                        "{}: {lines} lines; split it below {LONGEST_FILE}",
                        shown(&path)
                    ));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn every_crate_lives_by_the_rules_of_the_workspace() {
    let mut faults = Vec::new();
    for one in every_crate() {
        let inherits = |table: &str, key: &str| {
            let value = one.manifest.get(table).and_then(|table| match key {
                "" => table.get("workspace"),
                key => table.get(key)?.get("workspace"),
            });
            value.and_then(toml::Value::as_bool) == Some(true)
        };
        let package = ["version", "edition", "rust-version", "license", "publish"];
        for key in package.into_iter().filter(|key| !inherits("package", key)) {
            faults.push(format!("{}: `{key}.workspace = true` is missing", one.name));
        }
        if !inherits("lints", "") {
            faults.push(format!("{}: `[lints] workspace = true` is missing", one.name));
        }
        let described = one.manifest.get("package").and_then(|package| package.get("description"));
        if described.is_none() {
            faults.push(format!("{}: has no description", one.name));
        }
        let name = one
            .manifest
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(toml::Value::as_str);
        let wanted = match one.name.as_str() {
            BINARY => "tidegate".to_owned(),
            name => format!("tidegate-{name}"),
        };
        if name != Some(&wanted) {
            faults.push(format!("{}: is called {name:?}", one.name));
        }
    }
    none(&faults);
}

#[test]
fn committed_files_name_no_place_of_this_machine() {
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo = std::env::var("CARGO_HOME").unwrap_or_default();
    let root = workspace::root().display().to_string();
    let places: Vec<String> = [home, cargo, root]
        .into_iter()
        .filter(|place| place.len() > 1)
        .map(|place| format!("{}/", place.trim_end_matches('/')))
        .collect();
    let texts = workspace::committed_text().expect("git lists the files");
    assert!(!texts.is_empty(), "git lists no file");
    let mut faults = Vec::new();
    for (path, text) in texts {
        for (index, line) in text.lines().enumerate() {
            for place in &places {
                let begins = |at: usize| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}".contains(c))
                };
                if line.match_indices(place.as_str()).any(|(at, _)| begins(at)) {
                    let (path, line) = (path.display(), index + 1);
                    faults.push(format!("{path}:{line}: names `{place}` of this machine"));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn generated_pages_are_up_to_date() {
    let mut faults = Vec::new();
    for (path, text) in pages::generated() {
        let found = std::fs::read_to_string(workspace::root().join(path)).unwrap_or_default();
        if found != text {
            faults.push(format!("{path}: differs from the code; run `make docs`"));
        }
    }
    none(&faults);
}
