//! The figures of the data plane.

use crate::{
    data_plane::rounds::Ratio,
    table::{self, Column, LOAD, figures, words},
};

const COLUMNS: [Column; 7] = [
    words("figure"),
    figures("at least"),
    figures("aim"),
    figures("measured (median)"),
    figures("95 % interval"),
    words("reached"),
    LOAD,
];

/// Upper bounds: what must be, and what is hoped for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) least: f64,
    pub(crate) aim: f64,
}

/// All rows so far.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<[String; 7]>);

impl Figures {
    /// Adds a ratio that was measured just now, with the load of this moment.
    pub(crate) fn ratio(&mut self, what: &str, bounds: Option<Bounds>, ratio: Ratio) {
        let interval = format!("{:.2} … {:.2}", ratio.low, ratio.high);
        self.add(what, bounds, "", ratio.median, interval);
    }

    /// Adds a figure with a unit.
    pub(crate) fn value(&mut self, what: &str, bounds: Option<Bounds>, unit: &str, value: f64) {
        self.add(what, bounds, unit, value, String::new());
    }

    /// Adds a row of words.
    pub(crate) fn text(&mut self, what: &str, measured: &str) {
        let none = String::new;
        let row = [what.to_owned(), none(), none(), measured.to_owned(), none(), none()];
        let [figure, least, aim, measured, interval, reached] = row;
        self.0.push([figure, least, aim, measured, interval, reached, table::load()]);
    }

    fn add(
        &mut self,
        what: &str,
        bounds: Option<Bounds>,
        unit: &str,
        measured: f64,
        interval: String,
    ) {
        let digits = if unit.is_empty() { 2 } else { 1 };
        let shown = |value: f64| format!("{value:.digits$} {unit}").trim_end().to_owned();
        let bound = |value: f64| format!("≤ {}", shown(value));
        let reached = bounds.map_or("", |bounds| {
            if measured <= bounds.aim {
                "aim"
            } else if measured <= bounds.least {
                "yes"
            } else {
                "NO"
            }
        });
        self.0.push([
            what.to_owned(),
            bounds.map_or_else(String::new, |bounds| bound(bounds.least)),
            bounds.map_or_else(String::new, |bounds| bound(bounds.aim)),
            shown(measured),
            interval,
            reached.to_owned(),
            table::load(),
        ]);
    }

    /// All of them.
    pub(crate) fn table(&self) -> String {
        table::markdown(&COLUMNS, &self.0)
    }
}
