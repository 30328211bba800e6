//! What a plan says.

use std::collections::BTreeMap;

use tidegate_manifest::Workload::Process;
use tidegate_plan::Running;
use tidegate_types::{
    Digest, Duration, Listen, Plan, PlannedRevision, ProcessSpec, ReleaseId, RevisionSpec, Rollout,
    RouteRule, Share, StaticSpec, Step, Sticky, WithoutEvidence, Workload,
};

use crate::shop::{SHOP, Shop, component, manifest, revision};

const CANARY: &str = "{ canary: { steps: [10%, 100%], bake: 1m, keep: 1h } }";
const BLUE_GREEN: &str = "{ blue_green: { canary: 10%, bake: 1m, keep: 1h } }";
const ROLLING: &str = "{ rolling: { max_surge: 1, bake: 1m } }";
const RECREATE: &str = "{ recreate: { bake: 1m } }";
const HOUR: Duration = Duration::from_hours(1);

fn names(plan: &Plan) -> Vec<&str> {
    plan.rollouts.iter().map(|rollout| rollout.component.as_str()).collect()
}

fn unchanged(plan: &Plan) -> Vec<&str> {
    plan.unchanged.iter().map(tidegate_types::ComponentName::as_str).collect()
}

fn candidate(rollout: &Rollout) -> &PlannedRevision {
    rollout.candidate.as_ref().unwrap()
}

/// The texts of the guards.
fn guards(rollout: &Rollout) -> Vec<&str> {
    rollout.guards.iter().map(|guard| guard.text.as_str()).collect()
}

fn scale(instances: u32) -> Step {
    Step::Scale { instances }
}

fn shift(percent: u32) -> Step {
    Step::Shift { share: Share::percent(percent) }
}

fn bake() -> Step {
    Step::Bake { time: Duration::from_mins(1) }
}

#[test]
fn at_first_everything_starts_after_what_it_depends_on() {
    let shop = Shop::new(SHOP);
    let plan = shop.plan();
    assert_eq!(names(&plan), ["db", "worker", "api", "web"]);
    assert!(plan.unchanged.is_empty());
    assert_eq!(plan.deployment.0, 1);
    assert_eq!((&plan.scope, plan.kind), (&shop.scope, shop.kind));
    assert_eq!((plan.release, plan.version.as_str()), (ReleaseId::new("r-1"), "v1"));
    assert_eq!(plan.gateway.listen, Listen::Address("127.0.0.1:8080".parse().unwrap()));
    for rollout in &plan.rollouts {
        let new = candidate(rollout);
        assert_eq!(new.id, revision(&format!("{}@1", rollout.component)));
        assert!(!new.warm);
        assert_eq!((&rollout.stable, rollout.stable_replicas), (&None, 0));
        assert!(!rollout.exclusive, "nobody is there to be alone with");
        assert_eq!(rollout.steps[0], scale(new.spec.replicas));
        assert_eq!(rollout.without_evidence, WithoutEvidence::Proceed);
    }
}

#[test]
fn a_revision_is_what_manifest_release_and_environment_say() {
    let shop = Shop::new(SHOP);
    let Process { health, stop, log, .. } = &shop.manifest.components[2].workload else {
        panic!("the api is a process");
    };
    let plan = shop.plan();
    let rule = |path: &str| RouteRule {
        host: None,
        path: path.to_owned(),
        strip_prefix: false,
        handling: tidegate_types::Handling::default(),
    };
    let values = [("API_KEY", "secret"), ("GREETING", "hello")];
    assert_eq!(
        candidate(&plan.rollouts[2]).spec,
        RevisionSpec {
            component: component("api"),
            release: ReleaseId::new("r-1"),
            version: "v1".to_owned(),
            artifact: Digest::new("sha256-api-1"),
            replicas: 4,
            workload: Workload::Process(ProcessSpec {
                command: "./api".to_owned(),
                fixed_port: None,
                listens: true,
                environment: BTreeMap::from(
                    values.map(|(name, value)| (name.to_owned(), value.to_owned()))
                ),
                health: health.clone(),
                stop: stop.clone(),
                log: log.clone(),
            }),
            route: Some(rule("/api")),
        }
    );
    let web = &candidate(&plan.rollouts[3]).spec;
    assert_eq!(
        web.workload,
        Workload::Static(StaticSpec {
            single_page: true,
            keep_assets: StaticSpec::default_keep_assets(),
        })
    );
    let mut everything = rule("/");
    everything.handling.sticky = Some(Sticky::Cookie);
    assert_eq!((web.replicas, &web.route), (0, &Some(everything)));
    assert_eq!(candidate(&plan.rollouts[1]).spec.replicas, 1, "the component's own number");
}

