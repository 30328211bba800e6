//! What a key means, for `tidegate explain`.

use std::fmt::Write as _;

use crate::{
    reference::{self, Default, Form, KEYS, Key},
    suggest,
};

/// A key that the manifest does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the manifest has no key `{key}`{}", hint(.suggestions))]
pub struct UnknownKey {
    /// As it was asked for.
    pub key: String,
    /// Keys that may have been meant, the likeliest first.
    pub suggestions: Vec<String>,
}

fn hint(suggestions: &[String]) -> String {
    if suggestions.is_empty() {
        String::new()
    } else {
        let words = suggestions.iter().map(String::as_str);
        format!("; did you mean {}?", suggest::list(words, "or"))
    }
}

/// Explains a key: named by its path with `*` or real names in it (`components.api.health`), or
/// by its last part alone (`health`). The empty key lists the top level.
pub fn explain(key: &str) -> Result<String, UnknownKey> {
    let asked: Vec<&str> =
        key.split(['.', '[', ']']).map(str::trim).filter(|part| !part.is_empty()).collect();
    if asked.is_empty() {
        let mut output = String::from("The keys of tidegate.yaml:\n");
        list(&mut output, reference::children("").map(|key| (key.path, key)));
        return Ok(output);
    }
    if let Some(key) = by_path(&asked) {
        return Ok(describe(key));
    }
    let found = by_end(&asked);
    match found.as_slice() {
        [] => Err(UnknownKey { key: key.to_owned(), suggestions: suggestions(key, &asked) }),
        [only] => Ok(describe(only)),
        several => {
            let mut output = format!("`{key}` is the name of {} keys:\n", several.len());
            list(&mut output, several.iter().map(|key| (key.path, *key)));
            Ok(output)
        }
    }
}

/// A path from the top, with names where the table has `*`.
fn by_path(asked: &[&str]) -> Option<&'static Key> {
    let mut path = String::new();
    for part in asked {
        let join = |part: &str| {
            if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") }
        };
        path = [join(part), join("*")].into_iter().find(|path| reference::find(path).is_some())?;
    }
    reference::find(&path)
}

/// Keys whose path ends in what was asked for.
fn by_end(asked: &[&str]) -> Vec<&'static Key> {
    KEYS.iter()
        .filter(|key| {
            let parts: Vec<&str> = key.path.split('.').collect();
            asked.len() <= parts.len()
                && asked.last() != Some(&"*")
                && parts[parts.len() - asked.len()..].iter().zip(asked).enumerate().all(
                    |(index, (part, asked))| {
                        part == asked || (*part == "*" && index + 1 < parts.len() && *asked == "*")
                    },
                )
        })
        .collect()
}

fn suggestions(key: &str, asked: &[&str]) -> Vec<String> {
    let last = asked.last().copied().unwrap_or(key);
    let near = suggest::nearest(last, KEYS.iter().map(Key::name).filter(|name| *name != "*"));
    let meant = near.or_else(|| {
        reference::SYNONYMS.iter().find(|(word, _)| *word == last).map(|(_, meant)| *meant)
    });
    KEYS.iter()
        .filter(|key| Some(key.name()) == meant)
        .map(|key| key.path.to_owned())
        .take(5)
        .collect()
}

fn list<'a>(output: &mut String, keys: impl Iterator<Item = (&'a str, &'a Key)>) {
    let keys: Vec<(&str, &Key)> = keys.collect();
    let width = keys.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, key) in keys {
        // Writing to a string cannot fail.
        let _ = write!(output, "  {name:width$}  {}", key.summary);
        let _ = match key.default {
            Default::Required => writeln!(output, " Required."),
            Default::Text(text) => writeln!(output, " Default: {text}"),
            Default::Absent | Default::Depends(_) => writeln!(output),
        };
    }
}

/// Indented lines of at most 90 characters.
fn wrap(output: &mut String, text: &str) {
    let mut length = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if length > 0 && length + 1 + width > 90 {
            output.push('\n');
            length = 0;
        }
        output.push_str(if length == 0 { "  " } else { " " });
        output.push_str(word);
        length += 1 + width;
    }
    if length > 0 {
        output.push('\n');
    }
}

fn describe(key: &Key) -> String {
    let mut output = format!("{}\n", key.path);
    wrap(&mut output, key.summary);
    wrap(&mut output, key.details);
    let _ = writeln!(output, "\n  Type:     {}", key.expected());
    let _ = writeln!(output, "  Default:  {}", key.default_words());
    if !key.example.is_empty() {
        let name = key.name();
        let example =
            if name == "*" { key.example.to_owned() } else { format!("{name}: {}", key.example) };
        let _ = writeln!(output, "  Example:  {example}");
    }
    let path = if key.forms.contains(&Form::List) || key.naming().is_some() {
        format!("{}.*", key.path)
    } else {
        key.path.to_owned()
    };
    let children: Vec<(&str, &Key)> =
        reference::children(&path).map(|child| (child.name(), child)).collect();
    if !children.is_empty() {
        let _ = writeln!(output, "\nKeys below {path}:");
        list(&mut output, children.into_iter());
    }
    output
}
