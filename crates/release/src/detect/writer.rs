//! The text of the manifest: short, and with the comments that a newcomer needs.

use std::fmt::Write as _;

use super::draft::{Draft, Workload};

pub(crate) fn manifest(project: &str, drafts: &[Draft], left_out: &[String]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, project, drafts, left_out);
    text
}

fn write(
    text: &mut String,
    project: &str,
    drafts: &[Draft],
    left_out: &[String],
) -> std::fmt::Result {
    writeln!(text, "# Made by `tidegate init`. `tidegate check` tells what is wrong here,")?;
    writeln!(
        text,
        "# `tidegate explain KEY` what a key means. Commit this file, then: tidegate deploy"
    )?;
    writeln!(text, "version: 1")?;
    writeln!(text, "project: {project}")?;
    writeln!(text, "components:")?;
    for draft in drafts {
        component(text, draft)?;
    }
    if !left_out.is_empty() {
        writeln!(text, "  # Found too, and left out: {}", one_line(&left_out.join(", ")))?;
    }
    writeln!(text, "environments:")?;
    writeln!(text, "  production:")?;
    writeln!(text, "    listen: 127.0.0.1:8080")?;
    writeln!(
        text,
        "    # Start the new beside the old, switch, watch for 10 s, go back if it is bad;"
    )?;
    writeln!(text, "    # the old stays warm for 15 minutes.")?;
    writeln!(text, "    strategy: {{ blue_green: {{ bake: 10s, keep: 15m }} }}")
}

fn component(text: &mut String, draft: &Draft) -> std::fmt::Result {
    writeln!(text, "  {}:", draft.name)?;
    for note in &draft.notes {
        writeln!(text, "    # {}", one_line(note))?;
    }
    if draft.path != "." {
        writeln!(text, "    path: {}", scalar(&draft.path))?;
    }
    if let Some(build) = &draft.build {
        writeln!(text, "    build:")?;
        writeln!(text, "      run: {}", scalar(&build.run))?;
        if let Some(directory) = &build.directory {
            writeln!(text, "      directory: {}", scalar(directory))?;
        }
        writeln!(text, "      output: {}", scalar(&build.output))?;
    }
    match &draft.workload {
        Workload::Process { command, listens } => {
            writeln!(text, "    command: {}", scalar(command))?;
            if *listens {
                writeln!(text, "    port: auto                  # a free one, in $PORT")?;
            }
        }
        Workload::Static { single_page } => {
            writeln!(text, "    static: {{ single_page: {single_page} }}")?;
        }
    }
    if let Some(route) = &draft.route {
        writeln!(text, "    route: {}", scalar(route))?;
    }
    Ok(())
}

/// A comment must not become something else at a line's end.
fn one_line(text: &str) -> String {
    text.split(|character: char| character.is_control()).collect::<Vec<_>>().join(" ")
}

/// As YAML in a block: plain where that is certainly read back as the same text.
fn scalar(text: &str) -> String {
    let plain_characters = text
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || " ./_-$=&@+,:'".contains(character));
    let starts_plain = text.starts_with(|character: char| {
        character.is_ascii_alphabetic() || character == '/' || character == '.'
    });
    let ambiguous = text.contains(": ")
        || text.ends_with([':', ' '])
        || matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
        )
        || text.parse::<f64>().is_ok()
        || text.starts_with("...");
    if plain_characters && starts_plain && !ambiguous {
        text.to_owned()
    } else {
        // JSON's strings are YAML's too.
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_would_read_otherwise_is_quoted() {
        for plain in ["./api", "npm ci && npm run build", "/", "apps/api", "PYTHONPATH=vendor x"] {
            assert_eq!(scalar(plain), plain);
        }
        for quoted in ["true", "1.5", "", "a: b", "a #b", "{a}", "*x", "a:", "\"", "é", ".5"] {
            assert!(scalar(quoted).starts_with('"'), "{quoted}");
        }
    }
}
