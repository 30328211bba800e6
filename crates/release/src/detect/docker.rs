//! A `Dockerfile`: its command, as containers come later.

use super::{draft::Draft, folder::Folder};

pub(crate) fn detect(folder: &Folder) -> Vec<Draft> {
    let Some(text) = folder.text("Dockerfile") else {
        return Vec::new();
    };
    let (mut entry, mut command, mut port) = (None, None, None);
    for line in instructions(&text) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line.as_str(), ""));
        let rest = rest.trim();
        match word.to_ascii_uppercase().as_str() {
            // Only the last stage is run.
            "FROM" => (entry, command, port) = (None, None, None),
            "ENTRYPOINT" => entry = words(rest),
            "CMD" => command = words(rest),
            "EXPOSE" => port = rest.split(['/', ' ']).next().map(str::to_owned),
            _ => {}
        }
    }
    let started = match (entry, command) {
        (Some(entry), Some(command)) => format!("{entry} {command}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Vec::new(),
    };
    let mut draft = Draft::process(folder, "Dockerfile", "Dockerfile has a command", &started)
        .note("The command of the Dockerfile, run as a process on this machine; containers come later.")
        .note("What its RUN and COPY lines do is not done: say it in `build`.");
    if let Some(port) = port.filter(|port| port.parse::<u16>().is_ok()) {
        draft = draft.note(&format!(
            "It exposes port {port}. If it does not read $PORT, write `port: {port}`."
        ));
    }
    vec![draft]
}

/// Lines without comments, those that end with `\` joined with the next.
fn instructions(text: &str) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let part = line.strip_suffix('\\').unwrap_or(line).trim_end();
        match joined.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(part);
            }
            _ => joined.push(part.to_owned()),
        }
        open = line.ends_with('\\');
    }
    joined
}

/// A JSON list as a line for the shell, or the line itself.
fn words(text: &str) -> Option<String> {
    let command = match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        Err(_) => text.to_owned(),
    };
    (!command.is_empty()).then_some(command)
}

fn quoted(word: &str) -> String {
    let plain = !word.is_empty()
        && word
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "-_./:=,@%+".contains(character));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
