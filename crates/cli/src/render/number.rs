//! Numbers as people read them.

/// A whole number with a comma before each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that is a mean: whole, or with one digit when it is small.
pub(crate) fn mean(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    match number {
        number if number < 0.05 => "0".to_owned(),
        number if number < 9.95 => format!("{number:.1}"),
        number => grouped(number.round() as u64),
    }
}

/// A share of the whole: `0%`, `<0.1%`, `2.5%`, `61%`, `100%`; all and nothing are never rounded to.
pub(crate) fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    if percent <= 0.0 {
        "0%".to_owned()
    } else if percent < 0.1 {
        "<0.1%".to_owned()
    } else if percent < 9.95 {
        format!("{percent:.1}%").replace(".0%", "%")
    } else if percent < 100.0 {
        format!("{:.0}%", percent.min(99.0))
    } else {
        "100%".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_not_rounded_to_all_or_nothing() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.01, 0.5, 9.94, 12.4, 1_234.0].map(mean), ["0", "0.5", "9.9", "12", "1,234"]);
        for (fraction, text) in [
            (0.0, "0%"),
            (0.000_3, "<0.1%"),
            (0.005, "0.5%"),
            (0.02, "2%"),
            (0.61, "61%"),
            (0.995, "99%"),
            (1.0, "100%"),
        ] {
            assert_eq!(percent(fraction), text);
        }
    }
}
