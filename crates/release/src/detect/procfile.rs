//! A `Procfile`: the commands that its author wrote win over guesses.

use super::{
    draft::{Draft, Workload},
    folder::Folder,
    python,
};

/// The processes of a `Procfile`, built as the folder's stack is built.
pub(crate) fn detect(folder: &Folder, found: &[Draft]) -> Vec<Draft> {
    let Some(text) = folder.text("Procfile") else {
        return Vec::new();
    };
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, command)| (name.trim(), command.trim()))
        .filter(|(name, command)| !name.is_empty() && !command.is_empty())
        .collect();
    let release = lines.iter().find(|(name, _)| *name == "release");
    let mut drafts: Vec<Draft> = lines
        .iter()
        .filter(|(name, _)| *name != "release")
        .map(|(name, command)| process(folder, found, name, command))
        .collect();
    if let (Some((_, command)), Some(first)) = (release, drafts.first_mut()) {
        first.notes.push(format!("The Procfile's release command is not run: {command}"));
    }
    drafts
}

fn process(folder: &Folder, found: &[Draft], name: &str, command: &str) -> Draft {
    let why = format!("Procfile has {name}");
    let program = command.split(' ').next().unwrap_or(command);
    let binary = program.rsplit('/').next().unwrap_or(program);
    // The stack's own component for this program, or else its first.
    let like = found
        .iter()
        .find(|draft| matches!(&draft.workload, Workload::Process { command, .. } if command == &format!("./{binary}")))
        .or_else(|| found.first());
    let stack = like.map_or("Procfile", |draft| draft.stack.as_str());
    let build = like.and_then(|draft| draft.build.clone());
    let started = match &like.map(|draft| &draft.workload) {
        Some(Workload::Process { command: guessed, .. }) if guessed == &format!("./{binary}") => {
            command.replacen(program, guessed, 1)
        }
        Some(Workload::Process { command: guessed, .. }) if guessed.contains("python3") => {
            let as_module = python::as_module(command).unwrap_or_else(|| command.to_owned());
            if build.is_some() { format!("PYTHONPATH=vendor {as_module}") } else { as_module }
        }
        _ if folder.has("package.json")
            && build.is_some()
            && !matches!(binary, "node" | "npm" | "yarn" | "pnpm") =>
        {
            format!("PATH=node_modules/.bin:$PATH {command}")
        }
        _ => command.to_owned(),
    };
    let mut draft = Draft::process(folder, stack, &why, &started).named(name);
    draft.build = build;
    if let Workload::Process { listens, .. } = &mut draft.workload {
        *listens = name == "web" || command.contains("$PORT") || command.contains("${PORT");
    }
    draft
}
