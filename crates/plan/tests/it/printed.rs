//! What `tidegate plan` shows.

use tidegate_plan::print;
use tidegate_types::WithoutEvidence;

use crate::shop::{SHOP, Shop, manifest};

fn shown(shop: &Shop) -> String {
    print(&shop.plan())
}

/// What is shown under `strategy`, first of a new release and then of one that a person goes back
/// to.
fn both_ways(strategy: &str) -> String {
    let mut shop = Shop::with_strategy(strategy);
    let first = shop.release.clone();
    shop.deploy();
    shop.change(2, &["api"]);
    let forward = shown(&shop);
    shop.deploy();
    shop.roll_back_to(&first);
    forward + &shown(&shop)
}

#[test]
fn the_first_deployment() {
    insta::assert_snapshot!(shown(&Shop::new(SHOP)), @r"
    shop/production: deploy v1 (r-1)
      1. db: nothing -> db@1 (v1)
           bring it to 1 instance, all ready
           watch for 30s
           goes back when: restarts >= 3 | health_check_failures >= 3
           goes back: there is nothing to go back to
      2. worker: nothing -> worker@1 (v1)
           bring it to 1 instance, all ready
           watch for 1m
           goes back when: restarts >= 3 | health_check_failures >= 3
           goes back: there is nothing to go back to
      3. api: nothing -> api@1 (v1)
           bring it to 4 instances, all ready
           give it 100% of the traffic
           watch for 1m
           goes back when: error_rate > 5% for 30s | restarts >= 3 | health_check_failures >= 3
           without enough evidence: goes on and says so
           goes back: there is nothing to go back to
      4. web: nothing -> web@1 (v1)
           put the files in place
           give it 100% of the traffic
           watch for 1m
           goes back when: error_rate > 5% for 30s | restarts >= 3 | health_check_failures >= 3
           without enough evidence: goes on and says so
           goes back: there is nothing to go back to
    ");
}

#[test]
fn a_canary_and_the_way_back() {
    let strategy = "{ canary: { steps: [10%, 100%], bake: 1m, keep: 1h } }";
    insta::assert_snapshot!(both_ways(strategy), @r"
    shop/production: deploy v2 (r-2)
      1. api: api@1 -> api@2 (v2)
           bring it to 1 instance, all ready
           give it 10% of the traffic
           watch for 1m
           bring it to 2 instances, all ready
           give it 100% of the traffic
           watch for 1m
           goes back when: health_check_failures >= 3 | restarts >= 3
           goes back: to api@1 by one write of the route table
           afterwards: the old revision stays warm for 1h
    shop/production: roll back to v1 (r-1)
      1. api: api@2 -> api@1 (v1, still warm)
           bring it to 2 instances, all ready
           give it 100% of the traffic
           watch for 1m
           goes back when: health_check_failures >= 3 | restarts >= 3
           goes back: to api@2 by one write of the route table
           afterwards: the old revision stays warm for 1h
    ");
}

#[test]
fn rolling_and_the_way_back() {
    insta::assert_snapshot!(both_ways("{ rolling: { max_surge: 1, bake: 0s } }"), @r"
    shop/production: deploy v2 (r-2)
      1. api: api@1 -> api@2 (v2)
           bring it to 1 instance, all ready
           give it 50% of the traffic
           drain and stop old instances, down to 1
           bring it to 2 instances, all ready
           give it 100% of the traffic
           drain and stop the old one
           goes back when: health_check_failures >= 3 | restarts >= 3
           goes back: by starting instances of api@1 again, then one write of the route table
    shop/production: roll back to v1 (r-1)
      1. api: api@2 -> api@3 (v1)
           bring it to 2 instances, all ready
           give it 100% of the traffic
           goes back when: health_check_failures >= 3 | restarts >= 3
           goes back: to api@2 by one write of the route table
    ");
}

#[test]
fn recreate_and_the_way_back() {
    insta::assert_snapshot!(both_ways("{ recreate: { bake: 1m } }"), @r"
    shop/production: deploy v2 (r-2)
      1. api: api@1 -> api@2 (v2)
           drain and stop the old one
           bring it to 2 instances, all ready
           give it 100% of the traffic
           watch for 1m
           goes back when: health_check_failures >= 3 | restarts >= 3
           goes back: by stopping the new one and starting api@1 again
    shop/production: roll back to v1 (r-1)
      1. api: api@2 -> api@3 (v1)
           drain and stop the old one
           bring it to 2 instances, all ready
           give it 100% of the traffic
           watch for 1m
           goes back when: health_check_failures >= 3 | restarts >= 3
           goes back: by stopping the new one and starting api@2 again
    ");
}

#[test]
fn a_worker_a_site_and_what_stays() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    shop.change(2, &["web", "worker"]);
    insta::assert_snapshot!(shown(&shop), @r"
    shop/production: deploy v2 (r-2)
      1. worker: worker@1 -> worker@2 (v2)
           bring it to 1 instance, all ready
           watch for 1m
           goes back when: restarts >= 3 | health_check_failures >= 3
           goes back: worker@1 keeps running until the end, and simply stays
      2. web: web@1 -> web@2 (v2)
           put the files in place
           give it 10% of the traffic
           watch for 1m
           give it 100% of the traffic
           watch for 1m
           goes back when: error_rate > 5% for 30s | restarts >= 3 | health_check_failures >= 3
           without enough evidence: waits for more requests
           goes back: to web@1 by one write of the route table
           afterwards: the old revision stays warm for 1h
      unchanged: db, api
    ");
}

#[test]
fn what_is_scaled_and_what_is_removed() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    shop.manifest = manifest(&SHOP.replace("api: 4", "api: 1"));
    shop.manifest.components.retain(|found| !["web", "worker"].contains(&found.name.as_str()));
    insta::assert_snapshot!(shown(&shop), @r"
    shop/production: deploy v1 (r-1)
      1. api: api@1 -> api@1 (v1)
           bring it to 1 instance, all ready
           goes back when: error_rate > 5% for 30s | restarts >= 3 | health_check_failures >= 3
           without enough evidence: waits for more requests
           goes back: by bringing it to 4 instances again
      2. worker: worker@1 -> removed
           stop it when the deployment has succeeded
           goes back: worker@1 keeps running until the end, and simply stays
      3. web: web@1 -> removed
           take its traffic away
           stop it when the deployment has succeeded
           goes back: to web@1 by one write of the route table
      unchanged: db
    ");
}

#[test]
fn nothing() {
    let mut shop = Shop::with_strategy("{ recreate: { bake: 1m } }");
    shop.deploy();
    insta::assert_snapshot!(shown(&shop), @r"
    shop/production: deploy v1 (r-1)
      nothing changes
      unchanged: api
    ");
}

#[test]
fn what_happens_without_evidence_is_said_where_evidence_is_asked_for() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    shop.change(2, &["api", "db"]);
    let mut plan = shop.plan();
    for (policy, words) in [
        (WithoutEvidence::Hold, "waits for more requests"),
        (WithoutEvidence::Proceed, "goes on and says so"),
        (WithoutEvidence::RollBack, "goes back"),
    ] {
        for rollout in &mut plan.rollouts {
            rollout.without_evidence = policy;
        }
        let text = print(&plan);
        let said: Vec<&str> = text.lines().filter(|line| line.contains("evidence")).collect();
        assert_eq!(said, [format!("       without enough evidence: {words}")]);
    }
}
