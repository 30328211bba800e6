//! What dies outside of a rollout, or in a moment that no transition marks.

use std::{
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    ending::table,
    journal::{Journal, Point},
    scenario::Scenario,
    victim::{STABLE, Victim, control_plane, instances, pid_of},
};
use crate::{
    sandbox::{Sandbox, kill, runs, wait_until},
    visitors::Visitors,
};

/// The window is as long as one write to the disk, so it is not met each time.
const ATTEMPTS: usize = 40;

fn serving() -> (Sandbox, String) {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &Scenario::first())]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let address = sandbox.status()["address"].as_str().expect("an address").to_owned();
    (sandbox, address)
}

fn end(sandbox: &Sandbox, victim: Victim) -> u32 {
    let pid = victim.find(&sandbox.home()).unwrap_or_else(|| panic!("no {}", victim.name()));
    kill(pid);
    wait_until("the victim is gone", || !runs(pid));
    pid
}

#[test]
fn a_deployment_that_was_accepted_and_not_taken_is_taken_by_the_next_control_plane() {
    let (sandbox, _) = serving();
    for attempt in 1..=ATTEMPTS {
        let mut journal = Journal::open(&sandbox.home(), Point::default());
        let version = journal.point_for_certain().version;
        let newest = journal.newest_deployment();
        let pid = control_plane(&sandbox.home()).expect("a control plane");
        let mut deploy = sandbox
            .command(&["deploy", "--no-wait"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tidegate runs");
        // Without a pause: the next transaction comes at once.
        let began = Instant::now();
        while journal.newest_deployment() == newest {
            assert!(began.elapsed() < Duration::from_secs(30), "it is not accepted");
        }
        kill(pid);
        wait_until("the control plane is gone", || !runs(pid));
        deploy.wait().expect("the command ends");
        let is_hit = journal.point_for_certain().version == version;
        drop(journal);
        sandbox.tidegate(&["up"]).expect(0);
        wait_until("it has ended", || {
            let status = sandbox.status();
            status["deployment"].is_null()
                && status["latest"]["deployment"].as_i64() > newest
                && status["latest"]["outcome"] == "succeeded"
        });
        if is_hit {
            return;
        }
        assert!(attempt < ATTEMPTS, "never killed between the two");
    }
}

#[test]
fn a_proxy_starts_from_its_last_table_without_anybodys_help() {
    let (sandbox, address) = serving();
    let before = table(&sandbox.home());
    end(&sandbox, Victim::ControlPlane);
    end(&sandbox, Victim::Proxy);
    let proxy = sandbox
        .command(&["proxy"])
        .arg("--home")
        .arg(sandbox.home())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("tidegate runs");
    let proxy = Reaped(proxy);
    // For a moment the socket of the one that was killed outlives it.
    wait_until("it listens", || {
        Victim::Proxy.find(&sandbox.home()) == Some(proxy.0.id())
            && std::net::TcpStream::connect(&address).is_ok()
    });
    let visitors = Visitors::at(&address);
    wait_until("visitors came", || visitors.so_far().requests() > 50);
    assert_eq!(table(&sandbox.home()), before);
    // The next control plane takes the one that is there.
    sandbox.tidegate(&["up"]).expect(0);
    wait_until("it is confirmed", || sandbox.status()["confirmed"] == true);
    let requests = visitors.so_far().requests();
    wait_until("more visitors came", || visitors.so_far().requests() > requests + 50);
    assert_eq!(table(&sandbox.home()), before);
    assert_eq!(Victim::Proxy.find(&sandbox.home()), Some(proxy.0.id()));
    assert_eq!(visitors.leave().lost, []);
}

#[test]
fn an_instance_whose_shim_was_killed_goes_on_and_its_end_is_no_success() {
    let (sandbox, address) = serving();
    let visitors = Visitors::at(&address);
    wait_until("somebody was served", || visitors.so_far().requests() > 0);
    let home = sandbox.home();
    let instance = instances(&home, STABLE).into_iter().next().expect("an instance");
    let app = instance.app.expect("an app");
    kill(instance.shim);
    wait_until("the shim is gone", || !runs(instance.shim));
    let revision = || sandbox.status()["components"][0]["revisions"][0].clone();
    let before = visitors.so_far().requests();
    wait_until("more visitors came", || visitors.so_far().requests() > before + 100);
    assert!(runs(app));
    assert_eq!((&revision()["ready"], &revision()["exits"]), (&2.into(), &0.into()));
    kill(app);
    wait_until("it is replaced", || {
        let revision = revision();
        revision["exits"] == 1 && revision["ready"] == 2
    });
    let what = revision()["failure"]["what"].as_str().expect("a sentence").to_owned();
    assert!(what.contains("unknown way"), "{what}");
    assert_eq!(visitors.leave().lost, []);
}

/// A build that notes each of its runs, and ends when it may.
struct SlowBuild {
    sandbox: Sandbox,
    runs: PathBuf,
    may_end: PathBuf,
}

impl SlowBuild {
    /// Deploys it, and returns when the build runs.
    fn begin() -> Self {
        let sandbox = Sandbox::with(&[("README.md", "a shop")]);
        let (runs, may_end) = (sandbox.home().join("runs"), sandbox.home().join("may_end"));
        let manifest = format!(
            "
project: shop
components:
  web:
    build:
      run: echo $$ >> {}; until [ -e {} ]; do sleep 0.02; done; mkdir out; echo built > out/index.html
      output: out
    static: true
environments:
  production: {{ strategy: {{ blue_green: {{ bake: 0s }} }} }}
",
            runs.display(),
            may_end.display()
        );
        sandbox.commit(&[("tidegate.yaml", &manifest)]);
        sandbox.tidegate(&["deploy", "--no-wait"]).expect(0);
        let build = Self { sandbox, runs, may_end };
        wait_until("the build runs", || build.runs().len() == 1);
        build
    }

    /// The processes of all runs.
    fn runs(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(&self.runs).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    fn shim(&self) -> u32 {
        let commits = self.sandbox.home().join("builds/shop");
        let entries = std::fs::read_dir(commits).expect("a build has a folder").flatten();
        let mut claims = entries.map(|entry| entry.path().join("jobs/web/claim"));
        claims.find_map(|claim| pid_of(&claim)).expect("the build has a shim")
    }

    fn let_it_end(&self) {
        std::fs::write(&self.may_end, "").expect("a file can be written");
        wait_until("it has ended", || self.sandbox.status()["latest"]["outcome"].is_string());
        assert_eq!(self.sandbox.status()["latest"]["outcome"], "succeeded");
        assert_eq!(self.sandbox.get("/"), "built\n");
        wait_until("nothing of a build runs", || self.runs().into_iter().all(|pid| !runs(pid)));
    }
}

#[test]
fn a_build_whose_shim_was_killed_is_made_again() {
    for with_the_control_plane in [false, true] {
        let build = SlowBuild::begin();
        let shim = build.shim();
        kill(shim);
        wait_until("the shim is gone", || !runs(shim));
        if with_the_control_plane {
            end(&build.sandbox, Victim::ControlPlane);
            build.sandbox.tidegate(&["up"]).expect(0);
        }
        assert!(runs(build.runs()[0]), "the build goes on");
        build.let_it_end();
        // It ended well, but nobody saw how.
        assert_eq!(build.runs().len(), 2);
    }
}

#[test]
fn a_build_goes_on_without_a_control_plane_and_is_made_once() {
    let build = SlowBuild::begin();
    for _ in 0..2 {
        end(&build.sandbox, Victim::ControlPlane);
        build.sandbox.tidegate(&["up"]).expect(0);
    }
    end(&build.sandbox, Victim::ControlPlane);
    std::fs::write(&build.may_end, "").expect("a file can be written");
    let pid = build.runs()[0];
    wait_until("the build has ended", || !runs(pid));
    build.sandbox.tidegate(&["up"]).expect(0);
    build.let_it_end();
    assert_eq!(build.runs().len(), 1);
}

/// A child that is ended and reaped with the test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}
