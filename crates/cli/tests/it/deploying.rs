//! Deployments that succeed, fail, and survive.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};

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

fn app(options: &str) -> String {
    format!(
        "
project: shop
components:
  api:
    command: exec {} serve {options}
    port: auto
    health: {{ path: /health, interval: 100ms }}
    route: /
environments:
  production:
    strategy: {{ blue_green: {{ bake: 0s, keep: 10m }} }}
",
        tidegate_testapp::executable().display()
    )
}

#[test]
fn an_encrypted_environment_is_reached_by_https_only_and_bad_files_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).expect("a certificate");
    let (certificate, key) = (folder.path().join("shop.pem"), folder.path().join("shop.key"));
    fs::write(&certificate, made.cert.pem()).expect("it is written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("it is written");
    let tls = |key: &std::path::Path| {
        let (certificate, key) = (certificate.display(), key.display());
        format!(
            "{SITE}    tls: {{ certificates: [{{ certificate: {certificate}, key: {key} }}] }}\n"
        )
    };
    let plain = |sandbox: &Sandbox| {
        let status = sandbox.status();
        let address = status["address"].as_str().expect("an address");
        let mut connection = std::net::TcpStream::connect(address).expect("the proxy listens");
        connection.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is sent");
        std::io::read_to_string(connection).expect("an answer")
    };
    let sandbox = Sandbox::with(&[("tidegate.yaml", &tls(&key)), ("web/index.html", "first")]);
    let answer = sandbox.tidegate(&["doctor"]).expect(0);
    assert!(answer.stdout.contains("shop.pem is valid until"), "{answer:?}");
    let answer = sandbox.tidegate(&["deploy"]).expect(0);
    assert!(answer.stdout.contains("https://127.0.0.1:"), "{answer:?}");
    assert!(plain(&sandbox).contains("this address speaks HTTPS"));
    let answer = sandbox.tidegate(&["status"]).expect(0);
    assert!(answer.stdout.contains("https://127.0.0.1:"), "{answer:?}");

    let absent = folder.path().join("absent.key");
    sandbox.commit(&[("tidegate.yaml", &tls(&absent)), ("web/index.html", "second")]);
    let answer = sandbox.tidegate(&["doctor"]).expect(1);
    assert!(answer.stdout.contains("absent.key"), "{answer:?}");
    assert!(plain(&sandbox).contains("this address speaks HTTPS"));
    sandbox.tidegate(&["down"]).expect(0);
}

#[test]
fn a_certificate_that_cannot_be_ordered_is_told_by_status_and_doctor() {
    let bind = |port| std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port));
    let nobody = bind(0).and_then(|free| free.local_addr()).expect("a port");
    let directory = nobody.port();
    // One that nobody is given who asks for any.
    let first = 20_000 + u16::try_from(std::process::id() % 9_000).expect("it is small");
    let from = (first..30_000).find_map(|port| bind(port).ok()?.local_addr().ok());
    let from = from.expect("a port");
    let tls = format!(
        "{SITE}    tls: {{ acme: {{ hosts: [shop.test], agree_to_terms: true, directory: \
         'https://127.0.0.1:{directory}/' }}, redirect_from: '{from}' }}\n"
    );
    let sandbox = Sandbox::with(&[("tidegate.yaml", &tls), ("web/index.html", "first")]);
    let answer = sandbox.tidegate(&["doctor"]).expect(0);
    assert!(answer.stdout.contains("there is no certificate for shop.test yet"), "{answer:?}");
    sandbox.tidegate(&["deploy"]).expect(0);
    let reason = format!("https://127.0.0.1:{directory}/ cannot be asked");
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !sandbox.tidegate(&["status"]).expect(0).stdout.contains(&reason) {
        assert!(std::time::Instant::now() < deadline, "status does not tell that {reason}");
    }
    assert!(sandbox.status()["trouble"].to_string().contains(&reason));
    let mut plain = std::net::TcpStream::connect(from).expect("it is listened to");
    plain.write_all(b"GET /a HTTP/1.0\r\nHost: shop.test\r\n\r\n").expect("it is sent");
    let answer = std::io::read_to_string(plain).expect("an answer");
    assert!(answer.contains(" 308 ") && answer.contains("location: https://shop.test"), "{answer}");
    let answer = sandbox.tidegate(&["doctor"]).expect(1);
    assert!(answer.stdout.contains(&reason), "{answer:?}");
    sandbox.tidegate(&["down"]).expect(0);
}

