//! Markdown tables that read well without being rendered.

use std::fmt::Write as _;

/// One column: what is above it, and on which side its cells are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// Figures are to the right, words to the left.
    pub(crate) right: bool,
}

/// Words.
pub(crate) const fn words(name: &'static str) -> Column {
    Column { name, right: false }
}

/// Figures.
pub(crate) const fn figures(name: &'static str) -> Column {
    Column { name, right: true }
}

/// Lays the rows out.
pub(crate) fn markdown<const N: usize>(columns: &[Column; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([columns[column].name.chars().count()]).max().unwrap_or(0)
    };
    let line = |cells: [&str; N]| {
        let cells = cells.into_iter().enumerate().map(|(column, cell)| {
            let room = width(column) - cell.chars().count();
            let (before, after) = if columns[column].right { (room, 0) } else { (0, room) };
            format!("{:before$}{cell}{:after$}", "", "")
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = (0..N)
        .map(|column| {
            let end = if columns[column].right { ':' } else { '-' };
            format!("{}{end}", "-".repeat(width(column).saturating_sub(1)))
        })
        .collect();
    let mut text = line(columns.map(|column| column.name));
    let _ = writeln!(text, "| {} |", rule.join(" | "));
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
    }
    text
}

/// The load of the machine now: whoever else uses it is in every figure.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let parts: Vec<&str> = text.split_whitespace().take(4).collect();
    if parts.is_empty() { "unknown".to_owned() } else { parts.join(" ") }
}

/// What stands above [`load`].
pub(crate) const LOAD: Column = words("load (1, 5, 15 min, tasks)");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "≤ 10".to_owned()], ["bcd".to_owned(), "1".to_owned()]];
        let wanted = "| x   |    y |\n| --- | ---: |\n| a   | ≤ 10 |\n| bcd |    1 |\n";
        assert_eq!(markdown(&[words("x"), figures("y")], &rows), wanted);
    }
}
