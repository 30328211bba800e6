//! Numbers as people read them.

/// `1 request`, `310 requests`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A fraction as a percentage with as many digits as it needs: `5%`, `0.25%`.
pub(crate) fn percent(fraction: f64) -> String {
    decimal(fraction * 100.0, 6) + "%"
}

/// A fraction as a percentage with one digit after the point, or as many as it takes to be seen on
/// its side of `limit`: nobody believes `5% failed; the limit is 5%`.
pub(crate) fn percent_beside(fraction: f64, limit: f64, is_above: bool) -> String {
    (1..=6)
        .map(|digits| decimal(fraction * 100.0, digits))
        .find(|text| {
            let shown: f64 = text.parse().unwrap_or(f64::NAN);
            let limit: f64 = decimal(limit * 100.0, 6).parse().unwrap_or(f64::NAN);
            (shown > limit) == is_above && (shown == 0.0) == (fraction == 0.0)
        })
        .unwrap_or_else(|| decimal(fraction * 100.0, 6))
        + "%"
}

/// A latency in microseconds: `0.8ms`, `4.2ms`, `812ms`, `1.5s`.
#[expect(
    clippy::cast_precision_loss,
    reason = "rounded for people to three digits after the point"
)]
pub(crate) fn latency(micros: u64) -> String {
    let millis = micros as f64 / 1_000.0;
    match micros {
        0..10_000 => decimal(millis, 1) + "ms",
        10_000..1_000_000 => decimal(millis, 0) + "ms",
        _ => decimal(millis / 1_000.0, 3) + "s",
    }
}

/// At most so many digits after the point, without zeros at the end.
fn decimal(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_the_digits_that_they_need() {
        assert_eq!(percent(0.05), "5%");
        assert_eq!(percent(0.0025), "0.25%");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.0), "0%");
        assert_eq!(percent_beside(25.0 / 310.0, 0.05, true), "8.1%");
        assert_eq!(percent_beside(0.08, 0.05, true), "8%");
        assert_eq!(percent_beside(0.050_04, 0.05, true), "5.004%");
        assert_eq!(percent_beside(0.05, 0.05, false), "5%");
        assert_eq!(percent_beside(0.0004, 0.05, false), "0.04%");
        assert_eq!(percent_beside(0.0, 0.05, false), "0%");
        assert_eq!(percent_beside(0.05 + 1e-11, 0.05, true), "5%", "six digits are enough");
    }

    #[test]
    fn latencies_have_a_fitting_unit() {
        for (micros, text) in [
            (0, "0ms"),
            (850, "0.8ms"),
            (4_200, "4.2ms"),
            (9_900, "9.9ms"),
            (10_400, "10ms"),
            (812_000, "812ms"),
            (999_000, "999ms"),
            (1_000_000, "1s"),
            (1_500_000, "1.5s"),
            (90_000_000, "90s"),
        ] {
            assert_eq!(latency(micros), text);
        }
    }
}
