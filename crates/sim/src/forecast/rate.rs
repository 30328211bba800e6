//! How many requests come.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Requests in a stretch of time, written `20/s`, `600/m` or `1000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(f64);

/// Text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a rate: write a number and a unit, as in `20/s`, `600/m` or `1000/h`, at most 100000/s"
)]
pub struct InvalidRate(pub String);

/// More is no environment of one machine.
const MOST: f64 = 100_000.0;
const UNITS: [(&str, f64); 3] = [("s", 1.0), ("m", 60.0), ("h", 3_600.0)];

impl Rate {
    /// Requests per second.
    #[must_use]
    pub const fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let invalid = || InvalidRate(text.to_owned());
        let (number, unit) = text.split_once('/').ok_or_else(invalid)?;
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        if !number.chars().all(digits) || !number.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(invalid());
        }
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let rate = number / seconds;
        if rate.is_finite() && rate <= MOST { Ok(Self(rate)) } else { Err(invalid()) }
    }
}

impl fmt::Display for Rate {
    /// In the first unit in which it is at least one.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, seconds) = UNITS
            .into_iter()
            .find(|(_, seconds)| self.0 * seconds >= 1.0)
            .unwrap_or(if self.0 > 0.0 { UNITS[2] } else { UNITS[0] });
        let number = format!("{:.2}", self.0 * seconds);
        let number = number.trim_end_matches('0').trim_end_matches('.');
        formatter.pad(&format!("{number}/{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_writes_and_refuses() {
        for (text, rate, written) in [
            ("20/s", 20.0, "20/s"),
            ("0.5/s", 0.5, "30/m"),
            ("600/m", 10.0, "10/s"),
            ("90/h", 0.025, "1.5/m"),
            ("0/s", 0.0, "0/s"),
        ] {
            let read: Rate = text.parse().expect(text);
            assert!((read.per_second() - rate).abs() < 1e-9, "{text}");
            assert_eq!(read.to_string(), written, "{text}");
        }
        for text in ["20", "20/d", "/s", "-1/s", "1e9/s", "a/s", "1.2.3/s", ".5/s", "100001/s", ""]
        {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate(text.to_owned())), "{text}");
        }
    }
}
