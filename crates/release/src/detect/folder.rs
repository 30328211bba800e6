//! A folder that is looked at.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// More of a file is not read.
const FILE_LIMIT: u64 = 1 << 20;
/// So many names of a folder are looked at.
const NAMES: usize = 2_000;

/// A folder below the root of the project.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    place: PathBuf,
    /// Relative to the root; `.` for the root.
    pub(crate) path: String,
    names: Vec<String>,
}

impl Folder {
    pub(crate) fn new(place: &Path, path: &str) -> Self {
        let mut names: Vec<String> = fs::read_dir(place)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .take(NAMES)
            .collect();
        names.sort();
        Self { place: place.to_owned(), path: path.to_owned(), names }
    }

    /// The last part of its path.
    pub(crate) fn name(&self) -> &str {
        self.place.file_name().and_then(|name| name.to_str()).unwrap_or("")
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.place.join(path).is_file()
    }

    pub(crate) fn has_folder(&self, path: &str) -> bool {
        self.place.join(path).is_dir()
    }

    /// The first of these files that is there.
    pub(crate) fn first_of<'a>(&self, paths: &[&'a str]) -> Option<&'a str> {
        paths.iter().copied().find(|path| self.has(path))
    }

    /// The text of a file; what is not UTF-8 in it is replaced.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let place = self.place.join(path);
        // A named pipe would wait for a writer.
        if !place.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(place).ok()?;
        file.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn toml(&self, path: &str) -> Option<toml::Table> {
        self.text(path)?.parse().ok()
    }

    /// Names of the files whose names end so.
    pub(crate) fn files_ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = &'a str> {
        self.names
            .iter()
            .map(String::as_str)
            .filter(move |name| name.ends_with(end) && self.has(name))
    }

    /// The folder at this path below.
    pub(crate) fn folder(&self, path: &str) -> Self {
        let below =
            if self.path == "." { path.to_owned() } else { format!("{}/{path}", self.path) };
        Self::new(&self.place.join(path), &below)
    }

    /// Its folders, without hidden ones and links.
    pub(crate) fn folders(&self) -> impl Iterator<Item = Self> {
        self.names
            .iter()
            .filter(|name| {
                let facts = self.place.join(name).symlink_metadata();
                !name.starts_with('.') && facts.is_ok_and(|facts| facts.is_dir())
            })
            .map(|name| self.folder(name))
    }
}
