//! A plan tried on bad versions: without a control plane, a commit or a deployment.

use crate::sandbox::Sandbox;

const MANIFEST: &str = "
project: shop
components:
  api: { command: ./api, port: auto, route: /, replicas: 2 }
  job: { command: ./job }
environments:
  staging: {}
  production:
    strategy: { canary: { steps: [10%, 100%], bake: 1m } }
    rollback: { when: [error_rate > 5% for 30s] }
";

/// Not even a repository.
fn shop() -> Sandbox {
    let sandbox = Sandbox::bare();
    sandbox.write(&[("tidegate.yaml", MANIFEST)]);
    sandbox
}

#[test]
fn a_plan_is_tried_and_what_would_help_is_said() {
    let sandbox = shop();
    let simulate = ["simulate", "production", "--rate", "100/s", "--runs", "20"];
    let faults = ["--fault", "errors-50%", "--fault", "errors-2%", "--fault", "never-ready"];
    let answer = sandbox.tidegate(&[simulate.as_slice(), &faults].concat()).expect(0);
    insta::assert_snapshot!(answer.stdout, @r"
    shop/production  the plan of tidegate.yaml, 20 runs a fault
      100/s to each component; when all is well 0.1% fail and p95 is 200ms
      the fault is in the new version of api; looked at every 500ms

    FAULT        BACK  HELD  DECIDED  P95     HARMED  OF ALL  TOOK    THEN/H
    never-ready  100%  -     1m 00s   1m 00s  0       -       1m 00s  -
    errors-50%   100%  -     30s      30s     151     4.9%    30s     -
    errors-2%    0%    -     -        -       253     1.4%    3m 00s  7,188
    healthy      0%    -     -        -       0       -       3m 00s  -

    BACK     share of the runs that went back; for healthy and incident-both wrongly
    HELD     share that waited for enough requests, and would go on to
    DECIDED  from the start of its rollout to the decision: median, then p95
    HARMED   requests failed, slowed or not answered meanwhile; mean of the runs
    THEN/H   the same in the hour after, where the new version stayed

    hint  errors-2% goes back in 100% instead of 0% with `error_rate > 2% for 30s`
          in place of `error_rate > 5% for 30s`; a healthy deployment takes no
          longer
    next  change tidegate.yaml and run it again; nothing has to be committed
    next  tidegate explain rollback.when
    ");
    assert_eq!(answer.stderr, "");
    let widest = answer.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?}");
    // The same question has the same answer, on whichever cores.
    let again = sandbox.tidegate(&[simulate.as_slice(), &faults].concat()).expect(0);
    assert_eq!(answer.stdout, again.stdout);
    // Nothing was started, and nothing was kept.
    assert!(sandbox.processes().is_empty());
    assert!(!sandbox.home().exists());
}

#[test]
fn programs_get_the_figures() {
    let sandbox = shop();
    let answer = sandbox
        .tidegate(&["simulate", "production", "--runs", "5", "--fault", "errors-8%", "--json"])
        .expect(0)
        .json();
    let simulation = &answer["simulation"];
    assert_eq!(simulation["scope"], "shop/production");
    let forecast = &simulation["forecast"];
    assert_eq!(forecast["component"], "api");
    assert_eq!(forecast["runs"], 5);
    let faults = forecast["faults"].as_array().expect("faults");
    let names: Vec<_> = faults.iter().filter_map(|fault| fault["fault"].as_str()).collect();
    assert_eq!(names, ["errors-8%", "healthy"]);
    let outcomes = faults[0]["outcomes"].as_object().expect("outcomes");
    let words = ["degraded", "failed", "held", "rolled_back", "succeeded"];
    assert!(outcomes.keys().eq(words), "{outcomes:?}");
    assert_eq!(outcomes.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), 5);
    for key in ["median", "p95"] {
        assert!(faults[0]["decision_ms"][key].is_u64(), "{answer:#}");
    }
    assert!(faults[0]["during"]["harmed"].is_number(), "{answer:#}");
    assert!(simulation["hints"].is_array(), "{answer:#}");
}

#[test]
fn the_manifest_of_a_commit_or_of_another_file_can_be_tried() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", MANIFEST)]);
    let without = MANIFEST.replace("    rollback: { when: [error_rate > 5% for 30s] }\n", "");
    sandbox.write(&[("tidegate.yaml", "not yet right"), ("other.yaml", &without)]);
    let went_back = |more: &[&str]| {
        let asked = ["simulate", "production", "--runs", "3", "--fault", "errors-50%", "--json"];
        let answer = sandbox.tidegate(&[asked.as_slice(), more].concat()).expect(0).json();
        answer["simulation"]["forecast"]["faults"][0]["went_back"].as_f64()
    };
    assert_eq!(went_back(&["--ref", "HEAD"]), Some(1.0));
    assert_eq!(went_back(&["--file", "other.yaml"]), Some(0.0));
    let answer = sandbox.tidegate(&["simulate", "production"]).expect(2);
    assert!(answer.stderr.contains("does not pass the check"), "{answer:?}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_right_form() {
    let sandbox = shop();
    for (arguments, mend) in [
        (["--rate", "20"], "`20/s`"),
        (["--rate", "-1/s"], "-1"),
        (["--errors", "2"], "write a percentage"),
        (["--errors", "100%"], "less than 100%"),
        (["--p95", "0s"], "as in `200ms`"),
        (["--runs", "0"], "1..=10000"),
        (["--fault", "erors-8%"], "errors-8%"),
        (["--component", "ap"], "did you mean `api`?"),
        (["--seed", "x"], "--seed"),
    ] {
        let answer =
            sandbox.tidegate(&[["simulate", "production"].as_slice(), &arguments].concat());
        let answer = answer.expect(2);
        assert!(answer.stderr.contains(mend), "{arguments:?}: {answer:?}");
    }
    let job = ["simulate", "production", "--component", "job", "--fault", "errors-8%"];
    let answer = sandbox.tidegate(&job).expect(2);
    assert!(answer.stderr.contains("it has no route"), "{answer:?}");
    let answer = sandbox.tidegate(&["simulate"]).expect(2);
    assert!(answer.stderr.contains("staging, production"), "{answer:?}");
}
