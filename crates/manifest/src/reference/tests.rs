//! The table against itself and against the manifest that has every key.

use std::collections::BTreeSet;

use super::{Default, Form, KEYS, LATER, SYNONYMS, canonical, children, find};
use crate::{
    problem::Report,
    shape,
    yaml::{self, Node, Scalar, Value},
};

const EVERY_KEY: &str = include_str!("../../tests/every-key.yaml");

#[test]
fn paths_are_unique_and_have_parents() {
    let mut known = BTreeSet::new();
    for key in KEYS {
        assert!(known.insert(key.path), "{} is listed twice", key.path);
        if let Some((parent, name)) = key.path.rsplit_once('.') {
            let parent = find(parent).unwrap_or_else(|| panic!("{} has no parent", key.path));
            let fits = match name {
                "*" => parent.forms.contains(&Form::List) || parent.naming().is_some(),
                _ => parent.forms.contains(&Form::Mapping),
            };
            assert!(fits, "{} does not take `{name}`", parent.path);
        }
    }
}

#[test]
fn every_key_has_its_words() {
    for key in KEYS {
        assert!(key.summary.ends_with('.'), "{}", key.path);
        assert!(!key.example.is_empty(), "{}", key.path);
        assert!(!key.expected().is_empty(), "{}", key.path);
        let first = key.details.chars().next();
        assert!(
            first.is_none_or(|c| !c.is_lowercase())
                && (first.is_none() || key.details.ends_with('.')),
            "{}",
            key.path
        );
    }
}

#[test]
fn later_keys_and_synonyms_do_not_hide_keys() {
    for path in LATER {
        assert!(find(path).is_none(), "{path} is known now");
        let (parent, _) = path.rsplit_once('.').unwrap();
        assert!(children(parent).next().is_some(), "{parent} has no keys");
    }
    for (_, meant) in SYNONYMS {
        assert!(KEYS.iter().any(|key| key.name() == meant), "{meant}");
    }
}

/// What the reader says about a value at a key, with the keys above it made up.
fn faults(path: &str, value: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let (above, last) = path.rsplit_once('.').unwrap_or(("", path));
    if last == "*" && find(above).is_some_and(|key| key.forms.contains(&Form::List)) {
        return faults(above, &format!("[{value}]"));
    }
    let lines: Vec<String> = parts
        .iter()
        .enumerate()
        .map(|(depth, part)| format!("{}{}:", "  ".repeat(depth), part.replace('*', "a")))
        .collect();
    let text = format!("{} {value}\n", lines.join("\n"));
    // The items of lists are written as flow above, and those in the middle of a path as a block.
    let text = text
        .replace("steps:\n          a:\n            ", "steps:\n          - ")
        .replace("certificates:\n        a:\n          ", "certificates:\n        - ")
        .replace("when:\n        a:\n          ", "when:\n        - ");
    let mut report = Report::new("example", &text);
    let (root, faults) = yaml::parse(&text);
    assert!(faults.is_empty(), "{path}: {faults:?}\n{text}");
    shape::check(&mut root.unwrap(), &mut report);
    let problems: Vec<String> = report
        .finish()
        .iter()
        .filter(|problem| problem.code != "missing-key")
        .map(|problem| problem.message.clone())
        .collect();
    problems.join("\n")
}

#[test]
fn examples_and_defaults_are_accepted() {
    for key in KEYS {
        assert_eq!(faults(key.path, key.example), "", "example of {}", key.path);
        if let Default::Text(text) = key.default {
            assert_eq!(faults(key.path, text), "", "default of {}", key.path);
        }
    }
    // The check itself can fail.
    assert_ne!(faults("components.*.replicas", "many"), "");
    assert_ne!(faults("environments.*.strategy.canary.steps.*.share", "10"), "");
    assert_ne!(faults("environments.*.rollback.when.*", "cpu > 5"), "");
}

#[test]
fn defaults_of_single_values_are_values() {
    for key in KEYS {
        if let Default::Text(text) = key.default {
            let plain = Scalar { text: text.to_owned(), plain: true };
            let list = key.forms.contains(&Form::List);
            assert!(list || key.kinds().any(|kind| kind.check(&plain).is_ok()), "{}", key.path);
        }
    }
}

fn used(node: &Node, path: &str, found: &mut BTreeSet<String>) {
    found.insert(canonical(path));
    let below = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    match &node.value {
        Value::Mapping(entries) => {
            let named = find(path).is_some_and(|key| key.naming().is_some());
            for entry in entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
                let name = if named { "*" } else { &entry.key };
                used(&entry.value, &below(name), found);
            }
        }
        Value::List(items) => {
            for item in items {
                used(item, &below("*"), found);
            }
        }
        Value::Nothing | Value::Scalar(_) => {}
    }
}

#[test]
fn the_example_uses_every_key() {
    let (root, faults) = yaml::parse(EVERY_KEY);
    assert!(faults.is_empty(), "{faults:?}");
    let mut found = BTreeSet::new();
    used(&root.unwrap(), "", &mut found);
    found.remove("");
    let listed: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(found, listed);
}
