//! States, inputs and sights made up from bytes: few names, so that they meet.

use std::collections::BTreeMap;

use tidegate_core::{
    Command, Component, Deployment, Ended, Environment, Failure, FailureCode, Input, Outcome,
    Pause, Place, Position, Progress, Seen, Stage, Verified, Warm,
};
use tidegate_types::{
    ComponentName, Condition, DeploymentId, DeploymentKind, Digest, Duration, Epoch, Generation,
    Guard, GuardReading, HealthCheck, InstanceFailure, InstanceId, Listen, LogLimits, Maintenance,
    Observation, Plan, PlannedRevision, Probe, ProcessSpec, Quantile, ReleaseId, RevisionFacts,
    RevisionId, RevisionSpec, Rollout, RouteFacts, RouteRefusal, RouteRule, Scope, Share, Signal,
    StaticSpec, Step, StopPolicy, Timestamp, Verdict, WantedRevision, WithoutEvidence, Workload,
};

use crate::choices::Choices;

const COMPONENTS: [&str; 3] = ["a", "b", "c"];
const REVISIONS: [&str; 6] = ["a@1", "a@2", "b@1", "b@2", "c@18446744073709551615", "nobody"];

fn component(choices: &mut Choices<'_>) -> ComponentName {
    choices.among(&COMPONENTS).parse().expect("it is a name")
}

fn revision(choices: &mut Choices<'_>) -> RevisionId {
    RevisionId::new(choices.among(&REVISIONS))
}

fn release(choices: &mut Choices<'_>) -> ReleaseId {
    ReleaseId::new(choices.among(&["r-1", "r-2", ""]))
}

fn text(choices: &mut Choices<'_>) -> String {
    choices.among(&["v1", "", "é\n\"", "v2"]).to_owned()
}

fn deployment_id(choices: &mut Choices<'_>) -> DeploymentId {
    DeploymentId(choices.among(&[1, 2, u64::MAX]))
}

pub(super) fn timestamp(choices: &mut Choices<'_>) -> Timestamp {
    Timestamp::from_millis(match choices.byte() {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => -1,
        later => i64::from(later) * 10_000,
    })
}

fn duration(choices: &mut Choices<'_>) -> Duration {
    Duration::from_millis(choices.number())
}

fn index(choices: &mut Choices<'_>) -> usize {
    match choices.byte() {
        255 => usize::MAX,
        254 => usize::MAX - 1,
        small => usize::from(small % 5),
    }
}

fn share(choices: &mut Choices<'_>) -> Share {
    Share::of(u32::from(choices.byte()), u32::from(choices.byte()))
}

fn listen(choices: &mut Choices<'_>) -> Listen {
    if choices.yes() {
        Listen::Address(([127, 0, 0, 1], u16::from(choices.byte())).into())
    } else {
        Listen::Automatic
    }
}

fn kind(choices: &mut Choices<'_>) -> DeploymentKind {
    choices.among(&[DeploymentKind::Deploy, DeploymentKind::Rollback])
}

fn probe(choices: &mut Choices<'_>) -> Probe {
    match choices.below(4) {
        0 => Probe::Tcp,
        1 => Probe::Http { path: "/".to_owned() },
        2 => Probe::Command { run: "true".to_owned() },
        _ => Probe::Running { minimum: duration(choices) },
    }
}

fn workload(choices: &mut Choices<'_>) -> Workload {
    if choices.yes() {
        return Workload::Static(StaticSpec {
            single_page: choices.yes(),
            keep_assets: StaticSpec::default_keep_assets(),
        });
    }
    Workload::Process(ProcessSpec {
        command: text(choices),
        fixed_port: choices.maybe(|choices| u16::from(choices.byte())),
        listens: choices.yes(),
        environment: BTreeMap::new(),
        health: HealthCheck {
            live: probe(choices),
            ready: choices.maybe(probe),
            interval: duration(choices),
            timeout: duration(choices),
            retries: choices.count(),
            start_period: duration(choices),
            deadline: duration(choices),
        },
        stop: StopPolicy {
            drain: duration(choices),
            signal: choices.among(&Signal::ALL),
            timeout: duration(choices),
        },
        log: LogLimits { file_bytes: choices.number(), files: choices.count() },
    })
}

