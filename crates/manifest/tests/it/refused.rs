//! Manifests that are wrong in one place, and what their users are told.

use tidegate_manifest::read;

/// Everything that is said about a manifest.
pub(crate) fn told(text: &str) -> String {
    match read(text, "tidegate.yaml") {
        Ok(_) => "nothing is wrong".to_owned(),
        Err(problems) => problems.render(false),
    }
}

#[test]
fn a_slip_in_a_key() {
    let text = r"project: shop
components:
  api:
    comand: ./api
    port: auto
";
    insta::assert_snapshot!(told(text), @r"
    error[unknown-key]: unknown key `comand` in component `api`
     --> tidegate.yaml:4:5
      |
    4 |     comand: ./api
      |     ^^^^^^
      = help: did you mean `command`?
    ");
}

#[test]
fn words_of_other_tools() {
    let text = r"name: shop
services:
  api:
    cmd: ./api
    interval: 5s
    healthcheck: /health
";
    insta::assert_snapshot!(told(text), @r"
    error[unknown-key]: unknown key `name` in the manifest
     --> tidegate.yaml:1:1
      |
    1 | name: shop
      | ^^^^
      = help: did you mean `project`?

    error[unknown-key]: unknown key `services` in the manifest
     --> tidegate.yaml:2:1
      |
    2 | services:
      | ^^^^^^^^
      = help: did you mean `components`?

    error[unknown-key]: unknown key `cmd` in component `api`
     --> tidegate.yaml:4:5
      |
    4 |     cmd: ./api
      |     ^^^
      = help: did you mean `command`?

    error[unknown-key]: unknown key `interval` in component `api`
     --> tidegate.yaml:5:5
      |
    5 |     interval: 5s
      |     ^^^^^^^^
      = help: `interval` belongs inside `health`

    error[unknown-key]: unknown key `healthcheck` in component `api`
     --> tidegate.yaml:6:5
      |
    6 |     healthcheck: /health
      |     ^^^^^^^^^^^
      = help: did you mean `health`?
    ");
}

#[test]
fn keys_of_later_versions() {
    let text = r#"project: shop
components:
  api:
    command: ./api
    port: auto
    secrets: [DATABASE_URL]
environments:
  production:
    trigger: { tag: "v*" }
    requires: staging
    approval: { min: 1 }
    strategy: { canary: { sticky: cookie } }
    rollback:
      when: [ "p95 > 2x stable" ]
"#;
    insta::assert_snapshot!(told(text), @r#"
    error[unknown-key]: unknown key `secrets` in component `api`
     --> tidegate.yaml:6:5
      |
    6 |     secrets: [DATABASE_URL]
      |     ^^^^^^^
      = help: this version of Tidegate does not know `secrets` yet: remove it

    error[unknown-key]: unknown key `trigger` in environment `production`
     --> tidegate.yaml:9:5
      |
    9 |     trigger: { tag: "v*" }
      |     ^^^^^^^
      = help: this version of Tidegate does not know `trigger` yet: remove it

    error[unknown-key]: unknown key `requires` in environment `production`
      --> tidegate.yaml:10:5
       |
    10 |     requires: staging
       |     ^^^^^^^^
       = help: this version of Tidegate does not know `requires` yet: remove it

    error[unknown-key]: unknown key `approval` in environment `production`
      --> tidegate.yaml:11:5
       |
    11 |     approval: { min: 1 }
       |     ^^^^^^^^
       = help: this version of Tidegate does not know `approval` yet: remove it

    error[unknown-key]: unknown key `sticky` in `strategy.canary` of environment `production`
      --> tidegate.yaml:12:27
       |
    12 |     strategy: { canary: { sticky: cookie } }
       |                           ^^^^^^
       = help: visitors belong to a route: write `route: { sticky: cookie }` in the component

    error[bad-guard]: item 1 of `rollback.when` of environment `production`: `p95 > 2x stable` is not a guard
      --> tidegate.yaml:14:22
       |
    14 |       when: [ "p95 > 2x stable" ]
       |                      ^^^^^^^^^ a comparison with the stable revision
       = help: this version does not know such guards yet: give a fixed limit
    "#);
}

#[test]
fn an_empty_file() {
    let text = "\n# nothing yet\n";
    insta::assert_snapshot!(told(text), @r"
    error[empty-file]: the manifest is empty
     --> tidegate.yaml:1:1
      |
    1 |
      | ^
      = help: the smallest manifest is:
              project: shop
              components:
                api:
                  command: ./api --port $PORT
                  port: auto
    ");
}

#[test]
fn not_a_mapping() {
    let text = "- project: shop\n";
    insta::assert_snapshot!(told(text), @r"
    error[wrong-type]: a manifest is a mapping of keys and values
     --> tidegate.yaml:1:1
      |
    1 | - project: shop
      | ^^^^^^^^^^^^^^^
      = help: start with `project: NAME`
    ");
}

#[test]
fn only_a_project() {
    let text = "project: shop\n";
    insta::assert_snapshot!(told(text), @r"
    error[missing-key]: `components` is missing in the manifest
     --> tidegate.yaml:1:1
      |
    1 | project: shop
      | ^^^^^^^
      = help: add it, for example `components: { api: { command: ./api --port $PORT, port: auto } }`
    ");
}

#[test]
fn nothing_to_run() {
    let text = "project: shop\ncomponents:\n  api:\n    port: auto\n";
    insta::assert_snapshot!(told(text), @r"
    error[nothing-to-run]: component `api` has neither `command` nor `static`
     --> tidegate.yaml:3:3
      |
    3 |   api:
      |   ^^^
      = help: say what runs, as in `command: ./api --port $PORT`, or write `static: true` for files that the proxy serves
    ");
}

#[test]
fn both_to_run() {
    let text = "project: shop\ncomponents:\n  web:\n    command: ./web\n    static: true\n";
    insta::assert_snapshot!(told(text), @r"
    error[command-and-static]: component `web` has both `command` and `static`
     --> tidegate.yaml:4:5
      |
    4 |     command: ./web
      |     ^^^^^^^
      = help: remove `command` if the proxy shall serve files, or `static` if a process answers
    ");
}

#[test]
fn values_of_a_wrong_type() {
    let text = r#"project: 1shop
version: 2
components:
  api:
    command: [./api, --port]
    port: http
    replicas: "2"
    depends_on: db
    health: health
    stop: 10s
    route:
    static: no
    log: { file_size: 8MB, files: 0 }
  API: { command: 5 }
"#;
    insta::assert_snapshot!(told(text), @r#"
    error[bad-name]: `project`: `1shop` is not a name: use 1 to 40 lower-case letters, digits and `-`, starting with a letter
     --> tidegate.yaml:1:10
      |
    1 | project: 1shop
      |          ^^^^^
      = help: for example `shop`

    error[out-of-range]: `version`: `1` is expected, but this is 2
     --> tidegate.yaml:2:10
      |
    2 | version: 2
      |          ^

    error[wrong-type]: `command` of component `api` is a shell command, not a list
     --> tidegate.yaml:5:14
      |
    5 |     command: [./api, --port]
      |              ^^^^^^^^^^^^^^^
      = help: for example `command: ./api --port $PORT`

    error[wrong-type]: `port` of component `api`: `auto` or `none` or a whole number from 1 to 65535 is expected, but this is `http`
     --> tidegate.yaml:6:11
      |
    6 |     port: http
      |           ^^^^
      = help: for example `port: auto`

    error[wrong-type]: `replicas` of component `api`: a number is expected, but "2" in quotes is text
     --> tidegate.yaml:7:15
      |
    7 |     replicas: "2"
      |               ^^^
      = help: remove the quotes

    error[wrong-type]: `depends_on` of component `api` is a list, not `db`
     --> tidegate.yaml:8:17
      |
    8 |     depends_on: db
      |                 ^^
      = help: for example `depends_on: [db]`

    error[bad-url-path]: `health` of component `api`: `health` is not a URL path: it starts with no `/`
     --> tidegate.yaml:9:13
      |
    9 |     health: health
      |             ^^^^^^
      = help: write `/health`

    error[wrong-type]: `stop` of component `api` is a mapping, not `10s`
      --> tidegate.yaml:10:11
       |
    10 |     stop: 10s
       |           ^^^
       = help: for example `stop: { signal: SIGINT, timeout: 30s }`

    error[missing-value]: `route` of component `api` has no value
      --> tidegate.yaml:11:5
       |
    11 |     route:
       |     ^^^^^
       = help: write `none` or a URL path such as `/api` or a mapping, or remove the line

    error[wrong-type]: `static` of component `api`: `true` or `false` is expected, but this is `no`
      --> tidegate.yaml:12:13
       |
    12 |     static: no
       |             ^^
       = help: write `false`, without quotes

    error[bad-size]: `log.file_size` of component `api`: `8MB` is not a size
      --> tidegate.yaml:13:23
       |
    13 |     log: { file_size: 8MB, files: 0 }
       |                       ^^^
       = help: sizes are written with KiB, MiB or GiB: `8MiB`

    error[out-of-range]: `log.files` of component `api`: a whole number from 1 to 100 is expected, but this is 0
      --> tidegate.yaml:13:35
       |
    13 |     log: { file_size: 8MB, files: 0 }
       |                                   ^

    error[bad-name]: `API` is not a name: use 1 to 40 lower-case letters, digits and `-`, starting with a letter
      --> tidegate.yaml:14:3
       |
    14 |   API: { command: 5 }
       |   ^^^
       = help: for example `api`

    error[wrong-type]: `command` of component `API`: text is expected, but `5` is a number
      --> tidegate.yaml:14:19
       |
    14 |   API: { command: 5 }
       |                   ^
       = help: put it in quotes: "5"
    "#);
}

#[test]
fn limits_that_make_no_sense() {
    let limits = |text: &str| {
        told(&format!(
            "project: shop\ncomponents: {{ api: {{ command: ./api }} }}\n\
             environments: {{ production: {{ gateway: {{ limits: {{ {text} }} }} }} }}\n"
        ))
    };
    for (bad, reason) in [
        ("head_size: 4KiB", "8KiB to 1MiB is expected, but this is 4KiB"),
        ("head_size: 2MiB", "8KiB to 1MiB is expected, but this is 2MiB"),
        ("head_size: 64000", "`64000` is not a size"),
        ("head_timeout: 2h", "10ms to 1h is expected, but this is 2h"),
        ("head_timeout: 0s", "0"),
        ("idle_timeout: 9ms", "10ms to 1h is expected, but this is 9ms"),
        ("connect_timeout: 1d", "10ms to 1h is expected, but this is 1d"),
        ("answer_timeout: 61m", "10ms to 1h is expected, but this is 1h1m"),
        ("http2_streams: 0", "a whole number from 1 to 10000 is expected, but this is 0"),
        ("http2_streams: 10001", "a whole number from 1 to 10000 is expected"),
    ] {
        let told = limits(bad);
        let key = bad.split(':').next().unwrap();
        assert!(told.contains(&format!("`gateway.limits.{key}` of environment")), "{told}");
        assert!(told.contains(reason), "{told}");
    }
    for good in ["head_size: 8KiB", "head_size: 1MiB", "idle_timeout: 1h", "head_timeout: 10ms"] {
        assert_eq!(limits(good), "nothing is wrong");
    }
}

#[test]
fn bad_durations_and_shares() {
    let text = r"project: shop
components:
  api:
    command: ./api
    route: /
    health: { path: /health, interval: 5, timeout: 1 second, deadline: 0s }
environments:
  production:
    strategy: { blue_green: { canary: 10, bake: soon, keep: 2y } }
  other:
    strategy: { canary: { steps: [0.5, 120%, { bake: 5m }] } }
";
    insta::assert_snapshot!(told(text), @r"
    error[bad-duration]: `health.interval` of component `api`: `5` is not a duration
     --> tidegate.yaml:6:40
      |
    6 |     health: { path: /health, interval: 5, timeout: 1 second, deadline: 0s }
      |                                        ^
      = help: say of what: `5s` for seconds, `5m` for minutes

    error[bad-duration]: `health.timeout` of component `api`: `1 second` is not a duration
     --> tidegate.yaml:6:52
      |
    6 |     health: { path: /health, interval: 5, timeout: 1 second, deadline: 0s }
      |                                                    ^^^^^^^^
      = help: write `1s`

    error[bad-duration]: `health.deadline` of component `api`: this time has to be longer than nothing
     --> tidegate.yaml:6:72
      |
    6 |     health: { path: /health, interval: 5, timeout: 1 second, deadline: 0s }
      |                                                                        ^^
      = help: write a time such as `1s`

    error[bad-share]: `strategy.blue_green.canary` of environment `production`: `10` is not a share of the traffic
     --> tidegate.yaml:9:39
      |
    9 |     strategy: { blue_green: { canary: 10, bake: soon, keep: 2y } }
      |                                       ^^
      = help: shares are percentages: write `10%`

    error[bad-duration]: `strategy.blue_green.bake` of environment `production`: `soon` is not a duration
     --> tidegate.yaml:9:49
      |
    9 |     strategy: { blue_green: { canary: 10, bake: soon, keep: 2y } }
      |                                                 ^^^^
      = help: write whole numbers with units from large to small: `500ms`, `30s`, `5m`, `24h`, `7d`, `1h30m`

    error[bad-duration]: `strategy.blue_green.keep` of environment `production`: `2y` is not a duration
     --> tidegate.yaml:9:61
      |
    9 |     strategy: { blue_green: { canary: 10, bake: soon, keep: 2y } }
      |                                                             ^^
      = help: write whole numbers with units from large to small: `500ms`, `30s`, `5m`, `24h`, `7d`, `1h30m`

    error[bad-share]: item 1 of `strategy.canary.steps` of environment `other`: `0.5` is not a share of the traffic
      --> tidegate.yaml:11:35
       |
    11 |     strategy: { canary: { steps: [0.5, 120%, { bake: 5m }] } }
       |                                   ^^^
       = help: shares are percentages: write `50%`

    error[bad-share]: item 2 of `strategy.canary.steps` of environment `other`: `120%` is not a share of the traffic
      --> tidegate.yaml:11:40
       |
    11 |     strategy: { canary: { steps: [0.5, 120%, { bake: 5m }] } }
       |                                        ^^^^
       = help: shares are percentages from `0%` to `100%`, with at most two decimals: `0.5%`

    error[missing-key]: `share` is missing in item 3 of `strategy.canary.steps` of environment `other`
      --> tidegate.yaml:11:48
       |
    11 |     strategy: { canary: { steps: [0.5, 120%, { bake: 5m }] } }
       |                                                ^^^^
       = help: add it, for example `share: 50%`
    ");
}

#[test]
fn duplicate_keys() {
    let text = r"project: shop
components:
  api:
    command: ./api
    port: auto
    command: ./other
project: again
";
    insta::assert_snapshot!(told(text), @r"
    error[duplicate-key]: the key `command` is here for the second time
     --> tidegate.yaml:6:5
      |
    6 |     command: ./other
      |     ^^^^^^^
      = help: it is first on line 4: remove one of the two

    error[duplicate-key]: the key `project` is here for the second time
     --> tidegate.yaml:7:1
      |
    7 | project: again
      | ^^^^^^^
      = help: it is first on line 1: remove one of the two
    ");
}

#[test]
fn tabs() {
    let text = "project: shop\ncomponents:\n\tapi:\n\t\tcommand: ./api\n";
    insta::assert_snapshot!(told(text), @r"
    error[yaml-tab]: this is not YAML: tabs disallowed within this context (block indentation)
     --> tidegate.yaml:3:2
      |
    3 |  api:
      |  ^
      = help: YAML is indented with spaces: replace the tab by spaces
    ");
}

#[test]
fn a_colon_in_a_text() {
    let text = "project: shop\ncomponents:\n  api:\n    command: echo a: b\n    port: auto\n";
    insta::assert_snapshot!(told(text), @r"
    error[yaml-syntax]: this is not YAML: mapping values are not allowed in this context
     --> tidegate.yaml:4:20
      |
    4 |     command: echo a: b
      |                    ^
      = help: a text that contains `: ` needs quotes; or the line is indented too far
    ");
}

#[test]
fn an_open_quote() {
    let text = "project: shop\ncomponents:\n  api:\n    command: \"./api\n    port: auto\n";
    insta::assert_snapshot!(told(text), @r#"
    error[yaml-syntax]: this is not YAML: invalid indentation in quoted scalar
     --> tidegate.yaml:4:14
      |
    4 |     command: "./api
      |              ^
      = help: close the quotes
    "#);
}

#[test]
fn an_open_bracket() {
    let text = "project: shop\ncomponents:\n  api:\n    command: ./api\n    depends_on: [db\n    port: auto\n";
    insta::assert_snapshot!(told(text), @r"
    error[yaml-syntax]: this is not YAML: illegal placement of ':' indicator
     --> tidegate.yaml:6:9
      |
    6 |     port: auto
      |         ^
      = help: is a `]`, a `}` or a quote missing before it? a text that contains `: ` needs quotes
    ");
}

#[test]
fn a_star() {
    let text = "project: shop\ncomponents:\n  api:\n    command: *start\n";
    insta::assert_snapshot!(told(text), @r"
    error[yaml-syntax]: this is not YAML: while parsing node, found unknown anchor
     --> tidegate.yaml:4:14
      |
    4 |     command: *start
      |              ^
      = help: a text that starts with `*` or `&` needs quotes; an alias needs its anchor before it
    ");
}

#[test]
fn wrong_indentation() {
    let text = "project: shop\ncomponents:\n  api:\n    command: ./api\n   port: auto\n";
    insta::assert_snapshot!(told(text), @r"
    error[yaml-syntax]: this is not YAML: while parsing a block mapping, did not find expected key
     --> tidegate.yaml:5:4
      |
    5 |    port: auto
      |    ^
      = help: check the indentation and the colons of this line and the one before it
    ");
}

#[test]
fn two_documents() {
    let text =
        "project: shop\ncomponents: { api: { command: ./api, port: auto } }\n---\nproject: other\n";
    insta::assert_snapshot!(told(text), @r"
    error[several-documents]: a second document starts here
     --> tidegate.yaml:3:1
      |
    3 | ---
      | ^^^
      = help: a manifest is one YAML document: remove the line `---`
    ");
}

#[test]
fn tags_and_merge_keys() {
    let text = "project: !str shop\nx-common: &common { port: auto }\ncomponents:\n  api:\n    <<: *common\n    command: ./api\n";
    insta::assert_snapshot!(told(text), @r"
    error[yaml-tag]: the YAML tag `!str` has no meaning in a manifest
     --> tidegate.yaml:1:10
      |
    1 | project: !str shop
      |          ^^^^^^^^^
      = help: remove it

    error[unknown-key]: unknown key `<<` in component `api`
     --> tidegate.yaml:5:5
      |
    5 |     <<: *common
      |     ^^
      = help: merge keys are not read: repeat the keys, or use an alias for a whole value
    ");
}
