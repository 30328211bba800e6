//! What the visitors of the demo's shop saw.

use std::{collections::BTreeMap, time::Duration};

/// So many of the faults that nobody expected are kept as examples.
const EXAMPLES: usize = 5;

/// One request and what came of it. Times count from the start of the demo.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    /// What was asked, as in `GET /api/products`.
    pub(super) request: &'static str,
    /// When it was begun to be sent.
    pub(super) begun: Duration,
    /// When the last byte of the answer was there.
    pub(super) ended: Duration,
    /// What came.
    pub(super) answer: Answer,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A whole answer.
    Whole {
        /// Its status.
        status: u16,
        /// The version that says it gave it; the static site does not say.
        version: Option<String>,
    },
    /// None, or not all of it.
    None {
        /// Why.
        why: String,
    },
}

/// All visits so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Requests.
    pub(super) sent: u64,
    /// Of these, without an answer of the shop: none at all, or one in place of it (502, 503, 504).
    pub(super) lost: u64,
    /// Answers that are neither a success nor a 500 of a version that gives its name.
    pub(super) strange: u64,
    /// Some of the lost and strange ones, as sentences.
    pub(super) examples: Vec<String>,
    /// Orders that the shop said it took.
    pub(super) orders: u64,
    /// What each version did.
    pub(super) versions: BTreeMap<String, Seen>,
}

/// What one version did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Requests that it answered.
    pub(super) answered: u64,
    /// Of these, with status 500.
    pub(super) failed: u64,
    /// When the first request that it failed was sent.
    pub(super) first_failed: Option<Duration>,
    /// When its latest answer came.
    pub(super) latest: Duration,
}

impl Tally {
    /// Adds a visit. Visits come in any order.
    pub(super) fn add(&mut self, visit: Visit) {
        let Visit { request, begun, ended, answer } = visit;
        self.sent += 1;
        let (status, version) = match answer {
            Answer::None { why } => {
                self.lost += 1;
                return self.example(begun, request, &why);
            }
            Answer::Whole { status: status @ 502..=504, .. } => {
                self.lost += 1;
                return self.example(begun, request, &format!("answered with {status}"));
            }
            Answer::Whole { status, version } => (status, version),
        };
        let success = (200..300).contains(&status);
        if status == 201 {
            self.orders += 1;
        }
        if !success && (status != 500 || version.is_none()) {
            self.strange += 1;
            let by = version.as_ref().map_or(String::new(), |version| format!(" by {version}"));
            self.example(begun, request, &format!("answered with {status}{by}"));
        }
        if let Some(version) = version {
            let seen = self.versions.entry(version).or_default();
            seen.answered += 1;
            seen.latest = seen.latest.max(ended);
            if status == 500 {
                seen.failed += 1;
                seen.first_failed = Some(seen.first_failed.map_or(begun, |first| first.min(begun)));
            }
        }
    }

    /// What `version` did.
    pub(super) fn seen(&self, version: &str) -> Seen {
        self.versions.get(version).cloned().unwrap_or_default()
    }

    fn example(&mut self, begun: Duration, request: &str, what: &str) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(format!("{request} after {:.1} s: {what}", begun.as_secs_f64()));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::demo) fn visit(millis: u64, status: u16, version: &str) -> Visit {
        Visit {
            request: "GET /",
            begun: Duration::from_millis(millis),
            ended: Duration::from_millis(millis + 2),
            answer: Answer::Whole {
                status,
                version: (!version.is_empty()).then(|| version.to_owned()),
            },
        }
    }

    fn tally(visits: impl IntoIterator<Item = Visit>) -> Tally {
        let mut tally = Tally::default();
        visits.into_iter().for_each(|visit| tally.add(visit));
        tally
    }

    #[test]
    fn a_version_is_known_by_its_answers() {
        let tally = tally([
            visit(10, 200, "v1"),
            visit(40, 500, "v3"),
            visit(30, 500, "v3"),
            visit(20, 201, "v3"),
            visit(50, 200, ""),
        ]);
        assert_eq!((tally.sent, tally.lost, tally.strange, tally.orders), (5, 0, 0, 1));
        assert_eq!(
            tally.seen("v3"),
            Seen {
                answered: 3,
                failed: 2,
                first_failed: Some(Duration::from_millis(30)),
                latest: Duration::from_millis(42),
            }
        );
        assert_eq!(tally.seen("v2"), Seen::default());
    }

    #[test]
    fn no_answer_and_an_answer_in_its_place_are_lost() {
        let mut nothing = visit(5, 0, "");
        nothing.answer = Answer::None { why: "connection reset".to_owned() };
        let tally = tally([nothing, visit(6, 502, ""), visit(7, 503, "v1"), visit(8, 504, "")]);
        assert_eq!((tally.sent, tally.lost, tally.strange), (4, 4, 0));
        assert_eq!(tally.examples[0], "GET / after 0.0 s: connection reset");
        assert_eq!(tally.seen("v1").answered, 0);
    }

    #[test]
    fn what_nobody_expects_is_not_passed_over() {
        let tally = tally([visit(1, 404, "v1"), visit(2, 500, ""), visit(3, 302, "v1")]);
        assert_eq!((tally.lost, tally.strange), (0, 3));
        assert_eq!(tally.examples[0], "GET / after 0.0 s: answered with 404 by v1");
    }
}