/// Process ids of the control plane, the proxy and all instances.
fn pids(sandbox: &Sandbox) -> BTreeSet<u32> {
    let found = sandbox.processes();
    assert!(found.len() >= 2, "{found:?}");
    found
}

#[test]
fn a_static_site_is_served_at_once_and_down_leaves_no_process() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", SITE), ("web/index.html", "first")]);
    let answer = sandbox.tidegate(&["deploy"]).expect(0);
    assert!(answer.stdout.contains("site/production serves"), "{answer:?}");
    assert!(answer.stderr.contains("100% of the traffic"), "{answer:?}");
    assert_eq!(sandbox.get("/"), "first");

    let status = sandbox.status();
    assert_eq!(status["scope"], "site/production");
    assert_eq!(status["latest"]["outcome"], "succeeded");
    assert_eq!(status["components"][0]["revisions"][0]["share"], 10_000);

    let before = pids(&sandbox);
    sandbox.tidegate(&["down"]).expect(0);
    let left: Vec<u32> = before.into_iter().filter(|pid| runs(*pid)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(sandbox.processes().is_empty());
    // Down is down, however often it is said, and the next start brings everything back.
    for _ in 0..3 {
        sandbox.tidegate(&["down"]).expect(0);
        assert!(sandbox.processes().is_empty());
    }
    sandbox.tidegate(&["up"]).expect(0);
    wait_until("the proxy confirms", || {
        let status = sandbox.status();
        status["confirmed"] == true && status["address"].is_string()
    });
    assert_eq!(sandbox.get("/"), "first");
}

#[test]
fn what_is_not_committed_is_left_out_unless_it_is_asked_for() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", SITE), ("web/index.html", "first")]);
    sandbox.write(&[("web/index.html", "second")]);
    let answer = sandbox.tidegate(&["deploy"]).expect(0);
    assert!(answer.stderr.contains("not committed"), "{answer:?}");
    assert_eq!(sandbox.get("/"), "first");
    let answer = sandbox.tidegate(&["deploy", "--dirty"]).expect(0);
    assert!(answer.stdout.contains("-dirty"), "{answer:?}");
    assert_eq!(sandbox.get("/"), "second");
}

#[test]
fn blue_green_goes_forth_and_back_and_a_dead_control_plane_stops_nothing() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app("version=one"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert!(sandbox.get("/").contains("one"));
    sandbox.commit(&[("tidegate.yaml", &app("version=two"))]);
    let plan = sandbox.tidegate(&["plan"]).expect(0);
    assert!(plan.stdout.contains("api@1 -> api@2"), "{plan:?}");
    sandbox.tidegate(&["deploy", "production", "--reason", "the second"]).expect(0);
    assert!(sandbox.get("/").contains("two"));

    let health = sandbox.tidegate(&["up", "--json"]).expect(0).json();
    assert_eq!(health["up"]["started"], false);
    let pid = health["up"]["health"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let pid = pid.expect("a process id");
    kill(pid);
    wait_until("the control plane is gone", || !runs(pid));
    sandbox.tidegate(&["status"]).expect(7);

    // Going back starts it again.
    sandbox.tidegate(&["rollback", "--reason", "it is worse"]).expect(0);
    assert!(sandbox.get("/").contains("one"));
    let history = sandbox.tidegate(&["history", "--json"]).expect(0).json();
    let kinds: Vec<&str> = history["deployments"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["rollback", "deploy", "deploy"]);
    let logs = sandbox.tidegate(&["logs", "api", "-n", "5"]).expect(0);
    assert!(logs.stdout.contains("version one"), "{logs:?}");

    // Down works without it as well.
    let health = sandbox.tidegate(&["up", "--json"]).expect(0).json();
    let pid = health["up"]["health"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    kill(pid.expect("a process id"));
    sandbox.tidegate(&["down"]).expect(0);
    assert!(sandbox.processes().is_empty());
}

#[test]
fn an_app_that_does_not_start_is_told_with_its_log_and_what_serves() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app("version=one"))]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let broken = app("version=two").replace("command: exec", "command: echo no database; false");
    sandbox.commit(&[("tidegate.yaml", &broken)]);
    let answer = sandbox.tidegate(&["deploy"]).expect(1);
    for part in ["no database", "no traffic was moved", "api@1", "tidegate logs api"] {
        assert!(answer.stderr.contains(part), "{part} is missing in\n{}", answer.stderr);
    }
    assert!(sandbox.get("/").contains("one"));
    let status = sandbox.tidegate(&["status"]).expect(0);
    for part in ["no database", "tidegate logs api -e production"] {
        assert!(status.stdout.contains(part), "{part} is missing in\n{}", status.stdout);
    }
    // The command that the message names shows what the failed one said, though it is gone.
    wait_until("it is gone", || {
        let logs = sandbox.tidegate(&["logs", "api", "-e", "production"]).expect(0);
        let instances = sandbox.home().join("instances/shop/production/api@2");
        logs.stdout.contains("no database") && !instances.exists()
    });
}

