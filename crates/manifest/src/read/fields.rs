//! A mapping of the file together with its place in the table of keys.

use std::str::FromStr;

use crate::{
    problem::Span,
    reference::{self, Key},
    yaml::{Entry, Node},
};

/// The keys that were given below one path; the others have the table's defaults.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    node: Option<&'a Node>,
    path: String,
}

impl<'a> Fields<'a> {
    /// `node` stands at `path` of the table. A short form or nothing has no keys.
    pub(super) fn new(node: Option<&'a Node>, path: impl Into<String>) -> Self {
        Self { node, path: path.into() }
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        let key = reference::find(&self.path_of(name));
        debug_assert!(key.is_some(), "`{}` is in the table", self.path_of(name));
        key
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// What was written for a key.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        self.key(name)?;
        self.node?.get(name)
    }

    /// The place of what was written for a key.
    pub(super) fn span(&self, name: &str) -> Option<Span> {
        self.node(name).map(|node| node.span)
    }

    /// The place of the key itself.
    pub(super) fn key_span(&self, name: &str) -> Option<Span> {
        self.key(name)?;
        self.node?.entry(name).map(|entry| entry.key_span)
    }

    /// The mapping below a key.
    pub(super) fn child(&self, name: &str) -> Self {
        Self::new(self.node(name), self.path_of(name))
    }

    /// The items of a list below a key.
    pub(super) fn items(&self, name: &str) -> Option<&'a [Node]> {
        self.node(name)?.items()
    }

    /// What was written below a key with names that the user chose.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.node(name)
            .and_then(Node::entries)
            .unwrap_or_default()
            .iter()
            .filter(|entry| !entry.key.starts_with("x-"))
    }

    /// The text of a single value, if it is one that may stand there.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let scalar = self.node(name)?.scalar()?;
        self.key(name)?
            .kinds()
            .any(|kind| kind.check(scalar).is_ok())
            .then_some(scalar.text.as_str())
    }

    /// A value that was written and may stand there.
    pub(super) fn given<T: FromStr>(&self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        // YAML writes booleans in three ways, Rust in one.
        text.parse().or_else(|_| text.to_ascii_lowercase().parse()).ok()
    }

    /// The table's default.
    pub(super) fn default<T: FromStr>(&self, name: &str) -> Option<T> {
        reference::default_value(&self.path_of(name))
    }

    /// A value that was written, or else the table's default. What was written wrongly counts as
    /// not written: it has been reported, and the other checks go on.
    pub(super) fn value<T: FromStr + Default>(&self, name: &str) -> T {
        self.given(name).or_else(|| self.default(name)).unwrap_or_default()
    }
}
