//! Columns that line up.

/// Puts rows into columns, two spaces apart, without spaces at the ends of lines.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max())
        .map(Option::unwrap_or_default)
        .collect();
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (cell, width_of_column) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width_of_column - width(cell) + 2));
            }
            line.trim_end().to_owned()
        })
        .collect()
}

/// How many columns a text takes, colours aside.
pub(crate) fn width(text: &str) -> usize {
    let mut count = 0;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            for character in characters.by_ref() {
                if character == 'm' {
                    break;
                }
            }
        } else {
            count += 1;
        }
    }
    count
}

/// The text cut to `most` columns, with `…` at the end when something was cut. Colours are kept and
/// ended.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut output = String::new();
    let (mut count, mut colored) = (0, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            output.push(character);
            for character in characters.by_ref() {
                output.push(character);
                if character == 'm' {
                    break;
                }
            }
            colored = true;
        } else if count + 1 < most {
            output.push(character);
            count += 1;
        } else {
            break;
        }
    }
    output.push('…');
    if colored {
        output.push_str("\x1b[0m");
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colour() {
        let rows = [
            vec!["a".to_owned(), "\x1b[32mlong\x1b[0m".to_owned(), "x".to_owned()],
            vec!["abc".to_owned(), "b".to_owned(), "y".to_owned()],
        ];
        assert_eq!(table(&rows), ["a    \x1b[32mlong\x1b[0m  x", "abc  b     y"]);
    }

    #[test]
    fn what_is_cut_is_never_wider_than_asked() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("\x1b[1mabcdef\x1b[0m", 4), "\x1b[1mabc…\x1b[0m");
    }
}
