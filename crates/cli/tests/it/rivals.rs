//! Two control planes over one home: there is never more than one.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{Answer, Sandbox, wait_until};

const APP: &str = "
project: shop
components:
  api:
    command: exec TESTAPP serve version=VERSION
    port: auto
    replicas: 2
    health: { path: /health, interval: 100ms }
    route: /
environments:
  production: { strategy: { canary: { steps: [50%, 100%], bake: 1s } } }
";

fn app(version: &str) -> String {
    APP.replace("TESTAPP", &tidegate_testapp::executable().display().to_string())
        .replace("VERSION", version)
}

fn control_plane(sandbox: &Sandbox) -> u32 {
    let up = sandbox.tidegate(&["up", "--json"]).expect(0).json();
    up["up"]["health"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid")
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("it can be signalled");
}

/// A process that is stopped, and goes on however the test ends.
struct Stopped(u32);

impl Stopped {
    fn now(pid: u32) -> Self {
        signal(pid, Signal::STOP);
        wait_until("it stands still", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        });
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0).ok().and_then(Pid::from_raw) {
            // It may have been killed meanwhile.
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

/// Runs a second control plane, which has to end by itself.
fn rival(sandbox: &Sandbox) -> Answer {
    let mut child: Child = sandbox
        .command(&["serve"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tidegate runs");
    let began = Instant::now();
    while child.try_wait().expect("it can be waited for").is_none() {
        if began.elapsed() > Duration::from_secs(30) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("there are two control planes");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("its output");
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_second_control_plane_is_refused_and_changes_nothing() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app("one"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let first = control_plane(&sandbox);
    let before = sandbox.processes();
    for _ in 0..2 {
        let refused = rival(&sandbox);
        assert_ne!(refused.code, 0, "{refused:?}");
        assert!(refused.stderr.contains(&format!("process {first}")), "{refused:?}");
        assert!(!refused.stderr.contains("kill -9"), "nobody has to be killed: {refused:?}");
    }
    assert_eq!(sandbox.processes(), before);
    assert_eq!(control_plane(&sandbox), first);
    assert!(sandbox.get("/").contains("one"));
}

#[test]
fn one_that_was_stopped_keeps_the_home_and_goes_on_when_it_wakes() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app("one"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let first = control_plane(&sandbox);
    let before = sandbox.processes();
    sandbox.commit(&[("tidegate.yaml", &app("two"))]);
    sandbox.tidegate(&["deploy", "--no-wait"]).expect(0);
    wait_until("the candidate gets requests", || {
        sandbox.status()["epoch"].as_u64().is_some_and(|epoch| epoch > 1)
    });
    let stopped = Stopped::now(first);
    let refused = rival(&sandbox);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains(&format!("kill -CONT {first}")), "{refused:?}");
    let still = sandbox.processes();
    assert!(before.is_subset(&still), "nothing of the first release was stopped");
    drop(stopped);
    wait_until("the deployment ends", || sandbox.status()["deployment"].is_null());
    let status = sandbox.status();
    assert_eq!(status["latest"]["outcome"], "succeeded", "{status:#}");
    assert_eq!(control_plane(&sandbox), first);
    assert!(sandbox.get("/").contains("two"));
}

#[test]
fn one_that_was_stopped_and_killed_leaves_the_home_to_the_next() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app("one"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let first = control_plane(&sandbox);
    let before = sandbox.processes();
    let stopped = Stopped::now(first);
    signal(first, Signal::KILL);
    drop(stopped);
    let second = control_plane(&sandbox);
    assert_ne!(second, first);
    let after = sandbox.processes();
    let (gone, came): (Vec<_>, Vec<_>) =
        (before.difference(&after).collect(), after.difference(&before).collect());
    assert_eq!((gone, came), (vec![&first], vec![&second]), "instances and proxy are the same");
    assert!(sandbox.get("/").contains("one"));
}
