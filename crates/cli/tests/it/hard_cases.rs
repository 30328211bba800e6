//! Releases that are bad in one way each: the user is told what, why, what serves, and what next.

use std::net::TcpListener;

use crate::{
    sandbox::{Answer, Sandbox, runs, wait_until},
    visitors::Visitors,
};

struct App<'a> {
    options: &'a str,
    health: &'a str,
    environment: &'a str,
}

const PLAIN: App<'_> =
    App { options: "", health: "path: /health, interval: 100ms", environment: "" };

impl App<'_> {
    fn manifest(&self, version: &str) -> String {
        let environment = if self.environment.is_empty() {
            "strategy: { blue_green: { bake: 3s, keep: 10m } }"
        } else {
            self.environment
        };
        format!(
            "
project: shop
components:
  api:
    command: exec {} serve version={version} {}
    port: auto
    health: {{ {} }}
    route: /
environments:
  production:
    {environment}
",
            tidegate_testapp::executable().display(),
            self.options,
            self.health,
        )
    }
}

/// A sandbox in which version one serves and `second` is committed.
fn over_a_good_one(second: &App<'_>) -> Sandbox {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &PLAIN.manifest("one"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    sandbox.commit(&[("tidegate.yaml", &second.manifest("two"))]);
    sandbox
}

#[track_caller]
fn tells(answer: &Answer, parts: &[&str]) {
    for part in parts {
        assert!(answer.stderr.contains(part), "`{part}` is missing in\n{}", answer.stderr);
    }
}

#[test]
fn one_that_dies_after_a_while_goes_back() {
    let sandbox = over_a_good_one(&App { options: "die_after=700", ..PLAIN });
    let answer = sandbox.tidegate(&["deploy"]).expect(3);
    tells(&answer, &["restarts >= 3", "exited with code 1", "api@1", "tidegate logs api"]);
    assert!(sandbox.get("/").contains("one"));
}

#[test]
fn one_that_is_never_ready_says_what_its_health_check_answered() {
    let sandbox = over_a_good_one(&App {
        options: "ready=never",
        health: "path: /health, interval: 100ms, deadline: 2s",
        ..PLAIN
    });
    let answer = sandbox.tidegate(&["deploy"]).expect(1);
    tells(&answer, &["not ready within 2s", "503", "no traffic was moved"]);
    assert!(sandbox.get("/").contains("one"));
}

#[test]
fn a_health_endpoint_that_hangs_is_not_ready() {
    let sandbox = over_a_good_one(&App {
        options: "hang_when=/proc/self/stat",
        health: "path: /health, interval: 100ms, timeout: 300ms, deadline: 2s",
        ..PLAIN
    });
    let answer = sandbox.tidegate(&["deploy"]).expect(1);
    tells(&answer, &["not ready within 2s", "did not answer within 300ms"]);
    assert!(sandbox.get("/").contains("one"));
}

#[test]
fn one_that_is_ready_and_then_not_goes_back() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &PLAIN.manifest("one"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let sick = sandbox.project().join("sick");
    let options = format!("unready_while={}", sick.display());
    let environment = "strategy: { blue_green: { bake: 1m, keep: 10m } }";
    let second = App { options: &options, environment, ..PLAIN };
    sandbox.commit(&[("tidegate.yaml", &second.manifest("two"))]);
    sandbox.tidegate(&["deploy", "--no-wait"]).expect(0);
    wait_until("version two serves", || sandbox.get("/").contains("two"));
    std::fs::write(&sick, "").expect("a file can be written");
    wait_until("it ended", || sandbox.status()["deployment"].is_null());
    let latest = &sandbox.status()["latest"];
    assert_eq!(latest["outcome"], "rolled_back", "{latest:#}");
    let what = latest["failure"]["what"].as_str().expect("a sentence");
    assert!(what.contains("health_check_failures >= 3"), "{what}");
    assert!(sandbox.get("/").contains("one"));
}

#[test]
fn one_that_fails_requests_is_caught_by_the_visitors_and_loses_none() {
    let environment = "strategy: { canary: { steps: [50%, 100%], bake: 3s } }
    rollback: { when: [{ condition: \"error_rate > 5% for 1s\", min_requests: 20 }] }";
    let first = App { environment, ..PLAIN };
    let sandbox = Sandbox::with(&[("tidegate.yaml", &first.manifest("one"))]);
    // The first one has nobody to be compared with, but visitors to convince.
    sandbox.tidegate(&["deploy", "--no-wait"]).expect(0);
    wait_until("it serves", || sandbox.status()["address"].is_string());
    wait_until("it serves", || {
        sandbox.status()["components"][0]["revisions"][0]["share"] == 10_000
            && sandbox.status()["confirmed"] == true
    });
    let address = sandbox.status()["address"].as_str().expect("an address").to_owned();
    let visitors = Visitors::at(&address);
    wait_until("it is verified", || sandbox.status()["deployment"].is_null());
    assert_eq!(sandbox.status()["latest"]["outcome"], "succeeded");
    let second = App { options: "error_percent=8", environment, ..PLAIN };
    sandbox.commit(&[("tidegate.yaml", &second.manifest("two"))]);
    let answer = sandbox.tidegate(&["deploy"]).expect(3);
    tells(&answer, &["error_rate > 5%", "the limit is 5%", "api@1"]);
    // It is not tried again by itself, and gets nothing any more.
    let before = visitors.so_far();
    wait_until("more visitors came", || {
        let total = |seen: &crate::visitors::Seen| seen.answers.iter().map(|(_, n)| n).sum::<u64>();
        total(&visitors.so_far()) > total(&before) + 200
    });
    let seen = visitors.leave();
    assert_eq!(seen.lost, []);
    let of_two = |seen: &crate::visitors::Seen| {
        seen.answers.iter().find(|(version, _)| version == "two").map(|(_, count)| *count)
    };
    assert!(seen.errors > 0);
    assert_eq!((of_two(&seen), seen.errors), (of_two(&before), before.errors));
}

#[test]
fn an_address_in_use_is_named_and_nothing_is_left() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let environment = format!("listen: {address}\n    strategy: {{ blue_green: {{ bake: 0s }} }}");
    let app = App { environment: &environment, ..PLAIN };
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app.manifest("one"))]);
    let answer = sandbox.tidegate(&["deploy"]).expect(1);
    tells(&answer, &["cannot listen on", &address.to_string(), "nothing serves"]);
    drop(taken);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert!(sandbox.get("/").contains("one"));
}

