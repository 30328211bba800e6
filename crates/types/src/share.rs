//! Shares of traffic.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A share of the whole in hundredths of a percent: 0 to 10,000.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct Share(u32);

/// Text that is not a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a share: write a percentage from 0% to 100%, as in `10%` or `0.5%`")]
pub struct InvalidShare(pub String);

/// More than the whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a share: it has 0 to 10000 hundredths of a percent")]
pub struct MoreThanAll(pub u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(10_000);

    /// So many percent, at most 100.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self(if percent > 100 { 10_000 } else { percent * 100 })
    }

    /// `part` of `whole`, rounded to the nearest hundredth of a percent; all when `whole` is 0.
    #[must_use]
    pub fn of(part: u32, whole: u32) -> Self {
        if whole == 0 || part >= whole {
            return Self::ALL;
        }
        let hundredths = (u64::from(part) * 10_000 + u64::from(whole) / 2) / u64::from(whole);
        Self(u32::try_from(hundredths).unwrap_or(10_000))
    }

    /// Hundredths of a percent, 0 to 10,000.
    #[must_use]
    pub const fn hundredths(self) -> u32 {
        self.0
    }

    /// The share as a fraction, 0 to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// What is left of the whole.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(10_000 - self.0)
    }

    /// How many of `whole` things make at least this share: rounded up.
    #[must_use]
    pub fn of_count(self, whole: u32) -> u32 {
        u32::try_from((u64::from(self.0) * u64::from(whole)).div_ceil(10_000)).unwrap_or(whole)
    }
}

impl TryFrom<u32> for Share {
    type Error = MoreThanAll;

    fn try_from(hundredths: u32) -> Result<Self, MoreThanAll> {
        if hundredths <= Self::ALL.0 { Ok(Self(hundredths)) } else { Err(MoreThanAll(hundredths)) }
    }
}

impl From<Share> for u32 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        let text = match part {
            0 => format!("{whole}%"),
            part if part % 10 == 0 => format!("{whole}.{}%", part / 10),
            part => format!("{whole}.{part:02}%"),
        };
        formatter.pad(&text)
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, InvalidShare> {
        let invalid = || InvalidShare(text.to_owned());
        let number = text.strip_suffix('%').ok_or_else(invalid)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 2 {
            return Err(invalid());
        }
        let whole: u32 = whole.parse().map_err(|_| invalid())?;
        let part: u32 = format!("{part:0<2}").parse().map_err(|_| invalid())?;
        let hundredths = whole * 100 + part;
        if hundredths > 10_000 { Err(invalid()) } else { Ok(Self(hundredths)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_refuses() {
        for (text, hundredths) in
            [("10%", 1_000), ("0.5%", 50), ("0.05%", 5), ("100%", 10_000), ("0%", 0)]
        {
            assert_eq!(text.parse(), Ok(Share(hundredths)), "{text}");
        }
        for text in ["", "10", "%", "101%", "-1%", "1.234%", "ten%", "100.01%", ".5%", "5.%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_is_more_than_the_whole() {
        assert_eq!(Share::try_from(10_000), Ok(Share::ALL));
        assert_eq!(Share::try_from(10_001), Err(MoreThanAll(10_001)));
    }

    #[test]
    fn counts_are_rounded_up_so_that_capacity_covers_the_share() {
        assert_eq!(Share::percent(10).of_count(4), 1);
        assert_eq!(Share::percent(50).of_count(4), 2);
        assert_eq!(Share::percent(51).of_count(4), 3);
        assert_eq!(Share::ALL.of_count(4), 4);
        assert_eq!(Share::NONE.of_count(4), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(hundredths in 0_u32..=10_000) {
            prop_assert_eq!(Share(hundredths).to_string().parse(), Ok(Share(hundredths)));
        }

        #[test]
        fn a_part_and_its_rest_are_the_whole(part in 0_u32..100, whole in 1_u32..100) {
            let share = Share::of(part, whole);
            prop_assert_eq!(share.0 + share.rest().0, 10_000);
        }
    }
}
