//! The text format of Prometheus, version 0.0.4.

use std::{collections::BTreeMap, fmt::Write as _};

use tidegate_types::{
    Counters, Histogram, Outcome, RevisionId, Run, Scope, Unanswered, data_plane::Traffic,
};

/// What is said of one scope.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) traffic: Traffic,
    /// Requests in flight by revision, those that files answer included.
    pub(crate) in_flight: BTreeMap<RevisionId, u64>,
    /// Lines of the access log that were written and that were lost.
    pub(crate) log: Option<(u64, u64)>,
}

/// Upper bounds of the buckets that are shown, in microseconds. The proxy counts in far finer ones;
/// a request counts as below a bound when its own fine bucket is, which is right to within 1.6 %.
const BOUNDS: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// All scopes as text.
pub(crate) fn write(run: Run, scopes: &BTreeMap<Scope, Reading>) -> String {
    let mut out = Text(String::new());
    out.family("tidegate_run_info", "gauge", "Names the run that counted.");
    out.sample("tidegate_run_info", &format!("run=\"{:x}\"", run.0), 1);
    requests(&mut out, scopes);
    out.family(
        "tidegate_request_duration_seconds",
        "histogram",
        "From the head of a request to the end of its answer.",
    );
    histograms(&mut out, scopes, "tidegate_request_duration_seconds", |it| &it.latency);
    out.family(
        "tidegate_first_byte_seconds",
        "histogram",
        "From the head of a request to the head of its answer.",
    );
    histograms(&mut out, scopes, "tidegate_first_byte_seconds", |it| &it.first_byte);
    numbers(
        &mut out,
        scopes,
        "tidegate_request_body_bytes_total",
        "Bytes of the bodies of requests.",
        |it| it.received,
    );
    numbers(
        &mut out,
        scopes,
        "tidegate_response_body_bytes_total",
        "Bytes of the bodies of answers.",
        |it| it.sent,
    );
    in_flight(&mut out, scopes);
    unanswered(&mut out, scopes);
    access_log(&mut out, scopes);
    out.0
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }
}

fn of_scope(scope: &Scope) -> String {
    let scope = scope.to_string();
    let (project, place) = scope.split_once('/').unwrap_or((&scope, ""));
    format!("project=\"{}\",environment=\"{}\"", escaped(project), escaped(place))
}

fn of_revision(scope: &Scope, revision: &RevisionId) -> String {
    let component = revision.as_str().rsplit_once('@').map_or(revision.as_str(), |parts| parts.0);
    format!(
        "{},component=\"{}\",revision=\"{}\"",
        of_scope(scope),
        escaped(component),
        escaped(revision.as_str())
    )
}

/// Names have no such characters; a table may come from anybody who can reach the control socket.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn revisions(scopes: &BTreeMap<Scope, Reading>) -> impl Iterator<Item = (String, &Counters)> {
    scopes.iter().flat_map(|(scope, reading)| {
        let revisions = reading.traffic.revisions.iter();
        revisions.map(|(revision, counters)| (of_revision(scope, revision), counters))
    })
}

fn requests(out: &mut Text, scopes: &BTreeMap<Scope, Reading>) {
    let name = "tidegate_requests_total";
    out.family(
        name,
        "counter",
        "Requests that ended, by the class of a whole answer or by whose fault there is none.",
    );
    for (labels, counters) in revisions(scopes) {
        // So that a rate is there from the first scrape on.
        let always = [Outcome::Success, Outcome::ServerError];
        for outcome in Outcome::ALL {
            let count = counters.ended.of(outcome);
            if count > 0 || always.contains(&outcome) {
                let blame = outcome.blame().map_or("", |blame| blame.name());
                let labels = format!("{labels},outcome=\"{}\",blame=\"{blame}\"", outcome.name());
                out.sample(name, &labels, count);
            }
        }
    }
    let name = "tidegate_request_errors_total";
    out.family(name, "counter", "Requests that count against their revision.");
    for (labels, counters) in revisions(scopes) {
        out.sample(name, &labels, counters.errors());
    }
}

fn histograms(
    out: &mut Text,
    scopes: &BTreeMap<Scope, Reading>,
    name: &str,
    of: impl Fn(&Counters) -> &Histogram,
) {
    for (labels, counters) in revisions(scopes) {
        let histogram = of(counters);
        let mut counts = histogram.counts().peekable();
        let mut below = 0;
        for bound in BOUNDS {
            while let Some((_, count)) =
                counts.next_if(|(bucket, _)| *bucket <= Histogram::bucket(bound))
            {
                below += count;
            }
            let labels = format!("{labels},le=\"{}\"", Seconds(bound));
            out.sample(&format!("{name}_bucket"), &labels, below);
        }
        let count = histogram.count();
        out.sample(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), count);
        let _ = writeln!(out.0, "{name}_sum{{{labels}}} {}", Seconds(histogram.sum()));
        out.sample(&format!("{name}_count"), &labels, count);
    }
}

/// Microseconds, shown in seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if rest == 0 {
            return write!(formatter, "{whole}");
        }
        write!(formatter, "{whole}.{}", format!("{rest:06}").trim_end_matches('0'))
    }
}

fn numbers(
    out: &mut Text,
    scopes: &BTreeMap<Scope, Reading>,
    name: &str,
    help: &str,
    of: impl Fn(&Counters) -> u64,
) {
    out.family(name, "counter", help);
    for (labels, counters) in revisions(scopes) {
        out.sample(name, &labels, of(counters));
    }
}

