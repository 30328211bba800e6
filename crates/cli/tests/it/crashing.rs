//! `kill -9` of the control plane in every step, under traffic.

use serde_json::Value;

use crate::{
    sandbox::{Sandbox, kill, runs, wait_until},
    visitors::Visitors,
};

fn app(options: &str, strategy: &str) -> String {
    format!(
        "
project: shop
components:
  api:
    command: exec {} serve {options}
    port: auto
    replicas: 2
    health: {{ path: /health, interval: 100ms }}
    stop: {{ drain: 5s }}
    route: /
environments:
  production:
    strategy: {strategy}
    rollback:
      when: [{{ condition: \"error_rate > 5% for 1s\", min_requests: 10 }}]
",
        tidegate_testapp::executable().display()
    )
}

fn control_plane(sandbox: &Sandbox) -> u32 {
    let up = sandbox.tidegate(&["up", "--json"]).expect(0).json();
    up["up"]["health"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid")
}

/// How far the deployment is: what changes is a step, or a half of one.
fn place(status: &Value) -> String {
    let deployment = &status["deployment"];
    format!(
        "{} {} {} {}",
        deployment["stage"],
        deployment["rollouts"][0]["steps"],
        status["epoch"],
        status["confirmed"]
    )
}

/// Deploys `second` over `first` and kills the control plane wherever the deployment is seen to
/// have moved. Says how often it was killed, and how the deployment ended.
fn killed_in_every_step(strategy: &str, second: &str) -> (u32, String) {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app("version=one", strategy))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let address = sandbox.status()["address"].as_str().expect("an address").to_owned();
    let visitors = Visitors::at(&address);
    wait_until("somebody was served", || !visitors.so_far().answers.is_empty());
    sandbox.commit(&[("tidegate.yaml", &app(second, strategy))]);
    let mut pid = control_plane(&sandbox);
    sandbox.tidegate(&["deploy", "--no-wait"]).expect(0);
    let (mut kills, mut last) = (0, String::new());
    wait_until("the deployment ends", || {
        let status = sandbox.status();
        let now = place(&status);
        if now != last && !status["deployment"].is_null() {
            last = now;
            kill(pid);
            wait_until("the control plane is gone", || !runs(pid));
            kills += 1;
            pid = control_plane(&sandbox);
        }
        status["deployment"].is_null() && status["latest"]["deployment"] == 2
    });
    let status = sandbox.status();
    let outcome = status["latest"]["outcome"].as_str().expect("an outcome").to_owned();
    let seen = visitors.leave();
    assert_eq!(seen.lost, Vec::<String>::new(), "{strategy}: {:?}", seen.answers);
    let serves = if outcome == "succeeded" { "two" } else { "one" };
    assert!(sandbox.get("/").contains(serves), "{status:#}");
    (kills, outcome)
}

#[test]
fn a_canary_survives_a_dead_control_plane_in_every_step() {
    let strategy = "{ canary: { steps: [20%, 100%], bake: 2s } }";
    let (kills, outcome) = killed_in_every_step(strategy, "version=two");
    assert_eq!(outcome, "succeeded");
    assert!(kills >= 3, "{kills}");
}

#[test]
fn a_bad_canary_is_caught_all_the_same() {
    let strategy = "{ canary: { steps: [50%, 100%], bake: 3s } }";
    let (kills, outcome) = killed_in_every_step(strategy, "version=two error_percent=30");
    assert_eq!(outcome, "rolled_back");
    assert!(kills >= 2, "{kills}");
}

#[test]
fn a_rolling_update_survives_a_dead_control_plane_in_every_step() {
    let strategy = "{ rolling: { max_surge: 1, max_unavailable: 0, bake: 2s } }";
    let (kills, outcome) = killed_in_every_step(strategy, "version=two");
    assert_eq!(outcome, "succeeded");
    assert!(kills >= 3, "{kills}");
}

#[test]
fn the_proxy_and_a_shim_may_die_too() {
    // Nobody visits here, so no guard on traffic could ever say anything.
    let app =
        |options| app(options, "{ blue_green: { bake: 2s } }").replace("rollback:", "x-rollback:");
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app("version=one"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let named = |what: &str| -> u32 {
        let found = sandbox.processes().into_iter().find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(what.as_bytes())
        });
        found.unwrap_or_else(|| panic!("no {what} runs"))
    };
    let address = sandbox.status()["address"].clone();
    kill(named("proxy"));
    wait_until("the proxy is back at the same address", || {
        sandbox.tidegate(&["status", "--json"]).code == 0
            && sandbox.status()["address"] == address
            && sandbox.status()["confirmed"] == true
            && std::net::TcpStream::connect(address.as_str().expect("an address")).is_ok()
    });
    assert!(sandbox.get("/").contains("one"));
    // What the shim of an instance knew is lost with it; the instance is not.
    kill(named("shim"));
    assert!(sandbox.get("/").contains("one"));
    sandbox.commit(&[("tidegate.yaml", &app("version=two"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert!(sandbox.get("/").contains("two"));
}
