//! YAML text as a tree in which every node knows its place.
//!
//! The parser behind it is used event by event, so that depth and size stay bounded here and
//! nothing outside this file knows which parser it is. Of YAML, tags, merge keys and several
//! documents in one file are refused; aliases are copied within a budget.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::problem::{MAX_PROBLEMS, Span};

/// Larger files are refused; a manifest of this size is a mistake.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Longer lines are refused: nobody could find a problem in them.
const MAX_LINE_BYTES: usize = 16 << 10;
const MAX_DEPTH: usize = 48;
const MAX_NODES: usize = 100_000;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Nothing written, `~` or `null`.
    Nothing,
    Scalar(Scalar),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// Text, and whether it was written without quotes and may be a number or a boolean.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) plain: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

/// Something wrong with the YAML itself.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// What YAML takes a scalar for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Text,
    Boolean,
    Integer,
    Number,
}

impl Scalar {
    pub(crate) fn kind(&self) -> ScalarKind {
        if !self.plain {
            return ScalarKind::Text;
        }
        let text = self.text.as_str();
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let radix = |prefix, radix| {
            text.strip_prefix(prefix).is_some_and(|rest: &str| {
                !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix))
            })
        };
        if matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") {
            ScalarKind::Boolean
        } else if digits(unsigned) || radix("0x", 16) || radix("0o", 8) {
            ScalarKind::Integer
        } else if matches!(unsigned, ".inf" | ".Inf" | ".INF")
            || matches!(text, ".nan" | ".NaN" | ".NAN")
            || (unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && text.parse::<f64>().is_ok())
        {
            ScalarKind::Number
        } else {
            ScalarKind::Text
        }
    }
}

impl Node {
    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key; of a key that was given twice, the first.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The places of a key and its value together.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }
}

/// The tree, as far as there is one, and everything that is wrong with the YAML.
pub(crate) fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    if text.len() > MAX_BYTES {
        return refuse(Fault {
            code: "too-large",
            span: Span { start: 0, end: 0 },
            message: format!(
                "the file has {} bytes; a manifest has at most {MAX_BYTES}",
                text.len()
            ),
            help: Some("is this the right file?".to_owned()),
        });
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.len() > MAX_LINE_BYTES {
            return refuse(Fault {
                code: "too-large",
                span: Span { start, end: start },
                message: format!(
                    "this line has {} bytes; a line of a manifest has at most {MAX_LINE_BYTES}",
                    line.len()
                ),
                help: Some("break it up; is this the right file?".to_owned()),
            });
        }
        start += line.len();
    }
    let content = text.strip_prefix('\u{feff}').unwrap_or(text);
    let shift = text.len() - content.len();
    let control = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}')) || c == '\u{feff}'
    };
    // The parser would take U+0000 for the end of the file and ignore what follows.
    if let Some((index, character)) = content.char_indices().find(|(_, c)| control(*c)) {
        let start = shift + index;
        return refuse(Fault {
            code: "control-character",
            span: Span { start, end: start + character.len_utf8() },
            message: format!("there is a control character here (U+{:04X})", u32::from(character)),
            help: Some("remove it; inside double quotes it can be written as an escape".to_owned()),
        });
    }
    Builder::new(content, shift).run()
}

fn refuse(fault: Fault) -> (Option<Node>, Vec<Fault>) {
    (None, vec![fault])
}

/// A collection that is not closed yet.
struct Open {
    span: Span,
    anchor: usize,
    size_before: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Mapping { entries: Vec<Entry>, known: HashMap<String, Span>, key: Option<(String, Span)> },
}

struct Builder<'a> {
    content: &'a str,
    /// Byte of each character, and of the end.
    bytes: Vec<usize>,
    faults: Vec<Fault>,
    open: Vec<Open>,
    /// Anchored nodes with the number of nodes in them.
    anchors: HashMap<usize, (Node, usize)>,
    size: usize,
    root: Option<Node>,
    documents: usize,
    duplicates: Vec<Duplicate>,
}

