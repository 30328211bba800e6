//! Mistakes, each with its exit code and its mend.

use crate::sandbox::Sandbox;

const MANIFEST: &str = "
project: shop
components:
  web: { path: web, static: {} }
environments:
  staging: {}
  production: {}
";

fn shop() -> Sandbox {
    Sandbox::with(&[("tidegate.yaml", MANIFEST), ("web/index.html", "hello")])
}

#[test]
fn a_manifest_with_mistakes_is_told_with_lines_and_mends() {
    let sandbox = Sandbox::bare();
    sandbox.write(&[("tidegate.yaml", "project: shop\ncomponent: {}\n")]);
    let answer = sandbox.tidegate(&["check"]).expect(2);
    assert!(answer.stderr.contains("components"), "{answer:?}");
    let answer = sandbox.tidegate(&["check", "--json"]).expect(2).json();
    assert_eq!(answer["check"]["ok"], false);
    assert_eq!(answer["check"]["problems"][0]["line"], 2);
    sandbox.write(&[("tidegate.yaml", MANIFEST)]);
    let answer = sandbox.tidegate(&["check"]).expect(0);
    assert_eq!(answer.stdout, "ok: 1 component, 2 environments\n");
}

#[test]
fn a_deployment_needs_a_repository_a_commit_a_manifest_and_an_environment() {
    let sandbox = Sandbox::bare();
    let answer = sandbox.tidegate(&["deploy"]).expect(2);
    assert!(answer.stderr.contains("git init"), "{answer:?}");

    let sandbox = Sandbox::with(&[("README", "nothing yet")]);
    let answer = sandbox.tidegate(&["deploy"]).expect(2);
    assert!(answer.stderr.contains("tidegate init"), "{answer:?}");
    sandbox.write(&[("tidegate.yaml", MANIFEST)]);
    let answer = sandbox.tidegate(&["deploy"]).expect(2);
    assert!(answer.stderr.contains("git add tidegate.yaml"), "{answer:?}");

    let sandbox = shop();
    let answer = sandbox.tidegate(&["deploy", "--ref", "v9"]).expect(2);
    assert!(answer.stderr.contains("`v9`"), "{answer:?}");
    let answer = sandbox.tidegate(&["deploy"]).expect(2);
    assert!(answer.stderr.contains("staging, production"), "{answer:?}");
    let answer = sandbox.tidegate(&["deploy", "prodution"]).expect(2);
    assert!(answer.stderr.contains("did you mean `production`?"), "{answer:?}");
    // None of it needed a control plane, so none was started.
    assert!(sandbox.processes().is_empty());
}

#[test]
fn questions_without_a_control_plane_say_how_to_start_one() {
    let sandbox = shop();
    for command in [["status"].as_slice(), &["watch", "staging"], &["history", "staging"]] {
        let answer = sandbox.tidegate(command).expect(7);
        assert!(answer.stderr.contains("tidegate up"), "{answer:?}");
    }
    let answer = sandbox.tidegate(&["status", "--json"]).expect(7).json();
    assert_eq!(answer["error"]["code"], "unreachable");
    assert_eq!(answer["error"]["exit"], 7);
}

#[test]
fn slips_on_the_command_line_are_usage_errors_with_a_suggestion() {
    let sandbox = shop();
    let answer = sandbox.tidegate(&["deplyo"]).expect(2);
    assert!(answer.stderr.contains("'deploy'"), "{answer:?}");
    let answer = sandbox.tidegate(&["explain", "replicsa"]).expect(2);
    assert!(answer.stderr.contains("replicas"), "{answer:?}");
    sandbox.tidegate(&["rollback", "-h"]).expect(0);
}

#[test]
fn init_writes_a_manifest_that_passes_and_never_writes_over_one() {
    let sandbox = Sandbox::with(&[("index.html", "hello")]);
    let answer = sandbox.tidegate(&["init"]).expect(0);
    assert!(answer.stdout.contains("tidegate deploy"), "{answer:?}");
    sandbox.tidegate(&["check"]).expect(0);
    sandbox.write(&[("tidegate.yaml", "mine")]);
    sandbox.tidegate(&["init"]).expect(6);
    let kept = std::fs::read_to_string(sandbox.project().join("tidegate.yaml"));
    assert_eq!(kept.expect("it is there"), "mine");
}

#[test]
fn doctor_finds_what_is_wrong_and_nothing_where_all_is_well() {
    let sandbox = shop();
    let answer = sandbox.tidegate(&["doctor", "--json"]).expect(0).json();
    let grades: Vec<&str> = answer["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|check| check["grade"].as_str())
        .collect();
    assert!(grades.len() > 5 && !grades.contains(&"FAIL"), "{answer:#}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it has an address").port();
    let listen = MANIFEST.replace("staging: {}", &format!("staging: {{ listen: {port} }}"));
    sandbox.write(&[("tidegate.yaml", &listen)]);
    let answer = sandbox.tidegate(&["doctor"]).expect(1);
    assert!(answer.stdout.contains(&port.to_string()), "{answer:?}");
}
