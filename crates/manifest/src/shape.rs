//! The second pass: every key is known and every single value is of its type, by the table alone.
//!
//! A key with a slip of the pen is told and then taken for the key that was meant, so that what
//! stands below it is checked as well and nobody is told that the key is missing.

use crate::{
    problem::{Report, Span},
    reference::{self, Default, Form, Key, Naming},
    scalar::{self, Kind},
    suggest, variable,
    yaml::{Entry, Node, Scalar, Value},
};

/// Checks a whole manifest.
pub(crate) fn check(root: &mut Node, report: &mut Report<'_>) {
    let mut place = Place::default();
    match &mut root.value {
        Value::Mapping(entries) => {
            known_keys(entries, root.span, &mut place, report);
        }
        _ => {
            report
                .error("wrong-type", root.span, "a manifest is a mapping of keys and values")
                .help("start with `project: NAME`");
        }
    }
}

/// Where the check is: as the user wrote it, and as the table lists it.
#[derive(Default)]
struct Place {
    written: Vec<String>,
    listed: Vec<&'static str>,
}

impl Place {
    fn path(&self) -> String {
        self.listed.join(".")
    }

    /// For messages: `` `health` of component `api` ``.
    fn words(&self) -> String {
        let written: Vec<&str> = self.written.iter().map(String::as_str).collect();
        let owner = |kind: &str, name: &str| format!("{kind} `{name}`");
        let (owner, rest) = match written.as_slice() {
            [] => return "the manifest".to_owned(),
            ["components", name, rest @ ..] => (Some(owner("component", name)), rest),
            ["environments", name, rest @ ..] => (Some(owner("environment", name)), rest),
            rest => (None, rest),
        };
        let owner = match owner {
            Some(owner) if rest.is_empty() => return owner,
            Some(owner) => format!(" of {owner}"),
            None => String::new(),
        };
        let item = rest.iter().rposition(|part| part.parse::<usize>().is_ok());
        match item.map(|item| (rest[..item].join("."), rest[item], rest[item + 1..].join("."))) {
            None => format!("`{}`{owner}", rest.join(".")),
            Some((list, item, below)) if below.is_empty() => {
                format!("item {item} of `{list}`{owner}")
            }
            Some((list, item, below)) => format!("`{below}` in item {item} of `{list}`{owner}"),
        }
    }
}

fn child_path(place: &Place, name: &str) -> String {
    let path = place.path();
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn known_keys(entries: &mut [Entry], span: Span, place: &mut Place, report: &mut Report<'_>) {
    let path = place.path();
    for index in 0..entries.len() {
        if report.is_full() {
            return;
        }
        if entries[index].key.starts_with("x-") {
            continue;
        }
        let listed = |name: &str| reference::children(&path).find(|key| key.name() == name);
        let known = listed(&entries[index].key).or_else(|| {
            let meant = unknown_key(&entries[index], entries, place, report)?;
            meant.clone_into(&mut entries[index].key);
            listed(meant)
        });
        if let Some(key) = known {
            let entry = &mut entries[index];
            place.written.push(entry.key.clone());
            place.listed.push(key.name());
            value(&mut entry.value, entry.key_span, key, place, report);
            place.written.pop();
            place.listed.pop();
        }
    }
    for key in reference::children(&path) {
        let given = entries.iter().any(|entry| entry.key == key.name());
        if key.default == Default::Required && !given {
            report
                .error(
                    "missing-key",
                    first_of(span, entries),
                    format!("`{}` is missing in {}", key.name(), place.words()),
                )
                .help(format!("add it, for example `{}: {}`", key.name(), key.example));
        }
    }
}

/// A mapping is shown by its first key, so that the mark does not run over the whole line.
fn first_of(span: Span, entries: &[Entry]) -> Span {
    entries.first().map_or(span, |entry| entry.key_span)
}

/// The key that was probably meant by an unknown one: one that is not there yet.
fn meant(key: &str, entries: &[Entry], path: &str) -> Option<&'static str> {
    let free: Vec<&'static str> = reference::children(path)
        .map(Key::name)
        .filter(|name| !entries.iter().any(|other| other.key == *name))
        .collect();
    suggest::nearest(key, free.iter().copied()).or_else(|| {
        reference::SYNONYMS
            .iter()
            .find(|(word, meant)| *word == key && free.contains(meant))
            .map(|(_, meant)| *meant)
    })
}

