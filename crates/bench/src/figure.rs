//! The figures of the control plane.

use crate::table::{self, Column, LOAD, figures, words};

const COLUMNS: [Column; 6] = [
    words("figure"),
    figures("goal"),
    figures("measured (median)"),
    figures("p95"),
    words("reached"),
    LOAD,
];

/// All rows so far.
#[derive(Default)]
pub(crate) struct Figures(Vec<[String; 6]>);

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
        self.0.push([
            what.to_owned(),
            bound,
            shown(measured),
            if high.is_nan() { String::new() } else { shown(high) },
            reached.to_owned(),
            table::load(),
        ]);
    }

    /// Adds a figure that is measured elsewhere.
    pub(crate) fn refer(&mut self, what: &str, goal: &str, place: &str) {
        let none = String::new;
        self.0.push([what.to_owned(), goal.to_owned(), place.to_owned(), none(), none(), none()]);
    }

    /// All of them.
    pub(crate) fn table(&self) -> String {
        table::markdown(&COLUMNS, &self.0)
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
