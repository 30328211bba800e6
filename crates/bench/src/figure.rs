//! The table of figures.

use std::{fmt::Write as _, fs};

/// The load of the machine now: whoever else uses it is in every figure.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let parts: Vec<&str> = text.split_whitespace().take(4).collect();
    if parts.is_empty() { "unknown".to_owned() } else { parts.join(" ") }
}

/// One row.
struct Figure {
    what: String,
    goal: String,
    measured: String,
    high: String,
    reached: &'static str,
    load: String,
}

/// All rows so far.
#[derive(Default)]
pub(crate) struct Figures(Vec<Figure>);

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// At most that.
    AtMost(f64),
    /// At least that.
    AtLeast(f64),
    /// Printed because it explains another one.
    None,
}

impl Figures {
    /// Adds what was measured just now: with the load of this moment.
    pub(crate) fn add(&mut self, what: &str, goal: Goal, unit: &str, measured: f64, high: f64) {
        let shown = |value: f64| format!("{} {unit}", number(value)).trim_end().to_owned();
        let word = |reached: bool| if reached { "yes" } else { "NO" };
        let (bound, reached) = match goal {
            Goal::AtMost(limit) => (format!("≤ {}", shown(limit)), word(measured <= limit)),
            Goal::AtLeast(limit) => (format!("≥ {}", shown(limit)), word(measured >= limit)),
            Goal::None => (String::new(), ""),
        };
        self.0.push(Figure {
            what: what.to_owned(),
            goal: bound,
            measured: shown(measured),
            high: if high.is_nan() { String::new() } else { shown(high) },
            reached,
            load: load(),
        });
    }

    /// Adds a figure that is measured elsewhere.
    pub(crate) fn refer(&mut self, what: &str, goal: &str, place: &str) {
        self.0.push(Figure {
            what: what.to_owned(),
            goal: goal.to_owned(),
            measured: place.to_owned(),
            high: String::new(),
            reached: "",
            load: String::new(),
        });
    }

    /// All of them, as Markdown that reads well without being rendered.
    pub(crate) fn table(&self) -> String {
        let head =
            ["figure", "goal", "measured (median)", "p95", "reached", "load (1, 5, 15 min, tasks)"];
        let rows: Vec<[&str; 6]> = self
            .0
            .iter()
            .map(|row| {
                [&row.what, &row.goal, &row.measured, &row.high, row.reached, row.load.as_str()]
            })
            .collect();
        let width = |column: usize| {
            std::iter::once(&head)
                .chain(&rows)
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let line = |cells: [&str; 6]| {
            let cells: Vec<String> = cells
                .into_iter()
                .enumerate()
                .map(|(column, cell)| {
                    let room = width(column) - cell.chars().count();
                    // Figures to the right, words to the left.
                    let (before, after) =
                        if (1..=3).contains(&column) { (room, 0) } else { (0, room) };
                    format!("{:before$}{cell}{:after$}", "", "")
                })
                .collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<String> = (0..head.len())
            .map(|column| {
                let end = if (1..=3).contains(&column) { ':' } else { '-' };
                format!("{}{end}", "-".repeat(width(column).saturating_sub(1)))
            })
            .collect();
        let mut text = line(head);
        let _ = writeln!(text, "| {} |", rule.join(" | "));
        for row in &rows {
            text.push_str(&line(*row));
        }
        text
    }
}

/// Three digits that matter are enough for a figure that is measured.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