/// Tells of a key that is not known; gives back the one that was meant.
fn unknown_key(
    entry: &Entry,
    entries: &[Entry],
    place: &Place,
    report: &mut Report<'_>,
) -> Option<&'static str> {
    let path = place.path();
    let key = entry.key.as_str();
    let here: Vec<&str> = reference::children(&path).map(Key::name).collect();
    let full = reference::canonical(&child_path(place, key));
    let mut meant = meant(key, entries, &path);
    let help = if reference::LATER.contains(&full.as_str()) {
        meant = None;
        format!("this version of Tidegate does not know `{key}` yet: remove it")
    } else if let Some((_, place)) = reference::ELSEWHERE.iter().find(|(path, _)| *path == full) {
        meant = None;
        (*place).to_owned()
    } else if key == "<<" {
        "merge keys are not read: repeat the keys, or use an alias for a whole value".to_owned()
    } else if let Some(meant) = meant {
        format!("did you mean `{meant}`?")
    } else if let Some(home) = here
        .iter()
        .find(|name| reference::children(&child_path(place, name)).any(|child| child.name() == key))
    {
        format!("`{key}` belongs inside `{home}`")
    } else if let Some(near) = suggest::nearest(key, here.iter().copied()) {
        format!("`{near}` is already here: remove this key")
    } else if here.is_empty() {
        "remove it".to_owned()
    } else {
        format!("known here are {}", suggest::list(here, "and"))
    };
    report
        .error("unknown-key", entry.key_span, format!("unknown key `{key}` in {}", place.words()))
        .help(help);
    meant
}

fn value(
    node: &mut Node,
    key_span: Span,
    key: &'static Key,
    place: &mut Place,
    report: &mut Report<'_>,
) {
    match &mut node.value {
        Value::Nothing => {
            if !key.forms.contains(&Form::Nothing) {
                nothing(key_span, key, place, report);
            }
        }
        Value::Scalar(scalar) => single(scalar, node.span, key, place, report),
        Value::List(items) if key.forms.contains(&Form::List) => {
            list(items, key, place, report);
        }
        Value::Mapping(entries) if key.forms.contains(&Form::Mapping) => {
            known_keys(entries, node.span, place, report);
        }
        Value::Mapping(entries) => match key.naming() {
            Some(naming) => named(entries, node.span, naming, key, place, report),
            None => wrong_type(node.span, "a mapping", key, place, report),
        },
        Value::List(_) => wrong_type(node.span, "a list", key, place, report),
    }
}

fn nothing(span: Span, key: &Key, place: &Place, report: &mut Report<'_>) {
    let problem = report.error("missing-value", span, format!("{} has no value", place.words()));
    let verbatim = key.kinds().any(|kind| kind == Kind::Verbatim);
    problem.help(if verbatim {
        "write \"\" for a text without characters".to_owned()
    } else if key.default == Default::Required || key.path.ends_with('*') {
        format!("{} is expected", key.expected())
    } else {
        format!(
            "write {}, or remove the line{}",
            key.expected(),
            match key.default {
                Default::Text(text) => format!(": the default is `{text}`"),
                Default::Required | Default::Absent | Default::Depends(_) => String::new(),
            }
        )
    });
}

fn wrong_type(span: Span, found: &str, key: &Key, place: &Place, report: &mut Report<'_>) {
    let problem = report.error(
        "wrong-type",
        span,
        format!("{} is {}, not {found}", place.words(), key.expected()),
    );
    if !key.example.is_empty() {
        let name = place.written.last().map_or("", String::as_str);
        let example = key.example;
        problem.help(if key.path.ends_with(".*") && found != "a mapping" {
            format!("for example `{example}`")
        } else {
            format!("for example `{name}: {example}`")
        });
    }
}

fn single(
    scalar: &Scalar,
    span: Span,
    key: &'static Key,
    place: &mut Place,
    report: &mut Report<'_>,
) {
    let kinds: Vec<Kind> = key.kinds().collect();
    if kinds.is_empty() {
        let found = format!("`{}`", cut(&scalar.text));
        wrong_type(span, &found, key, place, report);
        return;
    }
    let faults: Vec<scalar::Fault> =
        kinds.iter().filter_map(|kind| kind.check(scalar).err()).collect();
    if faults.len() < kinds.len() {
        return;
    }
    let fault = merge(&kinds, faults, scalar, key);
    let part = fault.part.and_then(|part| part_of(report.text(), span, &scalar.text, part));
    let problem = report.error(
        fault.code,
        part.unwrap_or(span),
        format!("{}: {}", place.words(), fault.message),
    );
    problem.label = fault.label;
    problem.help = fault.help;
}

