//! One line: a request as JSON.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidegate_types::{Outcome, QueryLogging};

/// What is known of a request when it has ended. What is not known has no member in the line.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// When it came.
    pub(crate) time: SystemTime,
    pub(crate) scope: &'a str,
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) trace: Option<&'a [u8]>,
    pub(crate) client: IpAddr,
    pub(crate) protocol: &'static str,
    pub(crate) method: &'a str,
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) agent: Option<&'a [u8]>,
    pub(crate) status: Option<u16>,
    pub(crate) outcome: Option<Outcome>,
    /// Why the proxy answered itself.
    pub(crate) reason: Option<&'a str>,
    pub(crate) revision: Option<&'a str>,
    pub(crate) instance: Option<&'a str>,
    /// How often it was sent to an instance that did not answer it, before the one that is named.
    pub(crate) retries: u32,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// How long making connections took.
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) total: Duration,
}

impl Line<'_> {
    /// Appends it with a line feed.
    pub(crate) fn write(&self, query: QueryLogging, out: &mut Vec<u8>) {
        out.extend(b"{\"time\":\"");
        write_time(self.time, out);
        out.push(b'"');
        let mut member = |name: &str, value: Option<&[u8]>| {
            if let Some(value) = value {
                out.extend(b",\"");
                out.extend(name.as_bytes());
                out.extend(b"\":");
                write_text(value, out);
            }
        };
        member("scope", Some(self.scope.as_bytes()));
        member("id", self.id);
        member("trace", self.trace.and_then(trace_id));
        let client = self.client.to_canonical().to_string();
        member("client", Some(client.as_bytes()));
        member("protocol", Some(self.protocol.as_bytes()));
        member("method", Some(self.method.as_bytes()));
        member("host", self.host);
        member("path", Some(self.path.as_bytes()));
        match (query, self.query) {
            (QueryLogging::Drop, _) | (_, None) => {}
            (QueryLogging::Keep, Some(query)) => member("query", Some(query.as_bytes())),
            (QueryLogging::Names, Some(query)) => member("query", Some(names(query).as_bytes())),
        }
        member("agent", self.agent);
        member("outcome", self.outcome.map(|outcome| outcome.name().as_bytes()));
        let blame = self.outcome.and_then(Outcome::blame);
        member("blame", blame.map(|blame| blame.name().as_bytes()));
        member("reason", self.reason.map(str::as_bytes));
        member("revision", self.revision.map(str::as_bytes));
        member("instance", self.instance.map(str::as_bytes));
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        for (name, number) in [
            ("status", self.status.map(u64::from)),
            ("retries", (self.retries > 0).then_some(u64::from(self.retries))),
            ("received", Some(self.received)),
            ("sent", Some(self.sent)),
            ("connect_us", self.connect.map(micros)),
            ("first_byte_us", self.first_byte.map(micros)),
            ("total_us", Some(micros(self.total))),
        ] {
            if let Some(number) = number {
                // A vector takes everything.
                let _ = write!(out, ",\"{name}\":{number}");
            }
        }
        out.extend(b"}\n");
    }
}

/// The line that says how many lines there are not.
pub(crate) fn lost(time: SystemTime, lines: u64) -> Vec<u8> {
    let mut out = b"{\"time\":\"".to_vec();
    write_time(time, &mut out);
    let _ = writeln!(out, "\",\"lost_lines\":{lines}}}");
    out
}

/// The names of the parameters. A part without `=` may be a secret itself, and is left out.
fn names(query: &str) -> String {
    let mut names = String::new();
    for (name, _) in query.split('&').filter_map(|part| part.split_once('=')) {
        if !names.is_empty() {
            names.push('&');
        }
        names.push_str(name);
    }
    names
}

/// The part of a `traceparent` that all requests of a trace share.
fn trace_id(parent: &[u8]) -> Option<&[u8]> {
    let id = parent.split(|byte| *byte == b'-').nth(1)?;
    (id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit)).then_some(id)
}

/// Text of anybody as a string of JSON that can do nothing to a terminal either.
fn write_text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend(b"\\\""),
                '\\' => out.extend(b"\\\\"),
                _ if character.is_control() || matches!(character, '\u{2028}'..='\u{202e}') => {
                    let _ = write!(out, "\\u{:04x}", u32::from(character));
                }
                _ => out.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend(char::REPLACEMENT_CHARACTER.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    out.push(b'"');
}

/// A moment as in `2026-11-21T16:20:00.123Z`.
fn write_time(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = String::with_capacity(24);
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        since.subsec_millis()
    );
    out.extend(text.as_bytes());
}