#[test]
fn the_second_of_two_deployments_is_told_who_holds_it() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &app("version=one ready=never"))]);
    let begun = sandbox.tidegate(&["deploy", "--no-wait", "--json"]).expect(0).json();
    assert_eq!(begun["deployment"]["id"], 1);
    let answer = sandbox.tidegate(&["deploy"]).expect(6);
    for part in ["error[busy]", "deployment 1 of ana", "tidegate watch production"] {
        assert!(answer.stderr.contains(part), "{part} is missing in\n{}", answer.stderr);
    }
    // One that follows it sees its end. It is there when it has told the first line.
    let mut watch = sandbox
        .command(&["watch", "--exit-status", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tidegate runs");
    let mut told = BufReader::new(watch.stderr.take().expect("it is a pipe")).lines();
    told.next().expect("a line").expect("it is text");
    wait_until("it is prepared", || sandbox.status()["deployment"]["stage"] == "rolling");
    sandbox.tidegate(&["pause"]).expect(0);
    assert_eq!(sandbox.status()["deployment"]["stage"], "paused");
    sandbox.tidegate(&["resume"]).expect(0);
    sandbox.tidegate(&["abort"]).expect(0);
    let said: Vec<String> = told.map_while(Result::ok).collect();
    assert!(said.iter().any(|line| line.contains("ana aborted it")), "{said:#?}");
    let watch = watch.wait_with_output().expect("it ends");
    let result: serde_json::Value = serde_json::from_slice(&watch.stdout).expect("it is JSON");
    assert_eq!(result["result"]["deployment"]["status"], "failed");
    assert_eq!(watch.status.code(), Some(1));
    // Nothing is under way now, and nothing can be gone back to.
    sandbox.tidegate(&["abort"]).expect(6);
    let answer = sandbox.tidegate(&["rollback"]).expect(6);
    assert!(answer.stderr.contains("error[no-rollback-target]"), "{answer:?}");
}

/// The control plane's process.
fn control_plane(sandbox: &Sandbox) -> u32 {
    let health = sandbox.tidegate(&["up", "--json"]).expect(0).json();
    let pid = health["up"]["health"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    pid.expect("a process id")
}

/// A sandbox in which a build runs that does not end by itself.
fn building() -> Sandbox {
    let sandbox = Sandbox::with(&[(
        "tidegate.yaml",
        "
project: shop
components:
  web:
    build: { run: echo $$ > \"$TMPDIR/pid\"; sleep 600, output: . }
    static: true
environments:
  production: { strategy: { blue_green: { bake: 0s } } }
",
    )]);
    let pid = sandbox.project().join("pid");
    let up = sandbox.command(&["up"]).env("TMPDIR", sandbox.project()).output().expect("it runs");
    assert!(up.status.success(), "{up:?}");
    sandbox.tidegate(&["deploy", "--no-wait"]).expect(0);
    wait_until("the build runs", || fs::read_to_string(&pid).is_ok_and(|it| it.ends_with('\n')));
    sandbox
}

#[test]
fn down_ends_a_build_and_tells_those_who_follow_it_and_up_builds_anew() {
    let sandbox = building();
    let mut watch = sandbox
        .command(&["watch", "--exit-status"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tidegate runs");
    let mut told = BufReader::new(watch.stderr.take().expect("it is a pipe")).lines();
    let first = told.next().expect("a line").expect("it is text");
    let answer = sandbox.tidegate(&["down"]).expect(0);
    assert!(answer.stderr.contains("ended 1 build"), "{answer:?}");
    let said: Vec<String> = [first].into_iter().chain(told.map_while(Result::ok)).collect();
    let said = said.join("\n");
    assert_eq!(watch.wait().expect("it ends").code(), Some(7), "{said}");
    assert!(said.contains("`tidegate up` goes on with the deployment"), "{said}");
    assert!(!said.contains("instances and proxy") && !said.contains("serving"), "{said}");
    wait_until("no process is left", || sandbox.processes().is_empty());

    let answer = sandbox.tidegate(&["status"]).expect(7);
    assert!(!answer.stderr.contains("instances and proxy"), "{answer:?}");
    let pid = sandbox.project().join("pid");
    fs::remove_file(&pid).expect("it is there");
    let up = sandbox.command(&["up"]).env("TMPDIR", sandbox.project()).output().expect("it runs");
    assert!(up.status.success(), "{up:?}");
    wait_until("it is built anew", || pid.exists());
}

#[test]
fn down_stops_everything_without_a_usable_store() {
    type Spoil = fn(&Sandbox);
    let spoils: [Spoil; 2] = [
        |sandbox| {
            // As on a full disk, the lock cannot be had.
            let lock = sandbox.home().join("tidegate.db.lock");
            fs::remove_file(&lock).expect("it is there");
            fs::create_dir(&lock).expect("a folder");
        },
        |sandbox| {
            for name in ["tidegate.db-wal", "tidegate.db-shm"] {
                let _ = fs::remove_file(sandbox.home().join(name));
            }
            fs::write(sandbox.home().join("tidegate.db"), "no database ".repeat(4096))
                .expect("a file can be written");
        },
    ];
    for spoil in spoils {
        let sandbox = Sandbox::with(&[("tidegate.yaml", &app("version=one"))]);
        sandbox.tidegate(&["deploy"]).expect(0);
        let pid = control_plane(&sandbox);
        kill(pid);
        wait_until("the control plane is gone", || !runs(pid));
        spoil(&sandbox);
        let answer = sandbox.tidegate(&["down"]).expect(0);
        assert!(answer.stderr.contains("the store cannot be used"), "{answer:?}");
        wait_until("no process is left", || sandbox.processes().is_empty());
    }
}

#[test]
fn a_stopped_control_plane_is_named_with_what_wakes_or_ends_it() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", SITE)]);
    let pid = control_plane(&sandbox);
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(process, Signal::STOP).expect("it runs");
    wait_until("it is stopped", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    });
    for command in ["down", "up"] {
        let answer = sandbox.tidegate(&[command]).expect(7);
        for part in [format!("kill -CONT {pid}"), format!("kill -9 {pid} && tidegate down")] {
            assert!(answer.stderr.contains(&part), "{part} is missing in\n{}", answer.stderr);
        }
    }
    kill_process(process, Signal::CONT).expect("it is there");
    sandbox.tidegate(&["down"]).expect(0);
    assert!(sandbox.processes().is_empty());
}

#[test]
fn a_log_that_cannot_be_written_harms_nothing() {
    let sandbox = Sandbox::with(&[("tidegate.yaml", SITE), ("web/index.html", "first")]);
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut serve = sandbox
        .command(&["-vv", "serve"])
        .stdout(full())
        .stderr(full())
        .spawn()
        .expect("tidegate runs");
    wait_until("it is up", || sandbox.tidegate(&["status"]).code == 0);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert_eq!(sandbox.get("/"), "first");
    sandbox.commit(&[("web/index.html", "second")]);
    sandbox.tidegate(&["deploy"]).expect(0);
    assert_eq!(sandbox.get("/"), "second");
    sandbox.tidegate(&["down"]).expect(0);
    assert_eq!(serve.wait().expect("it ends").code(), Some(0));
}