/// A key, its place and the place where it was first.
type Duplicate = (String, Span, Span);

impl<'a> Builder<'a> {
    fn new(content: &'a str, shift: usize) -> Self {
        let bytes = content
            .char_indices()
            .map(|(index, _)| index)
            .chain([content.len()])
            .map(|index| index + shift)
            .collect();
        Self {
            content,
            bytes,
            faults: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            size: 0,
            root: None,
            documents: 0,
            duplicates: Vec::new(),
        }
    }

    fn byte(&self, character: usize) -> usize {
        self.bytes[character.min(self.bytes.len() - 1)]
    }

    fn fault(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: Option<&str>,
    ) {
        self.faults.push(Fault {
            code,
            span,
            message: message.into(),
            help: help.map(str::to_owned),
        });
    }

    fn run(mut self) -> (Option<Node>, Vec<Fault>) {
        for event in Parser::new_from_str(self.content) {
            let (event, span) = match event {
                Ok(next) => next,
                Err(error) => {
                    let start = self.byte(error.marker().index());
                    let fault = syntax_fault(self.content, &error, start);
                    self.faults.push(fault);
                    return (None, self.faults);
                }
            };
            let span =
                Span { start: self.byte(span.start.index()), end: self.byte(span.end.index()) };
            if !self.take(event, span) {
                return (None, self.faults);
            }
        }
        let duplicates = std::mem::take(&mut self.duplicates);
        let shift = self.bytes[0];
        let line_ends: Vec<usize> =
            self.content.match_indices('\n').map(|(end, _)| end + shift).collect();
        for (key, span, first) in duplicates.into_iter().take(MAX_PROBLEMS) {
            let line = line_ends.partition_point(|end| *end < first.start) + 1;
            self.fault(
                "duplicate-key",
                span,
                format!("the key `{key}` is here for the second time"),
                Some(&format!("it is first on line {line}: remove one of the two")),
            );
        }
        (self.root, self.faults)
    }

