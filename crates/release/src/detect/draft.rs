//! A component as it will be written.

use super::folder::Folder;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) name: String,
    /// Relative to the root.
    pub(crate) path: String,
    /// What it was recognised as.
    pub(crate) stack: String,
    /// What it was recognised by.
    pub(crate) why: String,
    pub(crate) build: Option<Build>,
    pub(crate) workload: Workload,
    pub(crate) route: Option<String>,
    /// Written above the component.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) run: String,
    pub(crate) output: String,
    /// In place of the component's path.
    pub(crate) directory: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Workload {
    Process { command: String, listens: bool },
    Static { single_page: bool },
}

impl Draft {
    /// A process without a build, named after its folder.
    pub(crate) fn process(folder: &Folder, stack: &str, why: &str, command: &str) -> Self {
        Self {
            name: folder.name().to_owned(),
            path: folder.path.clone(),
            stack: stack.to_owned(),
            why: why.to_owned(),
            build: None,
            workload: Workload::Process { command: command.to_owned(), listens: true },
            route: None,
            notes: Vec::new(),
        }
    }

    /// Files without a build, named after their folder.
    pub(crate) fn files(folder: &Folder, stack: &str, why: &str, single_page: bool) -> Self {
        Self { workload: Workload::Static { single_page }, ..Self::process(folder, stack, why, "") }
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub(crate) fn built(mut self, run: &str, output: &str) -> Self {
        self.build =
            Some(Build { run: run.to_owned(), output: output.to_owned(), directory: None });
        self
    }

    pub(crate) fn note(mut self, note: &str) -> Self {
        self.notes.push(note.to_owned());
        self
    }

    /// Takes the port away from what its name says is no server.
    pub(crate) fn without_port_if_worker(mut self) -> Self {
        if let Workload::Process { listens, .. } = &mut self.workload
            && is_worker(&self.name)
        {
            *listens = false;
        }
        self
    }

    pub(crate) fn listens(&self) -> bool {
        match self.workload {
            Workload::Process { listens, .. } => listens,
            Workload::Static { .. } => true,
        }
    }
}

/// Whether the name is one of those that people give to what works without being asked.
pub(crate) fn is_worker(name: &str) -> bool {
    ["worker", "job", "cron", "consumer", "scheduler", "queue", "beat"]
        .iter()
        .any(|word| name.to_lowercase().contains(word))
}

/// What is written when nothing is recognised: valid, and it says itself what to do.
pub(crate) fn placeholder() -> Draft {
    Draft {
        name: "app".to_owned(),
        path: ".".to_owned(),
        stack: "nothing recognised".to_owned(),
        why: "no file of a known stack was found here or below".to_owned(),
        build: None,
        workload: Workload::Process {
            command: "echo 'write the command that starts your service'; exit 1".to_owned(),
            listens: true,
        },
        route: None,
        notes: vec![
            "Nothing was recognised here: write the command that starts your service,".to_owned(),
            "and how it is built, as in `build: { run: make, output: bin/app }`.".to_owned(),
        ],
    }
}

/// A valid name that is near the text; none when it has no letter.
pub(crate) fn name_from(text: &str) -> Option<String> {
    let mut name = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            name.push(character.to_ascii_lowercase());
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let start = name.find(|character: char| character.is_ascii_lowercase())?;
    let mut name = name.split_off(start);
    name.truncate(40);
    Some(name.trim_end_matches('-').to_owned())
}

/// Makes the names valid and gives each only once.
pub(crate) fn make_names_unique(drafts: &mut [Draft], project: &str) {
    let mut taken: Vec<String> = Vec::new();
    for draft in drafts {
        let name = name_from(&draft.name).unwrap_or_else(|| project.to_owned());
        let mut unique = name.clone();
        let mut number = 1;
        while taken.contains(&unique) {
            number += 1;
            let end = format!("-{number}");
            let stem: String = name.chars().take(40 - end.len()).collect();
            unique = format!("{}{end}", stem.trim_end_matches('-'));
        }
        taken.push(unique.clone());
        draft.name = unique;
    }
}

/// The site, or what is called like one, or the first server gets `/`; the others get their names.
pub(crate) fn give_routes(drafts: &mut [Draft]) {
    let serves: Vec<usize> = (0..drafts.len()).filter(|index| drafts[*index].listens()).collect();
    let is_front = |draft: &Draft| {
        matches!(
            draft.name.as_str(),
            "web" | "www" | "site" | "frontend" | "front" | "ui" | "client" | "website"
        )
    };
    let front = serves
        .iter()
        .find(|index| is_front(&drafts[**index]))
        .or_else(|| {
            serves.iter().find(|index| matches!(drafts[**index].workload, Workload::Static { .. }))
        })
        .or_else(|| serves.first())
        .copied();
    for index in serves {
        let path = format!("/{}", drafts[index].name);
        drafts[index].route = Some(if Some(index) == front { "/".to_owned() } else { path });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_valid() {
        for (text, name) in [
            ("My Shop", Some("my-shop")),
            ("2048_game", Some("game")),
            ("@acme/web-site", Some("acme-web-site")),
            ("v1.", Some("v1")),
            ("123", None),
            ("", None),
        ] {
            assert_eq!(name_from(text).as_deref(), name, "{text}");
        }
        let long = name_from(&"a-".repeat(40)).expect("it has letters");
        assert!(long.len() <= 40 && !long.ends_with('-'));
    }
}