#[test]
fn what_would_run_the_same_is_left_alone() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    shop.change(2, &[]);
    let plan = shop.plan();
    assert_eq!(names(&plan), [""; 0]);
    assert_eq!(unchanged(&plan), ["db", "worker", "api", "web"]);
}

#[test]
fn another_number_of_instances_is_one_step_of_the_revision_that_serves() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    shop.manifest = manifest(&SHOP.replace("api: 4", "api: 3"));
    let plan = shop.plan();
    assert_eq!(unchanged(&plan), ["db", "worker", "web"]);
    let [rollout] = &plan.rollouts[..] else { panic!("{:?}", plan.rollouts) };
    let serving = revision("api@1");
    assert_eq!((&rollout.stable, rollout.stable_replicas), (&Some(serving.clone()), 4));
    assert_eq!((&candidate(rollout).id, candidate(rollout).warm), (&serving, true));
    assert_eq!(candidate(rollout).spec.replicas, 3);
    assert_eq!(rollout.steps, [scale(3)]);
    assert_eq!(guards(rollout).len(), 3);
    assert_eq!((rollout.exclusive, rollout.keep), (false, Duration::ZERO));
    assert_eq!(rollout.without_evidence, WithoutEvidence::Hold);
}

#[test]
fn what_has_changed_goes_from_what_serves_to_the_new() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    shop.change(2, &["api"]);
    // One of the four is gone at this moment.
    let running = shop.current.get_mut(&component("api")).unwrap();
    running.serving.as_mut().unwrap().2 = 3;
    let plan = shop.plan();
    assert_eq!(unchanged(&plan), ["db", "worker", "web"]);
    let [rollout] = &plan.rollouts[..] else { panic!("{:?}", plan.rollouts) };
    assert_eq!((&rollout.stable, rollout.stable_replicas), (&Some(revision("api@1")), 3));
    assert_eq!((&candidate(rollout).id, candidate(rollout).warm), (&revision("api@2"), false));
    assert_eq!(rollout.steps, [scale(1), shift(10), bake(), scale(4), shift(100), bake()]);
    assert_eq!(
        guards(rollout),
        ["error_rate > 5% for 30s", "restarts >= 3", "health_check_failures >= 3"]
    );
    assert_eq!((rollout.exclusive, rollout.keep), (false, HOUR));
    assert_eq!(rollout.without_evidence, WithoutEvidence::Hold);
}

#[test]
fn a_component_goes_its_own_way_when_it_names_one() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    shop.change(2, &["db", "web"]);
    let plan = shop.plan();
    let [db, web] = &plan.rollouts[..] else { panic!("{:?}", plan.rollouts) };
    assert!(db.exclusive);
    assert_eq!(db.steps[..2], [Step::Shrink { instances: 0 }, scale(1)]);
    assert!(!web.exclusive);
    assert_eq!(web.steps, [scale(0), shift(10), bake(), shift(100), bake()]);
}