    /// Whether to go on.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => true,
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.fault(
                        "several-documents",
                        span,
                        "a second document starts here",
                        Some("a manifest is one YAML document: remove the line `---`"),
                    );
                }
                self.documents == 1
            }
            Event::Alias(anchor) => self.take_alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain;
                let value = if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Nothing
                } else {
                    Value::Scalar(Scalar { text: text.into_owned(), plain })
                };
                self.size += 1;
                self.finish(Node { span, value }, anchor, 1) && self.within_size(span)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                self.start(OpenKind::List(Vec::new()), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                let kind =
                    OpenKind::Mapping { entries: Vec::new(), known: HashMap::new(), key: None };
                self.start(kind, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
        }
    }

    fn refuse_tag(&mut self, tag: Option<&saphyr_parser::Tag>, span: Span) {
        if let Some(tag) = tag {
            self.fault(
                "yaml-tag",
                span,
                format!("the YAML tag `{tag}` has no meaning in a manifest"),
                Some("remove it"),
            );
        }
    }

    fn start(&mut self, kind: OpenKind, anchor: usize, span: Span) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.fault(
                "too-deep",
                span,
                format!("this is nested more than {MAX_DEPTH} levels deep"),
                Some("a manifest needs no more than eight"),
            );
            return false;
        }
        self.open.push(Open { span, anchor, size_before: self.size, kind });
        self.size += 1;
        self.within_size(span)
    }

    fn within_size(&mut self, span: Span) -> bool {
        if self.size <= MAX_NODES {
            return true;
        }
        self.fault(
            "too-large",
            span,
            format!("the manifest has more than {MAX_NODES} values, copies by alias included"),
            Some("write less with aliases (`*name`), or split the project"),
        );
        false
    }

    fn take_alias(&mut self, anchor: usize, span: Span) -> bool {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            self.fault(
                "yaml-syntax",
                span,
                "this alias stands inside the very value that it names",
                Some("an alias can only repeat a value that is complete"),
            );
            return false;
        };
        // Checked before the copy is made: aliases of aliases grow without bound.
        self.size += size;
        let (size, over) = (*size, self.size > MAX_NODES);
        if over {
            return self.within_size(span);
        }
        let node = node.clone();
        self.finish(node, 0, size)
    }

    fn close(&mut self, span: Span) -> bool {
        let Some(open) = self.open.pop() else {
            return true;
        };
        let size = self.size - open.size_before;
        let (value, end) = match open.kind {
            OpenKind::List(items) => {
                let end = items.last().map(|item| item.span.end);
                (Value::List(items), end)
            }
            OpenKind::Mapping { entries, .. } => {
                let end = entries.last().map(|entry| entry.value.span.end.max(entry.key_span.end));
                (Value::Mapping(entries), end)
            }
        };
        let flow = self.content.as_bytes().get(open.span.start - self.bytes[0]);
        let end = match (flow, end) {
            (Some(b'{' | b'['), _) | (_, None) => span.end,
            // A block ends where its last value ends, not where the next key starts.
            (_, Some(end)) => end,
        };
        let span = Span { start: open.span.start, end: end.max(open.span.end) };
        self.finish(Node { span, value }, open.anchor, size)
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, size: usize) -> bool {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return true;
        };
        match &mut open.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Mapping { entries, known, key } => match key.take() {
                Some((name, key_span)) => {
                    if let Some(first) = known.get(&name) {
                        self.duplicates.push((name, key_span, *first));
                    } else {
                        known.insert(name.clone(), key_span);
                        entries.push(Entry { key: name, key_span, value: node });
                    }
                }
                None => match node.value {
                    Value::Scalar(scalar) => *key = Some((scalar.text, node.span)),
                    Value::Nothing | Value::List(_) | Value::Mapping(_) => {
                        self.fault(
                            "yaml-syntax",
                            node.span,
                            "this key is not a plain word",
                            Some("write `key: value`; a text with `{`, `[` or `*` in front needs quotes"),
                        );
                        return false;
                    }
                },
            },
        }
        true
    }
}

/// A parser's error in words that help.
fn syntax_fault(content: &str, error: &saphyr_parser::ScanError, start: usize) -> Fault {
    let info = error.info();
    let line = content.split('\n').nth(error.marker().line().saturating_sub(1)).unwrap_or_default();
    let (code, help) = if line.trim_start_matches(' ').starts_with('\t') || info.contains("tab") {
        ("yaml-tab", "YAML is indented with spaces: replace the tab by spaces")
    } else if info.contains("mapping values are not allowed") {
        ("yaml-syntax", "a text that contains `: ` needs quotes; or the line is indented too far")
    } else if info.contains("unknown anchor") || info.contains("anchor") {
        (
            "yaml-syntax",
            "a text that starts with `*` or `&` needs quotes; an alias needs its anchor before it",
        )
    } else if info.contains("quoted scalar") {
        ("yaml-syntax", "close the quotes")
    } else if info.contains("recursion limit") {
        ("too-deep", "this is nested far too deep for a manifest")
    } else if info.contains("cannot start any token") {
        ("yaml-syntax", "a text that starts with `@`, `` ` `` or `%` needs quotes")
    } else if info.contains("placement of ':'") {
        (
            "yaml-syntax",
            "is a `]`, a `}` or a quote missing before it? a text that contains `: ` needs quotes",
        )
    } else if info.contains("flow") || info.contains("',' or") {
        ("yaml-syntax", "is a `]`, a `}` or a comma missing?")
    } else {
        ("yaml-syntax", "check the indentation and the colons of this line and the one before it")
    };
    Fault {
        code,
        span: Span { start, end: start + 1 },
        message: format!("this is not YAML: {info}"),
        help: Some(help.to_owned()),
    }
}