#[test]
fn a_component_that_is_removed_goes_last_and_one_that_is_renamed_takes_its_place() {
    let two_sites = "
project: shop
components:
  web: { path: web, static: true, route: / }
  help: { path: help, static: true, route: /help }
environments:
  production: { strategy: { blue_green: { bake: 0s } } }
";
    let files = [
        ("tidegate.yaml", two_sites),
        ("web/index.html", "the shop"),
        ("help/help/index.html", "the help"),
    ];
    let sandbox = Sandbox::with(&files);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert_eq!(sandbox.get("/help/"), "the help");
    let renamed = two_sites.replace("help: {", "manual: {");
    sandbox.commit(&[("tidegate.yaml", &renamed)]);
    let plan = sandbox.tidegate(&["plan"]).expect(0);
    assert!(plan.stdout.contains("help@1 -> removed"), "{}", plan.stdout);
    assert!(plan.stdout.contains("unchanged: web"), "{}", plan.stdout);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert_eq!(sandbox.get("/help/"), "the help");
    let status = sandbox.status();
    let names: Vec<&str> = status["components"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|component| component["name"].as_str())
        .collect();
    assert_eq!(names, ["manual", "web"]);
}

#[test]
fn a_change_of_the_manifest_alone_leaves_other_components_as_they_are() {
    let manifest = |greeting: &str| {
        format!(
            "
project: shop
components:
  api:
    command: exec {} serve
    port: auto
    route: /
  greeter:
    command: while true; do echo {greeting}; sleep 1; done
environments:
  production: {{ strategy: {{ blue_green: {{ bake: 0s }} }} }}
",
            tidegate_testapp::executable().display()
        )
    };
    let sandbox = Sandbox::with(&[("tidegate.yaml", &manifest("hello"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    sandbox.commit(&[("tidegate.yaml", &manifest("good day"))]);
    let plan = sandbox.tidegate(&["plan"]).expect(0);
    assert!(plan.stdout.contains("greeter@1 -> greeter@2"), "{}", plan.stdout);
    assert!(plan.stdout.contains("unchanged: api"), "{}", plan.stdout);
}

#[test]
fn an_old_release_keeps_its_own_manifest() {
    let keep_nothing = "strategy: { blue_green: { bake: 0s, keep: 0s } }";
    let first = App { environment: keep_nothing, ..PLAIN };
    let sandbox = Sandbox::with(&[("tidegate.yaml", &first.manifest("one"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    sandbox.commit(&[("tidegate.yaml", &first.manifest("two"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert!(sandbox.get("/").contains("two"));
    // The work tree of today cannot even be read.
    sandbox.write(&[("tidegate.yaml", "project: shop\ncomponents: {}\nnonsense: 1\n")]);
    sandbox.tidegate(&["rollback", "production"]).expect(0);
    assert!(sandbox.get("/").contains("one"));
}

#[test]
fn aborted_while_it_is_built_nothing_goes_on_and_the_next_one_builds_anew() {
    let slow = "
project: shop
components:
  web:
    build: { run: echo $$ > ../pid; sleep 600, output: . }
    static: true
environments:
  production: { strategy: { blue_green: { bake: 0s } } }
";
    let quick = slow.replace("echo $$ > ../pid; sleep 600", "echo built > index.html");
    let slow = slow.replace("../pid", "$TMPDIR/pid");
    let sandbox = Sandbox::with(&[("tidegate.yaml", &slow)]);
    let pid = sandbox.project().join("pid");
    let up = sandbox.command(&["up"]).env("TMPDIR", sandbox.project()).output().expect("it runs");
    assert!(up.status.success(), "{up:?}");
    sandbox.tidegate(&["deploy", "--no-wait"]).expect(0);
    wait_until("the build runs", || {
        std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
    });
    let pid: u32 = std::fs::read_to_string(&pid).expect("a pid").trim().parse().expect("a number");
    assert!(runs(pid));
    sandbox.tidegate(&["abort"]).expect(0);
    wait_until("the build has ended", || !runs(pid));
    assert_eq!(sandbox.status()["latest"]["outcome"], "failed");
    sandbox.commit(&[("tidegate.yaml", &quick)]);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert_eq!(sandbox.get("/"), "built\n");
}
