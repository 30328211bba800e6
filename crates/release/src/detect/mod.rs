//! Looks at a folder and writes a first `tidegate.yaml` for it.
//!
//! Each stack has a module that reads what people of that stack have in their folders. Nothing is
//! run and nothing is written.

mod docker;
mod draft;
mod folder;
mod go;
mod node;
mod procfile;
mod python;
mod ruby;
mod rust;
mod site;
mod writer;

use std::path::Path;

use draft::{Draft, Workload};
use folder::Folder;

/// What was found in a folder, and the manifest that follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// What was recognised and why.
    pub findings: Vec<Finding>,
    /// The text of a `tidegate.yaml`.
    pub manifest: String,
}

/// One thing that was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: `project`, or a component.
    pub what: String,
    /// What was made of it.
    pub value: String,
    /// What it was seen by.
    pub why: String,
}

/// So many components are written; a manifest with more is better written by hand.
const MOST_COMPONENTS: usize = 6;

/// Folders whose subfolders are looked at too.
const COLLECTIONS: [&str; 8] =
    ["apps", "services", "packages", "components", "backend", "frontend", "sites", "src"];

/// Folders that hold no component.
const PASSED_OVER: [&str; 20] = [
    "node_modules",
    "target",
    "vendor",
    "venv",
    "env",
    "dist",
    "build",
    "out",
    "docs",
    "doc",
    "test",
    "tests",
    "e2e",
    "examples",
    "example",
    "fixtures",
    "scripts",
    "tools",
    "bin",
    "__pycache__",
];

/// Looks at `root` and, where it holds no component itself, one or two levels below.
#[must_use]
pub fn detect(root: &Path) -> Detected {
    let canonical = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let project = canonical
        .file_name()
        .and_then(|name| draft::name_from(&name.to_string_lossy()))
        .unwrap_or_else(|| "project".to_owned());
    let mut findings = vec![Finding {
        what: "project".to_owned(),
        value: project.clone(),
        why: "the name of the folder".to_owned(),
    }];
    let drafts = components_of(&Folder::new(&canonical, "."));
    let (mut drafts, unfit): (Vec<_>, Vec<_>) = drafts.into_iter().partition(is_fit);
    findings.extend(unfit.into_iter().map(|draft| Finding {
        what: "left out".to_owned(),
        value: draft.name,
        why: format!("{}, but what it says fits into no manifest", draft.why),
    }));
    if drafts.is_empty() {
        drafts.push(draft::placeholder());
    }
    draft::make_names_unique(&mut drafts, &project);
    let left_out: Vec<_> = drafts
        .split_off(drafts.len().min(MOST_COMPONENTS))
        .into_iter()
        .map(|draft| draft.name)
        .collect();
    draft::give_routes(&mut drafts);
    for draft in &drafts {
        findings.push(Finding {
            what: format!("component {}", draft.name),
            value: match &draft.workload {
                Workload::Process { command, .. } => format!("{}, `{command}`", draft.stack),
                Workload::Static { .. } => format!("{}, files", draft.stack),
            },
            why: draft.why.clone(),
        });
    }
    if !left_out.is_empty() {
        findings.push(Finding {
            what: "left out".to_owned(),
            value: left_out.join(", "),
            why: format!("more than {MOST_COMPONENTS} components"),
        });
    }
    for finding in &mut findings {
        // Names and commands are those of somebody's files.
        finding.value = tidegate_manifest::printable(&finding.value);
        finding.why = tidegate_manifest::printable(&finding.why);
    }
    Detected { manifest: writer::manifest(&project, &drafts, &left_out), findings }
}

/// Whether the manifest of this component alone is accepted. Files of others may say anything, as a
/// command with a byte that no command can have.
fn is_fit(draft: &Draft) -> bool {
    let mut alone = [draft.clone()];
    draft::make_names_unique(&mut alone, "project");
    let text = writer::manifest("project", &alone, &[]);
    tidegate_manifest::read(&text, tidegate_manifest::FILE_NAME).is_ok()
}

fn components_of(root: &Folder) -> Vec<Draft> {
    let here = components_in(root);
    if !here.is_empty() {
        return here;
    }
    let mut drafts = Vec::new();
    for folder in root.folders() {
        if PASSED_OVER.contains(&folder.name()) && !folder.has("Dockerfile") {
            continue;
        }
        let found = components_in(&folder);
        if found.is_empty() && COLLECTIONS.contains(&folder.name()) {
            drafts.extend(
                folder
                    .folders()
                    .filter(|folder| !PASSED_OVER.contains(&folder.name()))
                    .flat_map(|folder| components_in(&folder)),
            );
        } else {
            drafts.extend(found);
        }
    }
    drafts
}

/// The components of one folder. What serves comes before what is only files, a `Procfile` before
/// what is guessed, and a `Dockerfile` last, as only its command can be used.
fn components_in(folder: &Folder) -> Vec<Draft> {
    let stacks: [fn(&Folder) -> Vec<Draft>; 7] = [
        rust::detect,
        go::detect,
        node::detect_server,
        python::detect,
        ruby::detect,
        node::detect_site,
        site::detect,
    ];
    let found = stacks
        .into_iter()
        .map(|detect| detect(folder))
        .find(|drafts| !drafts.is_empty())
        .unwrap_or_default();
    let by_procfile = procfile::detect(folder, &found);
    if !by_procfile.is_empty() {
        return by_procfile;
    }
    if found.is_empty() { docker::detect(folder) } else { found }
}
