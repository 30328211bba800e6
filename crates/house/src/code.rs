//! Rust text, read just far enough to tell which paths it names.

/// The code alone: comments are removed, and the contents of strings and characters.
#[must_use]
pub fn without_comments_and_strings(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped(rest);
        if skipped > 0 {
            output.push(' ');
            output.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        } else {
            output.push(first);
            rest = &rest[first.len_utf8()..];
            // The `r` of an identifier such as `for"` starts no raw string.
            if is_word(first) {
                let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                output.push_str(&rest[..word]);
                rest = &rest[word..];
            }
        }
    }
    output
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The length of the comment, string or character that `text` starts with; 0 when it starts with
/// none.
fn skipped(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    let prefix = text.len() - text.trim_start_matches(['b', 'c', 'r']).len();
    let after = &text[prefix..];
    if prefix <= 2 && text[..prefix].ends_with('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = prefix + hashes + 1;
            return text[start..].find(&end).map_or(text.len(), |at| start + at + end.len());
        }
    }
    if prefix <= 1 && after.starts_with('"') {
        return prefix + quoted(after);
    }
    if prefix <= 1 && after.starts_with('\'') {
        return character(after).map_or(0, |length| prefix + length);
    }
    0
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character, as opposed to a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        let start = 3.min(text.len());
        return text.get(start..)?.find('\'').map(|at| start + at + 1);
    }
    match characters.next() {
        Some((at, '\'')) => Some(at + 1),
        _ => None,
    }
}

/// Whether the code names a path such as `std::fs`, written out or in a `use` with braces.
#[must_use]
pub fn names(code: &str, path: &str) -> bool {
    if contains_word(code, path) {
        return true;
    }
    let mut rest = code;
    while let Some(at) = find_word(rest, "use") {
        rest = &rest[at + 3..];
        let end = rest.find(';').unwrap_or(rest.len());
        let tree: String = rest[..end].split_whitespace().collect::<Vec<_>>().join(" ");
        if imports(&tree)
            .iter()
            .any(|imported| imported == path || imported.starts_with(&format!("{path}::")))
        {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

/// Whether `word` stands in `text` by itself.
#[must_use]
pub fn contains_word(text: &str, word: &str) -> bool {
    find_word(text, word).is_some()
}

fn find_word(text: &str, word: &str) -> Option<usize> {
    text.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Every path of a `use` tree: `std::{fs, io::Write}` gives `std::fs` and `std::io::Write`.
fn imports(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        return vec![path.trim_end_matches("::self").to_owned()];
    };
    let prefix = tree[..open].trim();
    let inner = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let mut depth = 0_usize;
    let parts = inner.split(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts
        .filter(|part| !part.trim().is_empty())
        .flat_map(imports)
        .map(|path| format!("{prefix}{path}").trim_end_matches("::self").to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        let code = without_comments_and_strings(
            "let a = \"std::fs \\\" deployment\"; // std::fs\n/* std::fs /* nested */ */ let b = 'x';\n\
             fn f<'a>(text: &'a str) { r#\"std::fs\"#; b\"std::fs\"; '\\''; std::env::var }",
        );
        assert!(!names(&code, "std::fs"), "{code}");
        assert!(!contains_word(&code, "deployment"), "{code}");
        assert!(names(&code, "std::env"), "{code}");
        assert!(code.contains("fn f<'a>(text: &'a str)"), "{code}");
    }

    #[test]
    fn paths_are_found_however_they_are_imported() {
        for text in [
            "use std::fs;",
            "use std::fs::File;",
            "use std::{fmt, fs};",
            "use std::{\n    collections::BTreeMap,\n    fs::{self, File},\n};",
            "fn f() { let _ = std::fs::read(path); }",
            "use std::fs as files;",
        ] {
            assert!(names(text, "std::fs"), "{text}");
        }
        for text in ["use std::fmt;", "use crate::fs;", "use std::{fmt, net};", "use mystd::fs;"] {
            assert!(!names(text, "std::fs"), "{text}");
        }
    }
}
