//! Problems as text, in the manner of rustc.

use std::fmt::Write as _;

use crate::problem::{Problem, Problems, Severity, is_active};

/// Longest part of a source line that is shown.
const WIDTH: usize = 100;
/// Shown before the place in a line that is too long.
const BEFORE: usize = 40;

impl Problems {
    /// All problems, one after the other, and how many there are.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut output = String::new();
        for problem in self {
            output.push_str(&problem.render(color));
            output.push('\n');
        }
        output
    }

    /// How many of which kind: `2 errors, 1 warning`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |severity| self.iter().filter(|problem| problem.severity == severity).count();
        let parts: Vec<String> = [Severity::Error, Severity::Warning]
            .into_iter()
            .filter_map(|severity| match count(severity) {
                0 => None,
                1 => Some(format!("1 {severity}")),
                number => Some(format!("{number} {severity}s")),
            })
            .collect();
        if parts.is_empty() { "no problems".to_owned() } else { parts.join(", ") }
    }
}

impl Problem {
    /// The problem with its line and a mark under its place; ends with a line end.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let paint = Paint { color };
        let accent = match self.severity {
            Severity::Error => "1;31",
            Severity::Warning => "1;33",
        };
        let gutter = " ".repeat(self.line.to_string().len());
        let bar = paint.with("1;34", "|");
        let mut output = String::new();
        let heading = paint.with(accent, &format!("{}[{}]", self.severity, self.code));
        let message = paint.with("1", &format!(": {}", self.message));
        let arrow = paint.with("1;34", "-->");
        let (shown, offset, length) = self.excerpt();
        let number = paint.with("1;34", &self.line.to_string());
        let mut marks = "^".repeat(length);
        if let Some(label) = &self.label {
            marks.push(' ');
            marks.push_str(label);
        }
        let marks = paint.with(accent, &marks);
        // Writing to a string cannot fail.
        let _ = writeln!(output, "{heading}{message}");
        let _ = writeln!(output, "{gutter}{arrow} {}:{}:{}", self.file, self.line, self.column);
        let _ = writeln!(output, "{gutter} {bar}");
        let code = format!("{number} {bar} {shown}");
        let _ = writeln!(output, "{}", code.trim_end());
        let _ = writeln!(output, "{gutter} {bar} {}{marks}", " ".repeat(offset));
        if let Some(help) = &self.help {
            let word = paint.with("1;36", "help");
            let indented = help.replace('\n', &format!("\n{gutter}         "));
            let _ = writeln!(output, "{gutter} {} {word}: {indented}", paint.with("1;34", "="));
        }
        output
    }

    /// The part of the line that is shown, and where and how long the mark below it is.
    fn excerpt(&self) -> (String, usize, usize) {
        // A tab or another control character would put the mark in the wrong place.
        let line: Vec<char> =
            self.source.chars().map(|c| if is_active(c) { ' ' } else { c }).collect();
        let column = (self.column - 1).min(line.len());
        let first = if line.len() > WIDTH { column.saturating_sub(BEFORE) } else { 0 };
        let last = line.len().min(first + WIDTH);
        let mut shown: String = line[first..last].iter().collect();
        let mut offset = column - first;
        if first > 0 {
            shown.insert(0, '…');
            offset += 1;
        }
        if last < line.len() {
            shown.push('…');
        }
        let wanted = self
            .source
            .chars()
            .skip(column)
            .scan(0, |bytes, c| {
                let before = *bytes;
                *bytes += c.len_utf8();
                (before < self.span.end - self.span.start).then_some(())
            })
            .count();
        (shown, offset, wanted.clamp(1, (last - column.min(last)).max(1)))
    }
}

struct Paint {
    color: bool,
}

impl Paint {
    fn with(&self, style: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
