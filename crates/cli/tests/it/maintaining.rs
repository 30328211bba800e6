//! `tidegate maintenance`.

use std::fs;

use crate::sandbox::{Sandbox, kill, runs, wait_until};

const SITE: &str = "
project: site
components:
  web:
    path: web
    static: {}
environments:
  production:
    strategy: { blue_green: { bake: 0s, keep: 10m } }
";

#[test]
fn requests_are_kept_away_until_a_person_lets_them_in_again() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", SITE), ("web/index.html", "one")]);
    sandbox.tidegate(&["maintenance", "on"]).expect(2);
    sandbox.tidegate(&["deploy"]).expect(0);
    let answer = sandbox.tidegate(&["maintenance", "on", "--message", "Back at noon."]).expect(0);
    assert!(answer.stdout.contains("answered with 503"), "{answer:?}");
    let is_kept_away = || {
        let answer = sandbox.answer("/");
        answer.starts_with("HTTP/1.1 503") && answer.ends_with("\r\n\r\nBack at noon.\n")
    };
    assert!(is_kept_away());
    let status = sandbox.tidegate(&["status"]).expect(0);
    assert!(status.stdout.contains("in maintenance") && status.stdout.contains("Back at noon."));

    // Neither a deployment nor the end of any process changes it.
    sandbox.commit(&[("web/index.html", "two")]);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert!(is_kept_away());
    sandbox.tidegate(&["down", "--keep-serving"]).expect(0);
    let lock = fs::read_to_string(sandbox.home().join("proxy/proxy.lock")).expect("a proxy runs");
    let proxy = lock.trim().parse().expect("a process id");
    kill(proxy);
    wait_until("the proxy is gone", || !runs(proxy));
    sandbox.tidegate(&["up"]).expect(0);
    wait_until("the proxy serves again", || {
        sandbox.status()["confirmed"] == true && sandbox.status()["address"].is_string()
    });
    assert!(is_kept_away());

    let long = "long ".repeat(200);
    let refused = sandbox.tidegate(&["maintenance", "on", "--message", &long]);
    assert!(refused.code != 0 && refused.stderr.contains("at most 500"), "{refused:?}");
    sandbox.tidegate(&["maintenance", "off"]).expect(0);
    assert_eq!(sandbox.get("/"), "two");
    let status = sandbox.tidegate(&["status"]).expect(0);
    assert!(!status.stdout.contains("maintenance"), "{status:?}");
}
