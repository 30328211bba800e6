//! Manifests that are right, and the values that they become.

use tidegate_manifest::{Checked, Manifest, Strategy, VariableFault, Workload, read, resolve};
use tidegate_types::{Concurrency, Duration, Handling, Listen, Probe, Share, Sticky};

use crate::EVERY_KEY;

/// Reads a manifest that has to be right, without warnings.
fn manifest(text: &str) -> Manifest {
    let Checked { manifest, warnings } =
        read(text, "tidegate.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    assert!(warnings.is_empty(), "{warnings}");
    manifest
}

/// What is warned of in a manifest that can be used.
fn warned(text: &str) -> String {
    let checked = read(text, "tidegate.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    checked.warnings.render(false)
}

/// The routes of components, as `name=path`.
fn routes(components: &str) -> String {
    let manifest = manifest(&format!("project: shop\ncomponents:\n{components}"));
    let routes: Vec<String> = manifest
        .components
        .iter()
        .map(|component| {
            let path = component.route.as_ref().map_or("none", |route| &route.path);
            format!("{}={path}", component.name)
        })
        .collect();
    routes.join(" ")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a whole manifest with all its fields")]
fn the_smallest_manifest_takes_all_requests() {
    let manifest = manifest("project: shop\ncomponents: { api: { command: ./api, port: auto } }\n");
    insta::assert_debug_snapshot!(manifest, @r#"
    Manifest {
        project: ProjectName(
            "shop",
        ),
        components: [
            Component {
                name: ComponentName(
                    "api",
                ),
                path: ".",
                build: None,
                workload: Process {
                    command: "./api",
                    fixed_port: None,
                    listens: true,
                    health: HealthCheck {
                        live: Tcp,
                        ready: None,
                        interval: Duration(
                            2000,
                        ),
                        timeout: Duration(
                            1000,
                        ),
                        retries: 3,
                        start_period: Duration(
                            0,
                        ),
                        deadline: Duration(
                            60000,
                        ),
                    },
                    stop: StopPolicy {
                        drain: Duration(
                            30000,
                        ),
                        signal: Sigterm,
                        timeout: Duration(
                            10000,
                        ),
                    },
                    log: LogLimits {
                        file_bytes: 8388608,
                        files: 3,
                    },
                },
                replicas: 1,
                depends_on: [],
                route: Some(
                    RouteRule {
                        host: None,
                        path: "/",
                        strip_prefix: false,
                        handling: Handling {
                            sticky: None,
                            mirror: Share(
                                0,
                            ),
                            concurrency: None,
                            slow_start: None,
                            protocol: Http1,
                        },
                    },
                ),
                environment: {},
                strategy: None,
            },
        ],
        environments: [
            Environment {
                name: EnvironmentName(
                    "local",
                ),
                gateway: Gateway {
                    listen: Automatic,
                    tls: None,
                    concurrency: None,
                    metrics: None,
                    access_log: None,
                    trusted_proxies: [],
                    proxy_protocol: false,
                    limits: None,
                    maintenance: None,
                },
                strategy: BlueGreen {
                    canary: None,
                    bake: Duration(
                        10000,
                    ),
                    keep: Duration(
                        900000,
                    ),
                },
                rollback: Rollback {
                    when: [
                        Guard {
                            text: "health_check_failures >= 3",
                            condition: HealthCheckFailures {
                                at_least: 3,
                            },
                        },
                        Guard {
                            text: "restarts >= 3",
                            condition: Restarts {
                                at_least: 3,
                            },
                        },
                    ],
                    without_evidence: Hold,
                },
                values: {},
                replicas: {},
            },
        ],
    }
    "#);
}

#[test]
fn every_key_is_read() {
    insta::assert_debug_snapshot!(manifest(EVERY_KEY));
}

#[test]
fn byte_order_mark_line_ends_and_aliases_change_nothing() {
    let plain = manifest(EVERY_KEY);
    assert_eq!(manifest(&format!("\u{feff}{EVERY_KEY}")), plain);
    assert_eq!(manifest(&EVERY_KEY.replace('\n', "\r\n")), plain);
    assert_eq!(manifest(&format!("---\n{EVERY_KEY}...\n")), plain);
    let with_alias = EVERY_KEY
        .replacen("x-owner: the shop's team", "x-drain: &drain 5s", 1)
        .replacen("drain: 5s", "drain: *drain", 1);
    assert!(with_alias.contains("*drain"));
    assert_eq!(manifest(&with_alias), plain);
}

#[test]
fn places_are_right_behind_a_byte_order_mark_and_wide_characters() {
    let text = "\u{feff}x-é: 日本\r\nproject: shop\r\ncomponents: { é: 1, api: { comand: a } }\r\n";
    let problems = read(text, "tidegate.yaml").unwrap_err();
    for problem in &problems {
        let place = &text[problem.span.start..problem.span.end];
        assert!(["é", "1", "comand"].contains(&place), "{place}");
    }
    assert_eq!(problems.len(), 3, "{problems}");
    insta::assert_snapshot!(problems.iter().last().unwrap().render(false), @r"
    error[unknown-key]: unknown key `comand` in component `api`
     --> tidegate.yaml:3:28
      |
    3 | components: { é: 1, api: { comand: a } }
      |                            ^^^^^^
      = help: did you mean `command`?
    ");
}

#[test]
fn visitors_stay_where_a_release_is_more_than_one_request() {
    let cookie = Some(Sticky::Cookie);
    let header = Some(Sticky::Header("x-user-id".into()));
    for (component, sticky, mirror) in [
        ("{ command: a, route: / }", None, Share::NONE),
        (
            "{ command: a, route: { sticky: cookie, mirror: 0.5% } }",
            cookie.clone(),
            "0.5%".parse().unwrap(),
        ),
        ("{ command: a, route: { sticky: { header: X-User-Id } } }", header, Share::NONE),
        ("{ static: true }", cookie.clone(), Share::NONE),
        ("{ static: true, route: /docs }", cookie, Share::NONE),
        ("{ static: true, route: { sticky: none } }", None, Share::NONE),
    ] {
        let manifest = manifest(&format!("project: shop\ncomponents: {{ web: {component} }}\n"));
        let route = manifest.components[0].route.as_ref().unwrap();
        let wanted = Handling { sticky, mirror, ..Handling::default() };
        assert_eq!(route.handling, wanted, "{component}");
    }
}

#[test]
fn how_much_is_taken_at_once_is_said_short_or_long() {
    let seconds = Duration::from_secs;
    let of = |limit, queue, wait| Some(Concurrency { limit, queue, wait });
    for (written, expected) in [
        ("", None),
        ("concurrency: 50", of(50, 100, seconds(5))),
        ("concurrency: { limit: 50, queue: 0 }", of(50, 0, seconds(5))),
        ("concurrency: { limit: 1, queue: 7, wait: 2s }", of(1, 7, seconds(2))),
    ] {
        let manifest = manifest(&format!(
            "project: shop\ncomponents: {{ web: {{ command: a, route: {{ {written} }} }} }}\n\
             environments: {{ production: {{ gateway: {{ {written} }} }} }}\n"
        ));
        let route = manifest.components[0].route.as_ref().unwrap();
        assert_eq!(route.handling.concurrency, expected, "{written}");
        assert_eq!(manifest.environments[0].gateway.concurrency, expected, "{written}");
    }
}

#[test]
fn a_route_is_only_made_up_when_nothing_else_can_be_meant() {
    for (components, expected) in [
        ("  api: { command: a, port: auto }\n", "api=/"),
        ("  api: { command: a, port: 80 }\n", "api=/"),
        ("  api: { command: a }\n", "api=none"),
        ("  api: { command: a, port: auto, route: none }\n", "api=none"),
        (
            "  api: { command: a, port: auto }\n  db: { command: a, port: 5432 }\n",
            "api=none db=none",
        ),
        (
            "  api: { command: a, route: /api }\n  db: { command: a, port: 5432 }\n",
            "api=/api db=none",
        ),
        ("  web: { static: true }\n", "web=/"),
        ("  web: { static: true }\n  api: { command: a, port: auto }\n", "web=/ api=none"),
        ("  web: { static: true }\n  api: { command: a, route: /api }\n", "web=/ api=/api"),
        ("  api: { command: a, route: {} }\n", "api=/"),
    ] {
        assert_eq!(routes(components), expected, "{components}");
    }
}

#[test]
fn ports_and_health_follow_from_the_rest() {
    for (component, listens, live) in [
        ("{ command: a, route: / }", true, Probe::Tcp),
        ("{ command: a, port: auto }", true, Probe::Tcp),
        ("{ command: a, health: /health }", true, Probe::Http { path: "/health".to_owned() }),
        ("{ command: a, health: { tcp: true } }", true, Probe::Tcp),
        ("{ command: a, health: { ready: /ready } }", true, Probe::Tcp),
        ("{ command: a }", false, Probe::Running { minimum: Duration::from_secs(1) }),
        ("{ command: a, port: none }", false, Probe::Running { minimum: Duration::from_secs(1) }),
        (
            "{ command: a, health: { running: 5s } }",
            false,
            Probe::Running { minimum: Duration::from_secs(5) },
        ),
        (
            "{ command: a, health: { command: ./check } }",
            false,
            Probe::Command { run: "./check".to_owned() },
        ),
    ] {
        let manifest = manifest(&format!("project: shop\ncomponents: {{ api: {component} }}\n"));
        let Workload::Process { listens: found, health, .. } = &manifest.components[0].workload
        else {
            panic!("{component} is a process");
        };
        assert_eq!((*found, &health.live), (listens, &live), "{component}");
    }
}

#[test]
fn strategies_have_defaults() {
    let strategy = |text: &str| {
        let text = format!(
            "project: shop\ncomponents: {{ api: {{ command: a }} }}\nenvironments: {{ local: {text} }}\n"
        );
        manifest(&text).environments[0].strategy.clone()
    };
    let blue_green = strategy("{}");
    assert_eq!(
        blue_green,
        Strategy::BlueGreen {
            canary: None,
            bake: Duration::from_secs(10),
            keep: Duration::from_mins(15),
        }
    );
    assert_eq!(strategy(""), blue_green);
    assert_eq!(strategy("{ strategy: blue_green }"), blue_green);
    assert_eq!(strategy("{ strategy: { blue_green: {} } }"), blue_green);
    assert_eq!(
        strategy("{ strategy: rolling }"),
        Strategy::Rolling { max_surge: 1, max_unavailable: 0, bake: Duration::from_secs(10) }
    );
    assert_eq!(
        strategy("{ strategy: recreate }"),
        Strategy::Recreate { bake: Duration::from_secs(10) }
    );
    assert_eq!(
        strategy("{ strategy: canary }"),
        strategy("{ strategy: { canary: { steps: [10%, 50%, 100%], bake: 10s, keep: 15m } } }"),
    );
    assert_eq!(
        strategy("{ strategy: { blue_green: { canary: 10%, bake: 5m } } }"),
        strategy("{ strategy: { blue_green: { canary: { share: 10%, bake: 5m }, bake: 5m } } }"),
    );
}

#[test]
fn a_port_alone_is_on_this_machine() {
    let text = "project: shop\ncomponents: { api: { command: a } }\nenvironments: { local: { listen: 80 } }\n";
    assert_eq!(
        manifest(text).environments[0].gateway.listen,
        Listen::Address("127.0.0.1:80".parse().unwrap())
    );
}

#[test]
fn guards_of_ones_own_keep_those_of_the_default_on_other_metrics() {
    let guards = |when: &str| {
        let text = format!(
            "project: shop\ncomponents: {{ api: {{ command: a, route: / }} }}\n\
             environments: {{ local: {{ rollback: {{ when: {when} }} }} }}\n"
        );
        let environment = manifest(&text).environments.remove(0);
        let texts: Vec<String> =
            environment.rollback.when.into_iter().map(|guard| guard.text).collect();
        texts.join(", ")
    };
    assert_eq!(guards("[]"), "health_check_failures >= 3, restarts >= 3");
    assert_eq!(guards("[restarts >= 5]"), "restarts >= 5, health_check_failures >= 3");
    assert_eq!(
        guards("[error_rate>5% for 5s]").as_str(),
        "error_rate>5% for 5s, health_check_failures >= 3, restarts >= 3"
    );
}

#[test]
fn an_environment_gives_values_and_defaults_fill_the_rest() {
    let manifest = manifest(EVERY_KEY);
    let api = &manifest.components[1];
    let values: Vec<String> = manifest
        .environments
        .iter()
        .map(|environment| format!("{:?}", resolve(api, environment).unwrap()))
        .collect();
    insta::assert_snapshot!(values.join("\n"), @r#"
    {"API_KEY": "for-staging", "GREETING": "hello", "LOG_LEVEL": "info"}
    {"API_KEY": "for-production", "GREETING": "hello", "LOG_LEVEL": "warn"}
    "#);
}

#[test]
fn a_value_that_is_missing_or_wrong_is_not_passed_on() {
    let manifest = manifest(EVERY_KEY);
    let api = &manifest.components[1];
    let mut environment = manifest.environments[0].clone();
    environment.values.clear();
    environment.values.insert("LOG_LEVEL".to_owned(), "loud".to_owned());
    let faults = resolve(api, &environment).unwrap_err();
    assert_eq!(faults.len(), 2);
    assert_eq!(faults[0], VariableFault::Missing { name: "API_KEY".to_owned() });
    assert_eq!(
        faults[1].to_string(),
        "`LOG_LEVEL` is `debug`, `info` or `warn`, and `loud` is not"
    );
}

#[test]
fn values_of_variables_are_taken_as_written() {
    let text = "project: shop\ncomponents: { api: { command: a, env: { A: 1.50, B: True, C: \"\", D: 0x10 } } }\n";
    let manifest = manifest(text);
    let values = resolve(&manifest.components[0], &manifest.environments[0]).unwrap();
    assert_eq!(format!("{values:?}"), r#"{"A": "1.50", "B": "True", "C": "", "D": "0x10"}"#);
}

#[test]
fn types_of_variables_take_their_values() {
    for (kind, good, bad) in [
        ("integer", vec!["0", "-5", "99"], vec!["1.5", "", "x"]),
        ("number", vec!["0", "-1.5", "1e3"], vec!["inf", "NaN", "x", ""]),
        ("boolean", vec!["true", "false"], vec!["yes", "True", "1", ""]),
        (
            "url",
            vec!["https://a.b/c?d", "postgres://u:p@h:1/db"],
            vec!["a.b", "https://", "http://a b"],
        ),
        ("port", vec!["1", "65535"], vec!["0", "65536", "x"]),
        ("duration", vec!["30s", "1h30m", "0s"], vec!["30", "s"]),
        ("\"enum(a, b c)\"", vec!["a", "b c"], vec!["b", ""]),
        ("text", vec!["", "anything"], vec![]),
    ] {
        let text = format!(
            "project: shop\ncomponents: {{ api: {{ command: a, env: {{ V: {{ type: {kind} }} }} }} }}\n"
        );
        let variable = manifest(&text).components[0].environment["V"].clone();
        for value in good {
            assert!(variable.kind.takes(value), "{kind} takes {value}");
        }
        for value in bad {
            assert!(!variable.kind.takes(value), "{kind} does not take {value}");
        }
    }
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    insta::assert_snapshot!(warned("\
project: shop
components: { api: { command: ./api, route: / } }
environments:
  one: { strategy: { rolling: { max_surge: 0, max_unavailable: 1 } } }
  two: { strategy: { blue_green: { keep: 0s } } }
  three: { rollback: { when: [restarts >= 2, restarts >= 2] } }
"), @r"
    warning[rolling-gap]: every instance of `api` may be stopped at once: nobody answers in between
     --> tidegate.yaml:4:20
      |
    4 |   one: { strategy: { rolling: { max_surge: 0, max_unavailable: 1 } } }
      |                    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write `max_surge: 1`, or give the component more `replicas`

    warning[cold-rollback]: with `keep: 0s` the old is stopped at once, and going back has to start it again
     --> tidegate.yaml:5:42
      |
    5 |   two: { strategy: { blue_green: { keep: 0s } } }
      |                                          ^^
      = help: write for example `keep: 15m`, and going back takes one switch

    warning[duplicate-guard]: the guard `restarts >= 2` is here for the second time
     --> tidegate.yaml:6:46
      |
    6 |   three: { rollback: { when: [restarts >= 2, restarts >= 2] } }
      |                                              ^^^^^^^^^^^^^
      = help: remove one of the two
    ");
}

#[test]
fn problems_are_given_as_json() {
    let problems =
        read("project: shop\ncomponents: { api: { comand: a } }\n", "tidegate.yaml").unwrap_err();
    insta::assert_snapshot!(serde_json::to_string_pretty(&problems).unwrap(), @r#"
    [
      {
        "severity": "error",
        "code": "unknown-key",
        "file": "tidegate.yaml",
        "line": 2,
        "column": 22,
        "span": {
          "start": 35,
          "end": 41
        },
        "source": "components: { api: { comand: a } }",
        "message": "unknown key `comand` in component `api`",
        "help": "did you mean `command`?"
      }
    ]
    "#);
    assert_eq!(problems.summary(), "1 error");
}