fn spec(choices: &mut Choices<'_>) -> RevisionSpec {
    RevisionSpec {
        component: component(choices),
        release: release(choices),
        version: text(choices),
        artifact: Digest::new("sha256:1"),
        replicas: choices.count(),
        workload: workload(choices),
        route: choices.maybe(|choices| RouteRule {
            host: choices.maybe(text),
            path: choices.among(&["/", "/a", ""]).to_owned(),
            strip_prefix: choices.yes(),
            handling: tidegate_types::Handling::default(),
        }),
    }
}

fn guard(choices: &mut Choices<'_>) -> Guard {
    let condition = match choices.below(4) {
        0 => Condition::Restarts { at_least: choices.count() },
        1 => Condition::HealthCheckFailures { at_least: choices.count() },
        2 => Condition::ErrorRate {
            above: f64::from(choices.byte()) / f64::from(choices.byte().max(1)),
            window: duration(choices),
            min_requests: choices.number(),
        },
        _ => Condition::Latency {
            quantile: choices.among(&[Quantile::P50, Quantile::P95, Quantile::P99]),
            above: duration(choices),
            window: duration(choices),
            min_requests: choices.number(),
        },
    };
    Guard { text: text(choices), condition }
}

fn step(choices: &mut Choices<'_>) -> Step {
    match choices.below(4) {
        0 => Step::Scale { instances: choices.count() },
        1 => Step::Shift { share: share(choices) },
        2 => Step::Bake { time: duration(choices) },
        _ => Step::Shrink { instances: choices.count() },
    }
}

fn rollout(choices: &mut Choices<'_>) -> Rollout {
    Rollout {
        component: component(choices),
        stable: choices.maybe(revision),
        stable_replicas: choices.count(),
        candidate: choices.maybe(|choices| PlannedRevision {
            id: revision(choices),
            spec: spec(choices),
            warm: choices.yes(),
        }),
        exclusive: choices.yes(),
        steps: choices.list(4, step),
        guards: choices.list(2, guard),
        without_evidence: choices.among(&[
            WithoutEvidence::Hold,
            WithoutEvidence::Proceed,
            WithoutEvidence::RollBack,
        ]),
        keep: duration(choices),
    }
}

fn scope() -> Scope {
    "shop/production".parse().expect("it is a scope")
}

fn plan(choices: &mut Choices<'_>) -> Plan {
    Plan {
        deployment: deployment_id(choices),
        scope: scope(),
        kind: kind(choices),
        release: release(choices),
        version: text(choices),
        gateway: listen(choices).into(),
        rollouts: choices.list(3, rollout),
        unchanged: choices.list(1, component),
    }
}

fn failure(choices: &mut Choices<'_>) -> Failure {
    Failure {
        component: choices.maybe(component),
        evidence: choices.maybe(text),
        instance: choices.maybe(|choices| InstanceId::new(text(choices))),
        log: choices.list(2, text),
        mend: choices.maybe(text),
        ..Failure::new(
            choices.among(&[FailureCode::Start, FailureCode::Guard, FailureCode::Aborted]),
            text(choices),
        )
    }
}

fn stage(choices: &mut Choices<'_>) -> Stage {
    match choices.below(3) {
        0 => Stage::Preparing,
        1 => Stage::Rolling(Position {
            rollout: index(choices),
            step: index(choices),
            since: timestamp(choices),
            entered: choices.yes(),
            held: choices.yes(),
        }),
        _ => Stage::GoingBack {
            failure: failure(choices),
            since: timestamp(choices),
            rollout: choices.maybe(index),
            rollout_since: timestamp(choices),
            degraded: choices.yes(),
        },
    }
}

fn deployment(choices: &mut Choices<'_>) -> Deployment {
    Deployment {
        id: deployment_id(choices),
        kind: kind(choices),
        actor: text(choices),
        requested_at: timestamp(choices),
        plan: choices.maybe(plan),
        stage: stage(choices),
        pause: choices.maybe(|choices| Pause { actor: text(choices), since: timestamp(choices) }),
        progress: choices.list(3, |choices| Progress {
            first_traffic_at: choices.maybe(timestamp),
            exits_before: choices.count(),
            shrunk: choices.yes(),
        }),
        gateway_before: listen(choices).into(),
        touched: choices.yes(),
    }
}

