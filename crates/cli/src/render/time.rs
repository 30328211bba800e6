//! Lengths of time as people say them.

use tidegate_types::{Duration, Timestamp};

/// A length in one or two units: `420ms`, `4.2s`, `2m 05s`, `3h 07m`, `4d 2h`.
pub(crate) fn length(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis}ms"),
        1..10 => format!("{seconds}.{}s", millis % 1_000 / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A time that runs, with room for hours only when there are any: `00:42`, `1:02:03`.
pub(crate) fn clock(duration: Duration) -> String {
    let seconds = duration.as_millis() / 1_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds % 3_600 / 60, seconds % 60);
    if hours == 0 {
        format!("{minutes:02}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

/// How long ago, in one unit: `just now`, `42s ago`, `5m ago`, `3h ago`, `2d ago`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_millis() / 1_000;
    match seconds {
        0..2 => "just now".to_owned(),
        2..60 => format!("{seconds}s ago"),
        60..3_600 => format!("{}m ago", seconds / 60),
        3_600..86_400 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// How long until then: `in 42s`; `now` when it is over.
pub(crate) fn until(at: Timestamp, now: Timestamp) -> String {
    let left = at.since(now);
    // Counted down by whole seconds, and never shown as over before it is.
    let seconds = left.as_millis().div_ceil(1_000);
    if seconds == 0 { "now".to_owned() } else { format!("in {}", whole(seconds)) }
}

fn whole(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { length(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_said_in_units_that_fit() {
        for (millis, said) in [
            (0, "0ms"),
            (420, "420ms"),
            (4_250, "4.2s"),
            (42_000, "42s"),
            (125_000, "2m 05s"),
            (11_220_000, "3h 07m"),
            (353_000_000, "4d 2h"),
        ] {
            assert_eq!(length(Duration::from_millis(millis)), said);
        }
        assert_eq!(clock(Duration::from_secs(42)), "00:42");
        assert_eq!(clock(Duration::from_secs(3_723)), "1:02:03");
    }

    #[test]
    fn a_countdown_is_not_over_before_it_is() {
        let now = Timestamp::from_millis(100_000);
        assert_eq!(until(Timestamp::from_millis(100_001), now), "in 1s");
        assert_eq!(until(Timestamp::from_millis(107_000), now), "in 7s");
        assert_eq!(until(now, now), "now");
        assert_eq!(ago(Timestamp::from_millis(40_000), now), "1m ago");
        assert_eq!(ago(now, now), "just now");
    }
}
