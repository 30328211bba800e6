//! Ends and failures in words.

use tidegate_shim::Outcome;
use tidegate_types::Duration;

/// An instance that ended this soon with 126 or 127 never ran.
const AT_START: Duration = Duration::from_secs(5);

/// How an instance ended, and whether trying again cannot help.
pub(crate) fn end(outcome: Option<&Outcome>, life: Duration) -> (String, bool) {
    let after = lifetime(life);
    match outcome {
        Some(Outcome::Code(127)) if life < AT_START => {
            ("the command was not found (it exited with code 127)".to_owned(), true)
        }
        Some(Outcome::Code(126)) if life < AT_START => {
            ("the command could not be executed (it exited with code 126)".to_owned(), true)
        }
        Some(Outcome::Code(code)) => (format!("exited with code {code} after {after}"), false),
        Some(Outcome::Signal(signal)) => {
            (format!("ended by {} after {after}", name(*signal)), false)
        }
        Some(Outcome::TimedOut) => (format!("killed after {after}: it ran too long"), false),
        Some(Outcome::NotStarted(reason)) => (format!("could not be started: {reason}"), true),
        None => (
            format!("ended in an unknown way after about {after}: its supervisor was killed"),
            false,
        ),
    }
}

/// `340ms`, `2.3s`, `1h5m`.
pub(crate) fn lifetime(life: Duration) -> String {
    match life.as_millis() {
        millis @ 0..1_000 => format!("{millis}ms"),
        millis @ 1_000..60_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        millis => Duration::from_secs(millis / 1_000).to_string(),
    }
}

fn name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words() {
        let soon = Duration::from_millis(20);
        let later = Duration::from_millis(2_345);
        let hour = Duration::from_millis(3_600_999);
        for (outcome, life, expected, fatal) in [
            (Some(Outcome::Code(127)), soon, "not found", true),
            (Some(Outcome::Code(126)), soon, "could not be executed", true),
            (Some(Outcome::Code(127)), hour, "exited with code 127 after 1h", false),
            (Some(Outcome::Code(1)), later, "exited with code 1 after 2.3s", false),
            (Some(Outcome::Signal(9)), soon, "ended by SIGKILL after 20ms", false),
            (Some(Outcome::Signal(64)), soon, "signal 64", false),
            (Some(Outcome::NotStarted("why".into())), soon, "could not be started: why", true),
            (None, soon, "unknown", false),
        ] {
            let (what, is_fatal) = end(outcome.as_ref(), life);
            assert!(what.contains(expected), "{what}");
            assert_eq!(is_fatal, fatal, "{what}");
        }
    }
}
