//! How the app is told to behave.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Words on the command line, or else variables.
pub(crate) struct Options(BTreeMap<String, String>);

const KNOWN: [&str; 14] = [
    "version",
    "start_delay",
    "ready_after",
    "ready",
    "unready_while",
    "hang_while",
    "hang_when",
    "die_after",
    "die_when",
    "error_percent",
    "fork",
    "flood",
    "on_term",
    "report",
];

impl Options {
    pub(crate) fn read(words: &[&str]) -> Result<Self, String> {
        let mut options = BTreeMap::new();
        for name in KNOWN {
            if let Ok(value) = std::env::var(format!("TESTAPP_{}", name.to_uppercase())) {
                options.insert(name.to_owned(), value);
            }
        }
        for word in words {
            let (name, value) = word
                .split_once('=')
                .filter(|(name, _)| KNOWN.contains(name))
                .ok_or_else(|| format!("`{word}` is not an option of this app"))?;
            options.insert(name.to_owned(), value.to_owned());
        }
        Ok(Self(options))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).is_some_and(|path| path.exists())
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    pub(crate) fn time(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }
}
