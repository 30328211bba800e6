//! Whether the demo showed what it is there to show, and the table that it ends with.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::tally::Tally;
use crate::render::number::grouped;

/// All that the verdict rests on. Times count from the start of the demo.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    /// What the visitors saw.
    pub(super) tally: Tally,
    /// The good versions, the one that shall serve at the end last.
    pub(super) good: [&'static str; 2],
    /// The bad one.
    pub(super) bad: &'static str,
    /// When it was decided to go back.
    pub(super) decided: Duration,
    /// When the data plane had said that every new request follows the table without the bad one.
    pub(super) confirmed: Duration,
    /// When the deployment of the bad version said that it is over.
    pub(super) over: Duration,
    /// When the visitors stopped.
    pub(super) end: Duration,
    /// What serves at the end.
    pub(super) serving: String,
    /// Orders that the shop knows of at the end.
    pub(super) orders: u64,
}

/// The lines of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Figures {
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) orders: u64,
    pub(super) failed: u64,
    /// From the first request that the bad version failed to the decision.
    #[serde(serialize_with = "as_millis", rename = "noticed_after_ms")]
    pub(super) noticed_after: Duration,
    /// From the decision to the moment from which it is certain that the bad version gets nothing:
    /// the data plane has said so, and what it was still answering is answered.
    #[serde(serialize_with = "as_millis", rename = "closed_after_ms")]
    pub(super) closed_after: Duration,
}

fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The figures, or every sentence about what does not hold.
pub(super) fn judge(evidence: &Evidence) -> Result<Figures, Vec<String>> {
    let Evidence { tally, good, bad, decided, confirmed, over, end, serving, orders } = evidence;
    let mut faults = Vec::new();
    if tally.sent == 0 {
        faults.push("no request was sent".to_owned());
    }
    if tally.lost > 0 {
        faults.push(format!("{} of {} requests were lost", tally.lost, tally.sent));
    }
    if tally.strange > 0 {
        faults.push(format!("{} requests got an answer that nobody expected", tally.strange));
    }
    for version in good {
        let seen = tally.seen(version);
        if seen.answered == 0 {
            faults.push(format!("{version} answered no request"));
        }
        if seen.failed > 0 {
            faults.push(format!("{version} failed {} requests, and has no fault", seen.failed));
        }
    }
    let seen = tally.seen(bad);
    if seen.first_failed.is_none() {
        faults.push(format!(
            "{bad} failed none of the {} requests it answered, so that nothing was caught",
            seen.answered
        ));
    }
    if seen.latest > *over {
        let late = seen.latest.saturating_sub(*over).as_millis();
        faults.push(format!("{bad} still answered {late} ms after it was said to be gone"));
    }
    if tally.seen(good[1]).latest <= *over || *end <= *over {
        faults.push(format!("{} did not answer after the way back", good[1]));
    }
    if serving != good[1] {
        faults.push(format!("at the end {serving} serves, not {}", good[1]));
    }
    if *orders != tally.orders {
        faults.push(format!("{} orders were taken, and {orders} are stored", tally.orders));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Figures {
        sent: tally.sent,
        lost: tally.lost,
        orders: tally.orders,
        failed: seen.failed,
        noticed_after: decided.saturating_sub(seen.first_failed.unwrap_or_default()),
        closed_after: seen.latest.max(*confirmed).saturating_sub(*decided),
    })
}

/// The figures as a table.
pub(super) fn table(figures: &Figures, bad: &str) -> String {
    let rows = [
        ("requests sent".to_owned(), grouped(figures.sent)),
        ("lost".to_owned(), grouped(figures.lost)),
        ("orders taken, and all of them stored".to_owned(), grouped(figures.orders)),
        (format!("failed by the bad version, {bad}"), grouped(figures.failed)),
        ("first bad request to the decision".to_owned(), span(figures.noticed_after)),
        (format!("decision to zero traffic on {bad}"), span(figures.closed_after)),
    ];
    let left = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let right = rows.iter().map(|(_, value)| value.len()).max().unwrap_or_default();
    let lines = rows.map(|(name, value)| format!("  {name:<left$}   {value:>right$}"));
    lines.join("\n")
}

/// `8 ms`, `1.94 s`.
fn span(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        _ => format!("{:.2} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tally::{Answer, tests::visit},
        *,
    };

    fn well() -> Evidence {
        let mut tally = Tally::default();
        for at in 0..1_200 {
            tally.add(visit(at, 200, "v1"));
        }
        tally.add(visit(2_000, 201, "v2"));
        tally.add(visit(3_000, 500, "v3"));
        tally.add(visit(5_003, 200, "v3"));
        tally.add(visit(7_000, 200, "v2"));
        Evidence {
            tally,
            good: ["v1", "v2"],
            bad: "v3",
            decided: Duration::from_secs(5),
            confirmed: Duration::from_millis(5_004),
            over: Duration::from_millis(5_500),
            end: Duration::from_millis(7_500),
            serving: "v2".to_owned(),
            orders: 1,
        }
    }

    #[test]
    fn the_table_of_a_demo_that_went_well() {
        let figures = judge(&well()).expect("nothing is wrong");
        insta::assert_snapshot!(table(&figures, "v3"), @r"
          requests sent                           1,204
          lost                                        0
          orders taken, and all of them stored        1
          failed by the bad version, v3               1
          first bad request to the decision      2.00 s
          decision to zero traffic on v3           5 ms
        ");
    }

    #[test]
    fn each_thing_that_does_not_hold_is_told() {
        type Spoil = fn(&mut Evidence);
        let cases: [(Spoil, &str); 9] = [
            (
                |evidence| {
                    let answer = Answer::None { why: "reset".to_owned() };
                    evidence.tally.add(super::super::tally::Visit { answer, ..visit(1, 0, "") });
                },
                "1 of 1205 requests were lost",
            ),
            (
                |evidence| evidence.tally.add(visit(1, 404, "v1")),
                "1 requests got an answer that nobody expected",
            ),
            (
                |evidence| evidence.tally.add(visit(1, 500, "v2")),
                "v2 failed 1 requests, and has no fault",
            ),
            (
                |evidence| evidence.tally.versions.retain(|name, _| name != "v1"),
                "v1 answered no request",
            ),
            (
                |evidence| evidence.tally.versions.retain(|name, _| name != "v3"),
                "v3 failed none of the 0 requests it answered, so that nothing was caught",
            ),
            (
                |evidence| evidence.tally.add(visit(6_000, 200, "v3")),
                "v3 still answered 502 ms after it was said to be gone",
            ),
            (
                |evidence| evidence.over = Duration::from_millis(7_100),
                "v2 did not answer after the way back",
            ),
            (|evidence| evidence.serving = "v3".to_owned(), "at the end v3 serves, not v2"),
            (|evidence| evidence.orders = 0, "1 orders were taken, and 0 are stored"),
        ];
        for (spoil, sentence) in cases {
            let mut evidence = well();
            spoil(&mut evidence);
            assert_eq!(judge(&evidence), Err(vec![sentence.to_owned()]));
        }
        let nothing = Evidence { tally: Tally::default(), ..well() };
        assert!(judge(&nothing).is_err_and(|faults| faults.len() > 3));
    }
}