/// The date so many days after 1970-01-01. Years begin in March here, so that a leap day is the
/// last of its year, and 400 of them are always as long.
fn date(days: u64) -> (u64, u64, u64) {
    const IN_400_YEARS: u64 = 146_097;
    let since_march_0000 = days + 719_468;
    let era = since_march_0000 / IN_400_YEARS;
    let day_of_era = since_march_0000 % IN_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn plain() -> Line<'static> {
        Line {
            time: UNIX_EPOCH,
            scope: "shop/production",
            id: None,
            trace: None,
            client: IpAddr::from([127, 0, 0, 1]),
            protocol: "HTTP/1.1",
            method: "GET",
            host: None,
            path: "/",
            query: None,
            agent: None,
            status: None,
            outcome: None,
            reason: None,
            revision: None,
            instance: None,
            retries: 0,
            received: 0,
            sent: 0,
            connect: None,
            first_byte: None,
            total: Duration::ZERO,
        }
    }

    fn written(line: &Line<'_>, query: QueryLogging) -> Value {
        let mut out = Vec::new();
        line.write(query, &mut out);
        assert_eq!(memchr::memchr_iter(b'\n', &out).count(), 1);
        assert!(!out.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n'));
        serde_json::from_slice(&out).unwrap()
    }

    proptest! {
        #[test]
        fn whatever_is_asked_is_one_line_of_json(
            path in ".*", query in ".*", text in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let line = Line {
                path: &path,
                query: Some(&query),
                id: Some(&text),
                host: Some(&text),
                agent: Some(&text),
                trace: Some(&text),
                ..plain()
            };
            let value = written(&line, QueryLogging::Keep);
            prop_assert_eq!(&value["path"], &path);
            prop_assert_eq!(&value["query"], &query);
            prop_assert_eq!(&value["agent"], &String::from_utf8_lossy(&text).into_owned());
        }

        #[test]
        fn names_have_no_values(
            parts in prop::collection::vec(("[a-z]{1,5}", "[A-Z0-9%+]{1,20}"), 0..6),
            alone in "[A-Z]{1,20}",
        ) {
            let mut pairs: Vec<String> =
                parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pairs.push(alone);
            let names = names(&pairs.join("&"));
            prop_assert!(!names.chars().any(|character| character.is_ascii_uppercase()), "{names}");
            let wanted: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
            prop_assert_eq!(names, wanted.join("&"));
        }
    }

    #[test]
    fn a_query_is_written_as_it_is_wished() {
        let line = Line { query: Some("token=SECRET&a=1"), ..plain() };
        assert_eq!(written(&line, QueryLogging::Keep)["query"], "token=SECRET&a=1");
        assert_eq!(written(&line, QueryLogging::Names)["query"], "token&a");
        assert_eq!(written(&line, QueryLogging::Drop).get("query"), None);
    }

    #[test]
    fn all_that_is_known_is_there_and_nothing_else() {
        let line = Line {
            id: Some(b"7f"),
            trace: Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            status: Some(504),
            outcome: Some(Outcome::EndpointTimeout),
            reason: Some("timeout"),
            revision: Some("api@3"),
            instance: Some("api@3-1"),
            retries: 2,
            received: 7,
            sent: 9,
            connect: Some(Duration::from_micros(3)),
            first_byte: Some(Duration::from_micros(4)),
            total: Duration::from_micros(5),
            ..plain()
        };
        let mut out = Vec::new();
        line.write(QueryLogging::Keep, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"time":"1970-01-01T00:00:00.000Z","scope":"shop/production","id":"7f","#,
                r#""trace":"0af7651916cd43dd8448eb211c80319c","client":"127.0.0.1","#,
                r#""protocol":"HTTP/1.1","method":"GET","path":"/","outcome":"endpoint_timeout","#,
                r#""blame":"endpoint","reason":"timeout","revision":"api@3","#,
                r#""instance":"api@3-1","status":504,"retries":2,"received":7,"sent":9,"#,
                r#""connect_us":3,"first_byte_us":4,"total_us":5}"#,
                "\n"
            )
        );
        let members = written(&plain(), QueryLogging::Keep).as_object().unwrap().len();
        assert_eq!(members, 9);
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        for (days, wanted) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (789, (1972, 2, 29)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_778, (2026, 11, 21)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), wanted, "{days}");
        }
    }

    #[test]
    fn what_was_lost_is_said() {
        let text = String::from_utf8(lost(UNIX_EPOCH, 3)).unwrap();
        assert_eq!(text, "{\"time\":\"1970-01-01T00:00:00.000Z\",\"lost_lines\":3}\n");
    }
}
