//! Manifests that are right, and the values that they become.

use tidegate_manifest::{Checked, Manifest, read};

use crate::EVERY_KEY;

/// Reads a manifest that has to be right, without warnings.
fn manifest(text: &str) -> Manifest {
    let Checked { manifest, warnings } =
        read(text, "tidegate.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    assert!(warnings.is_empty(), "{warnings}");
    manifest
}

#[test]
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
                listen: Automatic,
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