#[test]
fn a_worker_has_no_guards_on_requests_and_is_not_kept_warm() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    shop.change(2, &["worker"]);
    let plan = shop.plan();
    let [worker] = &plan.rollouts[..] else { panic!("{:?}", plan.rollouts) };
    assert_eq!(guards(worker), ["restarts >= 3", "health_check_failures >= 3"]);
    assert_eq!(worker.steps, [scale(1), bake()]);
    assert_eq!(worker.keep, Duration::ZERO);
}

#[test]
fn a_warm_revision_is_taken_when_it_runs_what_is_wanted() {
    let mut shop = Shop::with_strategy(BLUE_GREEN);
    let first = shop.release.clone();
    shop.deploy();
    shop.change(2, &["api"]);
    shop.deploy();
    for (number, changed, id, warm) in [(3, true, "api@3", false), (1, false, "api@1", true)] {
        if changed {
            shop.change(number, &["api"]);
        } else {
            shop.release = first.clone();
        }
        let plan = shop.plan();
        let [rollout] = &plan.rollouts[..] else { panic!("{:?}", plan.rollouts) };
        assert_eq!(rollout.stable, Some(revision("api@2")));
        assert_eq!((&candidate(rollout).id, candidate(rollout).warm), (&revision(id), warm));
    }
}

#[test]
fn a_person_who_goes_back_gets_all_of_it_at_once() {
    let at_once = vec![scale(2), shift(100), bake()];
    let alone = [vec![Step::Shrink { instances: 0 }], at_once.clone()].concat();
    for (strategy, steps, exclusive, keep) in [
        (CANARY, &at_once, false, HOUR),
        (BLUE_GREEN, &at_once, false, HOUR),
        (ROLLING, &at_once, false, Duration::ZERO),
        (RECREATE, &alone, true, Duration::ZERO),
    ] {
        let mut shop = Shop::with_strategy(strategy);
        let first = shop.release.clone();
        shop.deploy();
        shop.change(2, &["api"]);
        shop.deploy();
        shop.roll_back_to(&first);
        let plan = shop.plan();
        assert_eq!((plan.kind, plan.version.as_str()), (shop.kind, "v1"));
        let [rollout] = &plan.rollouts[..] else { panic!("{:?}", plan.rollouts) };
        assert_eq!(&rollout.steps, steps, "{strategy}");
        assert_eq!((rollout.exclusive, rollout.keep), (exclusive, keep), "{strategy}");
        assert_eq!(guards(rollout), ["health_check_failures >= 3", "restarts >= 3"]);
    }
}

#[test]
fn what_the_manifest_no_longer_names_goes_last_and_the_last_to_depend_first() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    // Only kept warm: nothing serves that would have to go.
    let warm = shop.current[&component("db")].serving.clone().map(|(id, spec, _)| (id, spec));
    shop.current.insert(component("cache"), Running { serving: None, warm });
    shop.manifest.components.retain(|component| component.name.as_str() == "db");
    shop.change(2, &["db"]);
    let plan = shop.plan();
    assert_eq!(names(&plan), ["db", "worker", "web", "api"]);
    let gone = |name: &str, stable_replicas, steps| Rollout {
        component: component(name),
        stable: Some(revision(&format!("{name}@1"))),
        stable_replicas,
        candidate: None,
        exclusive: false,
        steps,
        guards: Vec::new(),
        without_evidence: WithoutEvidence::Hold,
        keep: Duration::ZERO,
    };
    assert_eq!(
        plan.rollouts[1..],
        [
            gone("worker", 1, vec![]),
            gone("web", 0, vec![shift(100)]),
            gone("api", 4, vec![shift(100)])
        ]
    );
}

#[test]
fn a_circle_that_the_manifest_would_refuse_has_each_component_once() {
    let mut shop = Shop::new(SHOP);
    let db = shop.manifest.components.iter_mut().find(|found| found.name.as_str() == "db").unwrap();
    db.depends_on = vec![component("web"), component("nobody")];
    let plan = shop.plan();
    let mut found = names(&plan);
    found.sort_unstable();
    assert_eq!(found, ["api", "db", "web", "worker"]);
}
