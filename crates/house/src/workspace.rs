//! The crates of the workspace and what each declares.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// The prefix of the workspace's own crates.
const PREFIX: &str = "tidegate-";

/// One crate.
#[derive(Debug)]
pub struct Crate {
    /// The name of its folder below `crates/`.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its `Cargo.toml`.
    pub manifest: toml::Table,
}

/// A section of dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What is shipped with it, build dependencies included.
    Shipped,
    /// What only its tests, benchmarks and examples use.
    Development,
}

impl Section {
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Shipped => &["dependencies", "build-dependencies"],
            Self::Development => &["dev-dependencies"],
        }
    }
}

impl Crate {
    fn dependencies(&self, section: Section) -> BTreeSet<String> {
        let tables = self
            .manifest
            .get("target")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(|targets| targets.values().filter_map(toml::Value::as_table))
            .chain([&self.manifest]);
        tables
            .flat_map(|table| section.keys().iter().filter_map(|key| table.get(*key)))
            .filter_map(toml::Value::as_table)
            .flat_map(|dependencies| dependencies.keys().cloned())
            .collect()
    }

    /// The crates of the workspace on which it depends, by the names of their folders.
    #[must_use]
    pub fn internal(&self, section: Section) -> BTreeSet<String> {
        self.dependencies(section)
            .iter()
            .filter_map(|name| name.strip_prefix(PREFIX))
            .map(str::to_owned)
            .collect()
    }

    /// The crates of others on which it depends.
    #[must_use]
    pub fn external(&self, section: Section) -> BTreeSet<String> {
        self.dependencies(section).into_iter().filter(|name| !name.starts_with(PREFIX)).collect()
    }

    /// Its Rust files below one of its folders, such as `src`, with their text.
    pub fn sources(&self, below: &str) -> io::Result<BTreeMap<PathBuf, String>> {
        let mut found = BTreeMap::new();
        collect(&self.folder.join(below), &mut found)?;
        Ok(found)
    }
}

fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, String>) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path.clone(), fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// The folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This crate is `crates/house`.
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Every crate of the workspace, by name.
pub fn crates() -> io::Result<BTreeMap<String, Crate>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("crates"))? {
        let folder = entry?.path();
        let file = folder.join("Cargo.toml");
        if !file.is_file() {
            continue;
        }
        let manifest = fs::read_to_string(&file)?.parse().map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()))
        })?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let one = Crate { name: name.clone(), folder, manifest };
        found.insert(name, one);
    }
    Ok(found)
}

/// The text files that git knows, with their text, by path relative to the root.
pub fn committed_text() -> io::Result<BTreeMap<PathBuf, String>> {
    let root = root();
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(&root).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found = BTreeMap::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // A file that was removed and not yet committed, or that is no text, has nothing to read.
        if let Ok(text) = fs::read_to_string(root.join(name)) {
            found.insert(PathBuf::from(name), text);
        }
    }
    Ok(found)
}