/// What to say of a value that fits none of several kinds: what the likeliest of them says.
fn merge(
    kinds: &[Kind],
    mut faults: Vec<scalar::Fault>,
    scalar: &Scalar,
    key: &Key,
) -> scalar::Fault {
    let text = scalar.text.as_str();
    let likely = kinds.iter().position(|kind| match kind {
        _ if kinds.len() == 1 => true,
        Kind::UrlPath => text.contains('/'),
        Kind::Address => text.contains([':', '.']),
        Kind::Integer { .. } => text.parse::<i64>().is_ok(),
        Kind::Choice(words) => suggest::nearest(text, words.iter().copied()).is_some(),
        _ => false,
    });
    if let Some(index) = likely {
        return faults.swap_remove(index);
    }
    let help = faults.pop().and_then(|fault| fault.help);
    scalar::Fault::new(
        "wrong-type",
        format!("{} is expected, but this is `{}`", key.expected(), cut(text)),
    )
    .help(help.unwrap_or_else(|| format!("for example `{}: {}`", key.name(), key.example)))
}

/// A part of a scalar's text in the file; none where escapes or folding make it unclear.
fn part_of(file: &str, span: Span, text: &str, part: (usize, usize)) -> Option<Span> {
    let wanted = text.get(part.0..part.1)?;
    [0, 1].into_iter().find_map(|quote| {
        let start = span.start + quote;
        let whole = file.get(start..start + text.len())? == text;
        let found = Span { start: start + part.0, end: start + part.1 };
        (whole && file.get(found.start..found.end) == Some(wanted)).then_some(found)
    })
}

/// Text for a message, not too long.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.len() == text.len() && line.chars().count() <= 60 {
        line.to_owned()
    } else {
        line.chars().take(60).chain(['…']).collect()
    }
}

fn list(items: &mut [Node], key: &'static Key, place: &mut Place, report: &mut Report<'_>) {
    let Some(item_key) = reference::find(&format!("{}.*", key.path)) else {
        return;
    };
    place.listed.push("*");
    for (index, item) in items.iter_mut().enumerate() {
        if report.is_full() {
            break;
        }
        place.written.push((index + 1).to_string());
        let span = item.span;
        value(item, span, item_key, place, report);
        place.written.pop();
    }
    place.listed.pop();
}

fn named(
    entries: &mut [Entry],
    span: Span,
    naming: Naming,
    key: &'static Key,
    place: &mut Place,
    report: &mut Report<'_>,
) {
    let Some(item_key) = reference::find(&format!("{}.*", key.path)) else {
        return;
    };
    let mut found = false;
    place.listed.push("*");
    let entries = entries.iter_mut();
    for entry in entries.filter(|entry| !entry.key.starts_with("x-")) {
        found = true;
        if report.is_full() {
            break;
        }
        match naming {
            Naming::Name => {
                let name = Scalar { text: entry.key.clone(), plain: false };
                if let Err(fault) = Kind::Name.check(&name) {
                    report.error(fault.code, entry.key_span, fault.message).maybe_help(fault.help);
                }
            }
            Naming::Variable => variable_name(entry, report),
        }
        place.written.push(entry.key.clone());
        value(&mut entry.value, entry.key_span, item_key, place, report);
        place.written.pop();
    }
    place.listed.pop();
    if !found && matches!(key.path, "components" | "environments") {
        report.error("missing-value", span, format!("{} is empty", place.words())).help(
            if key.default == Default::Required {
                "a manifest has at least one component".to_owned()
            } else {
                format!("remove it; the default then is: {}", key.default_words())
            },
        );
    }
}

fn variable_name(entry: &Entry, report: &mut Report<'_>) {
    let name = entry.key.as_str();
    if !variable::is_variable_name(name) {
        report
            .error(
                "bad-name",
                entry.key_span,
                format!("`{}` is not the name of a variable", cut(name)),
            )
            .help("use letters, digits and `_`, not starting with a digit, as in `LOG_LEVEL`");
    } else if name.starts_with("TIDEGATE_") {
        report
            .error("reserved-name", entry.key_span, format!("`{name}` is kept for Tidegate itself"))
            .help("choose a name that does not start with `TIDEGATE_`");
    }
}
