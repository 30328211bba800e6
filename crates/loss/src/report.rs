//! What became of the requests.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    time::Duration,
};

use crate::{Done, Kind, Tally};

/// The outcome for one proxy.
#[derive(Debug, Clone)]
pub struct Report {
    /// The proxy.
    pub name: &'static str,
    /// How often the shares changed.
    pub flips: u32,
    /// For how long.
    pub took: Duration,
    /// What else happened.
    pub done: Done,
    /// What was counted.
    pub tallies: BTreeMap<Kind, Tally>,
}

impl Report {
    /// Requests that were lost, and those of which nobody said how they ended.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let of = |tally: &Tally| tally.sent - tally.answered - tally.excused;
        self.tallies.values().map(of).sum()
    }
}

/// A section of Markdown.
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done { joined, drained, killed, publisher_gone, upgraded } = self.done;
        writeln!(
            formatter,
            "{}: {} changes of shares in {:.0} s, {joined} instances joined, {drained} drained and \
             stopped, {killed} killed, publisher gone {publisher_gone} times, proxy upgraded \
             {upgraded} times\n",
            self.name,
            self.flips,
            self.took.as_secs_f64()
        )?;
        let mut rows =
            vec![["kind", "sent", "answered", "excused", "lost", "longest"].map(str::to_owned)];
        let mut total = Tally::default();
        for (kind, tally) in &self.tallies {
            rows.push(row(&kind.to_string(), tally));
            total.sent += tally.sent;
            total.answered += tally.answered;
            total.excused += tally.excused;
            total.lost += tally.lost;
            total.longest = total.longest.max(tally.longest);
        }
        rows.push(row("all", &total));
        formatter.write_str(&table(&rows))?;
        for (kind, tally) in &self.tallies {
            for (why, count) in &tally.losses {
                write!(formatter, "\n- {count} × {kind}: {why}")?;
            }
        }
        if self.tallies.values().any(|tally| !tally.losses.is_empty()) {
            writeln!(formatter)?;
        }
        Ok(())
    }
}

fn row(name: &str, tally: &Tally) -> [String; 6] {
    let longest = format!("{:.2} s", tally.longest.as_secs_f64());
    let Tally { sent, answered, excused, lost, .. } = tally;
    let [sent, answered, excused, lost] = [sent, answered, excused, lost].map(u64::to_string);
    [name.to_owned(), sent, answered, excused, lost, longest]
}

/// Words to the left, figures to the right.
fn table(rows: &[[String; 6]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let room = widths[column] - cell.chars().count();
            let (before, after) = if column == 0 { (0, room) } else { (room, 0) };
            let _ = write!(text, "| {:before$}{cell}{:after$} ", "", "");
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column == 0 { '-' } else { ':' };
                let _ = write!(text, "| {}{end} ", "-".repeat(width.saturating_sub(1)));
            }
            text.push_str("|\n");
        }
    }
    text
}
