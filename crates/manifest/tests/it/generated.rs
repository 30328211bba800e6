//! What is made from the table of keys: explanations, and the page of documentation.

use tidegate_manifest::{explain, reference_markdown};

#[test]
fn a_key_is_explained_by_its_path_with_names() {
    let page = explain("components.api.health").unwrap();
    assert_eq!(explain("components.*.health").unwrap(), page);
    assert_eq!(explain("health").unwrap(), page);
    insta::assert_snapshot!(page, @r"
    components.*.health
      How the health of an instance is told.
      One of `path`, `tcp`, `command` or `running`. The short form is the path alone: `health:
      /health`.

      Type:     a URL path such as `/api` or a mapping
      Default:  a TCP check when it listens, otherwise that it has run for `1s`
      Example:  health: { path: /health, interval: 2s }

    Keys below components.*.health:
      path          Healthy when GET on this path answers 200 to 399.
      ready         Fit for traffic when GET on this path answers 200 to 399.
      tcp           Healthy when the port accepts a connection. Default: false
      command       Healthy when this command exits with 0.
      running       Healthy when the process has run for this long. Default: 1s
      interval      Time between two checks. Default: 2s
      timeout       A check without an answer by then has failed. Default: 1s
      retries       So many failures in a row make an instance unhealthy. Default: 3
      start_period  Failures this soon after the start do not count. Default: 0s
      deadline      An instance that is not ready this long after its start has failed. Default: 60s
    ");
}

#[test]
fn an_item_of_a_list_is_explained() {
    assert_eq!(
        explain("environments.production.strategy.canary.steps[1].share").unwrap(),
        explain("components.api.strategy.canary.steps.*.share").unwrap(),
    );
    insta::assert_snapshot!(explain("steps").unwrap(), @r"
    environments.*.strategy.canary.steps
      Growing shares of the traffic, the last one `100%`.

      Type:     a list
      Default:  `[10%, 50%, 100%]`
      Example:  steps: [5%, { share: 50%, bake: 2m }, 100%]

    Keys below environments.*.strategy.canary.steps.*:
      share  The share. Required.
      bake   How long this step is watched.
    ");
}

#[test]
fn a_name_of_several_keys_lists_them() {
    insta::assert_snapshot!(explain("bake").unwrap(), @r"
    `bake` is the name of 6 keys:
      environments.*.strategy.recreate.bake           How long the new is watched after its start. Default: 10s
      environments.*.strategy.rolling.bake            How long the new is watched after the last instances. Default: 10s
      environments.*.strategy.blue_green.canary.bake  How long the share is watched.
      environments.*.strategy.blue_green.bake         How long the new is watched after the switch. Default: 10s
      environments.*.strategy.canary.steps.*.bake     How long this step is watched.
      environments.*.strategy.canary.bake             How long each step is watched. Default: 10s
    ");
}

#[test]
fn nothing_asked_lists_the_top() {
    insta::assert_snapshot!(explain("").unwrap(), @r"
    The keys of tidegate.yaml:
      version       Version of the manifest's format. Default: 1
      project       Name of the project. Required.
      components    The deployable parts of the project, by name. Required.
      environments  Where releases run, by name.
    ");
}

#[test]
fn the_default_guards_are_explained() {
    insta::assert_snapshot!(explain("rollback.when").unwrap(), @r"
    environments.*.rollback.when
      Guards: any of them, breached, goes back.
      The two guards of the default also hold beside a list of your own, unless it has one on
      the same metric. Known metrics are `error_rate`, `p50`, `p95`, `p99`,
      `health_check_failures` and `restarts`. Guards on traffic (the first four) look back over
      `for`, `1m` when it is left out, and no watched `bake` may be shorter than that.

      Type:     a list
      Default:  `[health_check_failures >= 3, restarts >= 3]`
      Example:  when: [error_rate > 5% for 2m, p95 > 5s, restarts >= 3]

    Keys below environments.*.rollback.when.*:
      condition     The guard itself. Required.
      min_requests  Below so many requests in the time it looks back, a guard on traffic judges nothing. Default: 50
    ");
}

#[test]
fn an_unknown_key_is_answered_with_those_that_may_be_meant() {
    let unknown = explain("components.api.healt").unwrap_err();
    assert_eq!(unknown.suggestions, ["components.*.health"]);
    insta::assert_snapshot!(unknown, @"the manifest has no key `components.api.healt`; did you mean `components.*.health`?");
    assert!(explain("nothing-like-it").unwrap_err().suggestions.is_empty());
    for odd in ["*", "...", "components.*.*.*", "components..api", "é", "[[["] {
        let _ = explain(odd);
    }
}

#[test]
fn the_page_names_every_key_that_can_be_explained() {
    let page = reference_markdown();
    let headings: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert!(headings.len() > 70, "{headings:?}");
    for heading in headings {
        assert!(explain(heading).unwrap().starts_with(heading), "{heading}");
    }
    assert!(page.lines().all(|line| !line.ends_with(' ')));
}
