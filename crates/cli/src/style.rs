//! Colour, when the place where the text goes can show it.

use std::{env, io::IsTerminal};

/// How text is coloured. Colour never says anything that the words do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    color: bool,
}

fn set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

impl Style {
    /// No colour.
    pub(crate) const fn plain() -> Self {
        Self { color: false }
    }

    /// Colour as `stream` and the user's environment allow.
    pub(crate) fn for_stream(stream: &impl IsTerminal, no_color: bool) -> Self {
        let color = if no_color || set("NO_COLOR") {
            false
        } else if env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
            true
        } else {
            stream.is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
        };
        Self { color }
    }

    /// Whether there is any.
    pub(crate) const fn has_color(self) -> bool {
        self.color
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
}

/// Whether a block that is drawn again and again can be shown on stderr.
pub(crate) fn live() -> bool {
    std::io::stderr().is_terminal()
        && !set("CI")
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}
