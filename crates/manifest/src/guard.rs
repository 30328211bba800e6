//! Guards as users write them: `error_rate > 5% for 2m`.

use tidegate_types::{Condition, Duration, Quantile, Share};

use crate::{scalar::Fault, suggest};

/// The trailing window of a guard that names none.
pub(crate) const DEFAULT_WINDOW: Duration = Duration::from_mins(1);

pub(crate) const METRICS: [&str; 6] =
    ["error_rate", "p50", "p95", "p99", "health_check_failures", "restarts"];

struct Word<'a> {
    text: &'a str,
    start: usize,
}

impl Word<'_> {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// Splits at spaces and around `>`, `<` and `=`.
fn words(text: &str) -> Vec<Word<'_>> {
    let class = |c: char| match c {
        c if c.is_whitespace() => 0,
        '>' | '<' | '=' | '!' => 1,
        _ => 2,
    };
    let mut words = Vec::new();
    let mut start = 0;
    let mut previous = 0;
    for (index, character) in text.char_indices() {
        let next = class(character);
        if next != previous {
            if previous != 0 {
                words.push(Word { text: &text[start..index], start });
            }
            start = index;
            previous = next;
        }
    }
    if previous != 0 {
        words.push(Word { text: &text[start..], start });
    }
    words
}

fn fault(text: &str, start: usize, end: usize, label: impl Into<String>) -> Fault {
    Fault::new("bad-guard", format!("`{text}` is not a guard")).label(label).part(start, end)
}

/// Reads a guard. `min_requests` of the result is the default and is set by the mapping form.
pub(crate) fn parse(text: &str) -> Result<Condition, Fault> {
    let words = words(text);
    let mut rest = words.iter();
    let metric = rest.next().ok_or_else(|| {
        Fault::new("bad-guard", "the guard is empty").help("write it like `error_rate > 5% for 2m`")
    })?;
    let traffic = matches!(metric.text, "error_rate" | "p50" | "p95" | "p99");
    if !METRICS.contains(&metric.text) {
        let near = suggest::nearest(metric.text, METRICS);
        let found = fault(text, metric.start, metric.end(), "not a metric that is known");
        return Err(match near {
            Some(near) => found.help(format!("did you mean `{near}`?")),
            None => found.help(format!("known are {}", suggest::list(METRICS, "and"))),
        });
    }
    let wanted = if traffic { ">" } else { ">=" };
    let example = format!("{} {wanted} {}", metric.text, example_limit(metric.text));
    let missing = |label: &str| {
        let end = text.trim_end().len();
        let last = text.trim_end().chars().next_back().map_or(0, char::len_utf8);
        fault(text, end - last, end, label.to_owned()).help(format!("write it like `{example}`"))
    };
    let operator =
        rest.next().ok_or_else(|| missing(&format!("`{wanted}` and a limit are missing")))?;
    if operator.text != wanted {
        return Err(fault(
            text,
            operator.start,
            operator.end(),
            format!("`{wanted}` is expected here"),
        )
        .help(format!("a guard says what is bad: `{example}`")));
    }
    let limit = rest.next().ok_or_else(|| missing("a limit is missing"))?;
    let window = match rest.next() {
        None => None,
        Some(word) if word.text == "for" && traffic => {
            let length = rest.next().ok_or_else(|| missing("a duration is missing after `for`"))?;
            Some(window(text, length)?)
        }
        Some(word) if word.text == "for" => {
            return Err(fault(
                text,
                word.start,
                text.trim_end().len(),
                "no time can be given here",
            )
            .help(format!(
                "`{}` is counted, not measured over a time: remove `for …`",
                metric.text
            )));
        }
        Some(word) if word.text == "stable" || word.text == "baseline" => {
            return Err(fault(
                text,
                limit.start,
                word.end(),
                "a comparison with the stable revision",
            )
            .help("this version does not know such guards yet: give a fixed limit"));
        }
        Some(word) => {
            return Err(fault(text, word.start, word.end(), "not expected here").help(
                if traffic {
                    "after the limit only `for` and a duration may follow"
                } else {
                    "nothing may follow the limit"
                },
            ));
        }
    };
    if let Some(word) = rest.next() {
        return Err(fault(text, word.start, text.trim_end().len(), "not expected here")
            .help("write one guard a line; any one of them, breached, goes back"));
    }
    condition(text, metric.text, limit, window.unwrap_or(DEFAULT_WINDOW))
}

fn example_limit(metric: &str) -> &'static str {
    match metric {
        "error_rate" => "5%",
        "p50" | "p95" | "p99" => "500ms",
        _ => "3",
    }
}

fn window(text: &str, word: &Word<'_>) -> Result<Duration, Fault> {
    crate::scalar::duration(word.text, true).ok().and_then(|()| word.text.parse().ok()).ok_or_else(
        || {
            fault(text, word.start, word.end(), "not a duration")
                .help("write it like `for 30s` or `for 2m`")
        },
    )
}

fn condition(
    text: &str,
    metric: &str,
    limit: &Word<'_>,
    window: Duration,
) -> Result<Condition, Fault> {
    let wrong = |label: &str, help: String| {
        fault(text, limit.start, limit.end(), label.to_owned()).help(help)
    };
    let min_requests = default_min_requests();
    match metric {
        "error_rate" => {
            let above: Share = limit.text.parse().map_err(|_| {
                wrong("not a percentage", "write it like `error_rate > 5%`".to_owned())
            })?;
            if above == Share::ALL {
                return Err(wrong(
                    "more than all requests cannot fail",
                    "write a limit below `100%`".to_owned(),
                ));
            }
            Ok(Condition::ErrorRate { above: above.fraction(), window, min_requests })
        }
        "p50" | "p95" | "p99" => {
            if limit.text.starts_with(|c: char| c.is_ascii_digit()) && limit.text.ends_with('x') {
                return Err(wrong(
                    "a comparison with the stable revision",
                    "this version does not know such guards yet: give a fixed limit, as in `p95 > 500ms`"
                        .to_owned(),
                ));
            }
            let above: Duration = crate::scalar::duration(limit.text, true)
                .ok()
                .and_then(|()| limit.text.parse().ok())
                .ok_or_else(|| {
                    wrong("not a duration", format!("write it like `{metric} > 500ms`"))
                })?;
            Ok(Condition::Latency {
                quantile: match metric {
                    "p50" => Quantile::P50,
                    "p95" => Quantile::P95,
                    _ => Quantile::P99,
                },
                above,
                window,
                min_requests,
            })
        }
        _ => {
            let digits = limit.text.bytes().all(|byte| byte.is_ascii_digit());
            let at_least =
                limit.text.parse().ok().filter(|number| *number >= 1 && digits).ok_or_else(
                    || wrong("not a whole number from 1", format!("write it like `{metric} >= 3`")),
                )?;
            Ok(if metric == "restarts" {
                Condition::Restarts { at_least }
            } else {
                Condition::HealthCheckFailures { at_least }
            })
        }
    }
}

fn default_min_requests() -> u64 {
    crate::reference::default_value("environments.*.rollback.when.*.min_requests").unwrap_or(50)
}
