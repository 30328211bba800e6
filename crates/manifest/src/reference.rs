//! Every key of the manifest, once: the reader takes keys, types and defaults from here, and so do
//! the JSON Schema, `explain` and the page of documentation.
//!
//! A key is named by its path, in which `*` stands for any name or any item of a list. The keys of
//! a strategy are the same in a component as in an environment and are listed once.

mod table;

use std::str::FromStr;

pub(crate) use table::KEYS;

use crate::scalar::Kind;

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// As in `components.*.health.interval`.
    pub(crate) path: &'static str,
    /// What may stand there; more than one where there is a short form.
    pub(crate) forms: &'static [Form],
    /// What holds when it is left out.
    pub(crate) default: Default,
    /// What it means, in one line.
    pub(crate) summary: &'static str,
    /// All that there is to know besides.
    pub(crate) details: &'static str,
    /// A value, as YAML.
    pub(crate) example: &'static str,
}

/// What may stand at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A single value.
    Scalar(Kind),
    /// A mapping whose keys are in the table.
    Mapping,
    /// A mapping from names that the user chooses.
    Named(Naming),
    /// A list.
    List,
    /// Nothing at all: every default holds.
    Nothing,
}

/// Which names the user may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Names of components and environments.
    Name,
    /// Names of variables.
    Variable,
}

/// What holds when a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Default {
    /// It cannot be left out.
    Required,
    /// Nothing is there.
    Absent,
    /// This, as it would be written.
    Text(&'static str),
    /// It depends; this says on what.
    Depends(&'static str),
}

impl Key {
    const fn new(path: &'static str, forms: &'static [Form], summary: &'static str) -> Self {
        Self { path, forms, default: Default::Absent, summary, details: "", example: "" }
    }

    const fn required(mut self) -> Self {
        self.default = Default::Required;
        self
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.default = Default::Text(text);
        self
    }

    const fn depends(mut self, on: &'static str) -> Self {
        self.default = Default::Depends(on);
        self
    }

    const fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    /// The last part of the path.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The kinds of single value that may stand here.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.forms.iter().filter_map(|form| match form {
            Form::Scalar(kind) => Some(*kind),
            Form::Mapping | Form::Named(_) | Form::List | Form::Nothing => None,
        })
    }

    /// How names below this key are chosen, when the user chooses them.
    pub(crate) fn naming(&self) -> Option<Naming> {
        self.forms.iter().find_map(|form| match form {
            Form::Named(naming) => Some(*naming),
            _ => None,
        })
    }

    /// What may stand here, in words: `a URL path such as `/api` or a mapping`.
    pub(crate) fn expected(&self) -> String {
        let words: Vec<String> = self
            .forms
            .iter()
            .filter_map(|form| match form {
                Form::Scalar(kind) => Some(kind.noun()),
                Form::Mapping | Form::Named(_) => Some("a mapping".to_owned()),
                Form::List => Some("a list".to_owned()),
                Form::Nothing => None,
            })
            .collect();
        words.join(" or ")
    }

    /// The default in words, for people.
    pub(crate) fn default_words(&self) -> String {
        match self.default {
            Default::Required => "none: it is required".to_owned(),
            Default::Absent => "none".to_owned(),
            Default::Text(text) => format!("`{text}`"),
            Default::Depends(on) => on.to_owned(),
        }
    }
}

/// The path under which a key is listed: strategies of components are those of environments.
pub(crate) fn canonical(path: &str) -> String {
    match path.strip_prefix("components.*.strategy.") {
        Some(rest) => format!("environments.*.strategy.{rest}"),
        None => path.to_owned(),
    }
}

/// The key of a path with `*` for names and items.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    let path = canonical(path);
    KEYS.iter().find(|key| key.path == path)
}

/// The keys right below a path; the top level for the empty path.
pub(crate) fn children(path: &str) -> impl Iterator<Item = &'static Key> {
    let prefix = if path.is_empty() { String::new() } else { canonical(&format!("{path}.")) };
    KEYS.iter().filter(move |key| {
        key.path
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| !rest.is_empty() && !rest.contains('.'))
    })
}

/// The default of a key as a value.
pub(crate) fn default_value<T: FromStr>(path: &str) -> Option<T> {
    match find(path)?.default {
        Default::Text(text) => text.parse().ok(),
        Default::Required | Default::Absent | Default::Depends(_) => None,
    }
}

/// Keys that later versions will know, so that nobody believes they work already.
pub(crate) const LATER: [&str; 11] = [
    "components.*.watch",
    "components.*.secrets",
    "components.*.image",
    "components.*.resources",
    "components.*.volumes",
    "components.*.migrate",
    "environments.*.trigger",
    "environments.*.requires",
    "environments.*.approval",
    "environments.*.target",
    "environments.*.freeze",
];

/// Keys that people look for in one place and that are in another, and where.
pub(crate) const ELSEWHERE: [(&str, &str); 1] = [(
    "environments.*.strategy.canary.sticky",
    "visitors belong to a route: write `route: { sticky: cookie }` in the component",
)];

/// Words of other tools for the keys of this one.
pub(crate) const SYNONYMS: [(&str, &str); 22] = [
    ("name", "project"),
    ("services", "components"),
    ("apps", "components"),
    ("stages", "environments"),
    ("healthcheck", "health"),
    ("health_check", "health"),
    ("cmd", "command"),
    ("run", "command"),
    ("start", "command"),
    ("entrypoint", "command"),
    ("instances", "replicas"),
    ("scale", "replicas"),
    ("root", "path"),
    ("dir", "path"),
    ("ports", "port"),
    ("environment", "env"),
    ("variables", "env"),
    ("vars", "env"),
    ("artifact", "output"),
    ("needs", "depends_on"),
    ("logging", "log"),
    ("guards", "rollback"),
];

#[cfg(test)]
mod tests;