fn outcome(choices: &mut Choices<'_>) -> Outcome {
    choices.among(&[Outcome::Succeeded, Outcome::Failed, Outcome::RolledBack, Outcome::Degraded])
}

/// A state that could be stored, whether or not anything leads to it.
pub(super) fn environment(choices: &mut Choices<'_>) -> Environment {
    Environment {
        epoch: Epoch(choices.number()),
        generation: Generation(choices.number()),
        gateway: listen(choices).into(),
        components: choices.list(3, |choices| {
            let component_of = Component {
                serving: choices.maybe(revision),
                shares: choices.list(3, |choices| (revision(choices), share(choices))),
                warm: choices.maybe(|choices| Warm {
                    revision: revision(choices),
                    until: timestamp(choices),
                }),
            };
            (component(choices), component_of)
        }),
        revisions: choices.list(4, |choices| {
            let id = revision(choices);
            let replicas = choices.count();
            (id.clone(), WantedRevision { id, spec: spec(choices), replicas })
        }),
        release: choices.maybe(release),
        deployment: choices.maybe(deployment),
        verified: choices.list(2, |choices| Verified {
            release: release(choices),
            version: text(choices),
            at: timestamp(choices),
        }),
        latest: choices.maybe(|choices| Ended {
            deployment: deployment_id(choices),
            kind: kind(choices),
            release: choices.maybe(release),
            version: choices.maybe(text),
            outcome: outcome(choices),
            failure: choices.maybe(failure),
            at: timestamp(choices),
        }),
        ..Environment::new(scope())
    }
}

/// Whatever can come in.
pub(super) fn input(choices: &mut Choices<'_>) -> Input {
    match choices.below(9) {
        0..=2 => Input::Look,
        3 => Input::Request {
            deployment: deployment_id(choices),
            kind: kind(choices),
            actor: text(choices),
        },
        4 | 5 => Input::Prepared(plan(choices)),
        7 => Input::Maintain {
            maintenance: choices.maybe(|choices| Maintenance { message: choices.maybe(text) }),
            actor: text(choices),
        },
        6 => Input::NotPrepared { deployment: deployment_id(choices), failure: failure(choices) },
        _ => Input::Command {
            command: choices.among(&[
                Command::Pause,
                Command::Resume,
                Command::Skip,
                Command::Abort,
            ]),
            deployment: choices.maybe(deployment_id),
            place: choices.maybe(|choices| Place { rollout: index(choices), step: index(choices) }),
            actor: text(choices),
        },
    }
}

/// Whatever can be seen, and what cannot.
pub(super) fn seen(choices: &mut Choices<'_>) -> Seen {
    let facts = |choices: &mut Choices<'_>| RevisionFacts {
        ready: choices.count(),
        running: choices.count(),
        draining: choices.count(),
        exits: choices.count(),
        failed_checks: choices.count(),
        failure: choices.maybe(|choices| InstanceFailure {
            instance: InstanceId::new(text(choices)),
            at: timestamp(choices),
            what: text(choices),
            fatal: choices.yes(),
            log: choices.list(1, text),
        }),
        instances: Vec::new(),
    };
    let reading = |choices: &mut Choices<'_>| GuardReading {
        guard: text(choices),
        verdict: choices.among(&[Verdict::Pass, Verdict::Fail, Verdict::InsufficientEvidence]),
        evidence: text(choices),
    };
    Seen {
        observation: Observation {
            generation: choices.maybe(|choices| Generation(choices.number())),
            revisions: choices.list(4, |choices| (revision(choices), facts(choices))),
            routes: RouteFacts {
                epoch: choices.maybe(|choices| Epoch(choices.number())),
                address: None,
                refused: choices.maybe(|choices| RouteRefusal {
                    epoch: Epoch(choices.number()),
                    reason: text(choices),
                }),
            },
        },
        readings: choices.list(3, |choices| choices.list(2, reading)),
        fresh: choices.yes(),
    }
}
