//! What is wrong with a manifest, and where.

use std::fmt;

use serde::Serialize;

/// A stretch of the file in bytes: from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// Whether all of `other` lies in this stretch.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// Whether a problem stops the manifest from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The manifest cannot be used.
    Error,
    /// The manifest can be used, but this is probably not what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that is wrong, with its place and its mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of problem, kebab-case; never changes its meaning.
    pub code: &'static str,
    /// The file as it was named by the caller.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The place in bytes.
    pub span: Span,
    /// The line itself, without its end.
    pub source: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Said at the place itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(&mut self, help: Option<String>) -> &mut Self {
        self.help = help;
        self
    }
}

/// All problems of one file, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.iter().any(|problem| problem.severity == Severity::Error)
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Problems {
    /// As [`Problems::render`] without colour.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// More problems than this are not told: nobody reads them, and a file made to harm could have
/// millions.
pub(crate) const MAX_PROBLEMS: usize = 300;
const MAX_MESSAGE: usize = 400;
const MAX_SOURCE: usize = 16 << 10;

/// Collects the problems of one file.
pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
    /// Takes what is said of problems that are too many.
    beyond: Option<Box<Problem>>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(index, _)| index + 1))
            // What follows the last line end is no line when it is empty.
            .filter(|start| *start == 0 || *start < text.len())
            .collect();
        Self { file, text, line_starts, problems: Vec::new(), beyond: None }
    }

    /// Whether no more problems are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The line, counted from 1, in which a byte lies.
    pub(crate) fn line_of(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte)
    }

    pub(crate) fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Problem {
        self.push(Severity::Error, code, span, message.into())
    }

    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Problem {
        self.push(Severity::Warning, code, span, message.into())
    }

    fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: Span,
        message: String,
    ) -> &mut Problem {
        // A place after the last line end belongs to the last line.
        let start = span.start.min(self.text.len());
        let line = self.line_of(start);
        let line_start = self.line_starts[line - 1];
        let rest = &self.text[line_start..];
        let source = rest.split('\n').next().unwrap_or_default();
        let source = source.trim_end_matches('\r').trim_start_matches('\u{feff}');
        let start = floor(self.text, start).min(line_start + rest.len());
        let column = self.text[line_start..start]
            .trim_start_matches('\u{feff}')
            .trim_end_matches(['\r', '\n'])
            .chars()
            .count()
            + 1;
        let end = floor(self.text, span.end.min(self.text.len())).max(start);
        let problem = Problem {
            severity,
            code,
            file: self.file.to_owned(),
            line,
            column,
            span: Span { start, end },
            source: source[..floor(source, source.len().min(MAX_SOURCE))].to_owned(),
            message: if message.chars().count() > MAX_MESSAGE {
                message.chars().take(MAX_MESSAGE).chain(['…']).collect()
            } else {
                message
            },
            label: None,
            help: None,
        };
        if self.is_full() {
            return self.beyond.insert(Box::new(problem));
        }
        self.problems.push(problem);
        self.problems.last_mut().expect("one was just pushed")
    }

    /// Whether an error lies within `span`, so that what stands there is not to be relied on.
    pub(crate) fn is_faulty(&self, span: Span) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error && span.contains(problem.span))
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The problems in the order of the file, each once: an alias would repeat those of its anchor.
    ///
    /// What they quote of the file is made fit for a line of a terminal.
    pub(crate) fn finish(mut self) -> Problems {
        self.problems.sort_by_key(|problem| problem.span.start);
        for problem in &mut self.problems {
            problem.message = printable(&problem.message);
            problem.label = problem.label.as_deref().map(printable);
            let lines = problem.help.as_deref().map(|help| help.split('\n').map(printable));
            problem.help = lines.map(|lines| lines.collect::<Vec<_>>().join("\n"));
        }
        let mut unique: Vec<Problem> = Vec::with_capacity(self.problems.len());
        for problem in self.problems {
            let known = unique
                .iter()
                .rev()
                .take_while(|other| other.span.start == problem.span.start)
                .any(|other| *other == problem);
            if !known {
                unique.push(problem);
            }
        }
        Problems(unique)
    }
}

/// Whether a character does something to a terminal other than to stand there: a control character,
/// or one that turns the direction of what follows.
pub(crate) fn is_active(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of somebody else as it can be shown in a line of a terminal: control characters, and those
/// that turn the direction of what follows, are escapes, so that they are read and not obeyed.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if is_active(character) {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// The nearest character boundary at or before `byte`.
fn floor(text: &str, byte: usize) -> usize {
    (0..=byte).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}