fn in_flight(out: &mut Text, scopes: &BTreeMap<Scope, Reading>) {
    let name = "tidegate_requests_in_flight";
    out.family(name, "gauge", "Requests that a revision is answering.");
    for (scope, reading) in scopes {
        for (revision, count) in &reading.in_flight {
            out.sample(name, &of_revision(scope, revision), *count);
        }
    }
    let name = "tidegate_instance_requests_in_flight";
    out.family(name, "gauge", "Of these, requests that an instance is answering.");
    for (scope, reading) in scopes {
        for (instance, count) in &reading.traffic.in_flight {
            let labels =
                format!("{},instance_id=\"{}\"", of_scope(scope), escaped(instance.as_str()));
            out.sample(name, &labels, *count);
        }
    }
}

fn unanswered(out: &mut Text, scopes: &BTreeMap<Scope, Reading>) {
    let name = "tidegate_unanswered_requests_total";
    out.family(name, "counter", "Requests that no revision was asked, by reason.");
    for (scope, reading) in scopes {
        let unanswered: &Unanswered = &reading.traffic.unanswered;
        for (reason, count) in unanswered.parts() {
            out.sample(name, &format!("{},reason=\"{reason}\"", of_scope(scope)), count);
        }
    }
}

fn access_log(out: &mut Text, scopes: &BTreeMap<Scope, Reading>) {
    let name = "tidegate_access_log_lines_total";
    out.family(name, "counter", "Lines of the access log that were written, and that were lost.");
    for (scope, reading) in scopes {
        if let Some((written, lost)) = reading.log {
            let labels = of_scope(scope);
            out.sample(name, &format!("{labels},state=\"written\""), written);
            out.sample(name, &format!("{labels},state=\"lost\""), lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::InstanceId;

    use super::*;

    fn written() -> String {
        let mut counters = Counters { received: 10, sent: 20, ..Counters::answered(5, 1) };
        counters.ended.add(Outcome::ClientReset, 2);
        for micros in [400, 900, 1_000, 70_000_000, 1_500_000] {
            counters.latency.record(micros);
        }
        let revision = RevisionId::new("api@3");
        let reading = Reading {
            traffic: Traffic {
                revisions: BTreeMap::from([(revision.clone(), counters)]),
                in_flight: BTreeMap::from([(InstanceId::of(&revision, 1), 4)]),
                unanswered: Unanswered { no_route: 3, ..Unanswered::default() },
                ..Traffic::default()
            },
            in_flight: BTreeMap::from([(revision, 4)]),
            log: Some((7, 1)),
        };
        write(Run(255), &BTreeMap::from([("shop/production".parse().unwrap(), reading)]))
    }

    #[test]
    fn every_sample_belongs_to_the_family_above_it_and_none_is_there_twice() {
        let text = written();
        let mut families = std::collections::BTreeSet::new();
        let mut samples = std::collections::BTreeSet::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                current = rest.split(' ').next().unwrap().to_owned();
                assert!(families.insert(current.clone()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current);
                assert!(["counter", "gauge", "histogram"].contains(&kind));
                assert_eq!(kind == "counter", name.ends_with("_total"));
            } else {
                let (name, rest) = line.split_once('{').unwrap();
                let suffix = name.strip_prefix(&current).unwrap();
                assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
                let (labels, value) = rest.rsplit_once("} ").unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(samples.insert((name.to_owned(), labels.to_owned())), "{line}");
            }
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn the_numbers_are_there() {
        let text = written();
        let of = "project=\"shop\",environment=\"production\"";
        let of_api = format!("{of},component=\"api\",revision=\"api@3\"");
        for wanted in [
            "tidegate_run_info{run=\"ff\"} 1".to_owned(),
            format!("tidegate_requests_total{{{of_api},outcome=\"2xx\",blame=\"\"}} 4"),
            format!("tidegate_requests_total{{{of_api},outcome=\"5xx\",blame=\"\"}} 1"),
            format!(
                "tidegate_requests_total{{{of_api},outcome=\"client_reset\",blame=\"client\"}} 2"
            ),
            format!("tidegate_request_errors_total{{{of_api}}} 1"),
            format!("tidegate_request_duration_seconds_bucket{{{of_api},le=\"0.0005\"}} 1"),
            format!("tidegate_request_duration_seconds_bucket{{{of_api},le=\"0.001\"}} 3"),
            format!("tidegate_request_duration_seconds_bucket{{{of_api},le=\"1\"}} 3"),
            format!("tidegate_request_duration_seconds_bucket{{{of_api},le=\"60\"}} 4"),
            format!("tidegate_request_duration_seconds_bucket{{{of_api},le=\"+Inf\"}} 5"),
            format!("tidegate_request_duration_seconds_count{{{of_api}}} 5"),
            format!("tidegate_first_byte_seconds_sum{{{of_api}}} 0"),
            format!("tidegate_request_body_bytes_total{{{of_api}}} 10"),
            format!("tidegate_response_body_bytes_total{{{of_api}}} 20"),
            format!("tidegate_requests_in_flight{{{of_api}}} 4"),
            format!("tidegate_instance_requests_in_flight{{{of},instance_id=\"api@3.1\"}} 4"),
            format!("tidegate_unanswered_requests_total{{{of},reason=\"no_route\"}} 3"),
            format!("tidegate_access_log_lines_total{{{of},state=\"lost\"}} 1"),
        ] {
            assert!(text.lines().any(|line| line == wanted), "{wanted} in:\n{text}");
        }
    }

    #[test]
    fn seconds_are_shown_exactly() {
        for (micros, text) in
            [(0, "0"), (500, "0.0005"), (1_000_000, "1"), (2_500_000, "2.5"), (1, "0.000001")]
        {
            assert_eq!(Seconds(micros).to_string(), text);
        }
    }

    #[test]
    fn no_label_ends_early() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
