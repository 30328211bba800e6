//! Builds, and what happens to them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use tidegate_manifest::Manifest;
use tidegate_release::{BuildError, BuildRequest, Builder, Commit, Progress, git, release_id};
use tidegate_shim::{JobState, Outcome};
use tidegate_types::{Duration, Release, Timestamp};

use crate::{
    manifest::{build, component, of},
    support::{Home, Repository, is_alive, make_executable, read, runtime, until},
};

fn executable() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_tidegate-release-helper"))
}

fn builder(home: &Home) -> Builder {
    Builder::new(home.path().to_owned(), executable())
}

fn request<'a>(repository: &Path, commit: Commit, manifest: &'a Manifest) -> BuildRequest<'a> {
    BuildRequest {
        project: manifest.project.clone(),
        repository: repository.to_owned(),
        commit,
        manifest_text: "the manifest".to_owned(),
        manifest,
        clock: &|| Timestamp::from_millis(7),
    }
}

async fn build_head(
    home: &Home,
    repository: &Path,
    manifest: &Manifest,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Release, BuildError> {
    let commit = git::resolve(repository, "HEAD").await.expect("it exists");
    builder(home).build(request(repository, commit, manifest), progress).await
}

/// The steps of a build as words.
fn word(progress: &Progress) -> &'static str {
    match progress {
        Progress::Waiting => "waiting",
        Progress::CheckingOut => "checking out",
        Progress::Building { .. } => "building",
        Progress::Attached { .. } => "attached",
        Progress::Restarted { .. } => "restarted",
        Progress::Stored { .. } => "stored",
        Progress::AlreadyBuilt => "already built",
    }
}

#[test]
fn a_release_has_the_committed_and_the_built() {
    let repository =
        Repository::with(&[("apps/api/main.sh", "echo hi"), ("page/index.html", "v1")]);
    make_executable(&repository.path().join("apps/api/main.sh"));
    repository.commit("Second");
    repository.write("page/index.html", "not committed");
    repository.git(&["tag", "v1.0.0"]);
    let home = Home::new();
    let mut api = component(
        "api",
        Some(build("mkdir out && cp main.sh out/api && env > out/env && pwd", "out")),
    );
    if let Some(build) = &mut api.build {
        build.directory = "apps/api".to_owned();
    }
    let mut page = component("page", None);
    page.path = "page".to_owned();
    let manifest = of(vec![api, page]);
    let runtime = runtime();
    let release = runtime
        .block_on(build_head(&home, repository.path(), &manifest, |_| {}))
        .expect("a release");
    assert_eq!(release.version, "v1.0.0");
    assert_eq!(release.subject, "Second");
    assert_eq!(release.built_at, Timestamp::from_millis(7));
    assert_eq!(release.id, release_id(&manifest.project, &release.commit, &release.artifacts));
    assert_eq!(release.id.as_str().len(), 14);
    let builder = builder(&home);
    assert!(builder.is_complete(&release));
    let path = |name: &str| {
        let name = name.parse().expect("it is a name");
        builder.artifacts().path(&release.artifacts[&name].digest)
    };
    assert_eq!(read(path("page").join("index.html")), "v1");
    assert_eq!(read(path("api").join("api")), "echo hi");
    let variables = read(path("api").join("env"));
    for line in [
        "CI=true".to_owned(),
        format!("TIDEGATE_COMMIT={}", release.commit),
        "TIDEGATE_VERSION=v1.0.0".to_owned(),
        "SOURCE_DATE_EPOCH=1700000000".to_owned(),
    ] {
        assert!(variables.lines().any(|have| have == line), "{line} in {variables}");
    }
    assert!(!variables.contains("CARGO_MANIFEST_DIR"), "{variables}");
    let site = home.path().join("builds/shop").join(&release.commit);
    assert!(!site.join("source").exists());
    assert!(site.join("jobs/api/log").exists());

    // As if the first one had been killed in its last moment.
    fs::create_dir(site.join("source")).expect("a folder");
    let seen = Mutex::new(Vec::new());
    let again = runtime
        .block_on(build_head(&home, repository.path(), &manifest, |progress| {
            seen.lock().expect("no panic").push(word(&progress));
        }))
        .expect("the same release");
    assert_eq!(again, release);
    assert_eq!(*seen.lock().expect("no panic"), ["already built"]);
    assert!(!site.join("source").exists());

    builder.artifacts().keep(&std::collections::BTreeSet::new()).expect("all is removed");
    assert!(!builder.is_complete(&release));
    let rebuilt = runtime
        .block_on(build_head(&home, repository.path(), &manifest, |_| {}))
        .expect("it is built again");
    assert!(builder.is_complete(&rebuilt));
}

#[test]
fn a_snapshot_is_built_as_it_is() {
    let repository = Repository::with(&[("index.html", "v1")]);
    repository.write("index.html", "v2");
    let home = Home::new();
    let manifest = of(vec![component("page", None)]);
    let release = runtime()
        .block_on(async {
            let commit = git::snapshot(repository.path()).await.expect("a snapshot");
            builder(&home).build(request(repository.path(), commit, &manifest), |_| {}).await
        })
        .expect("a release");
    assert!(release.dirty && release.version.ends_with("-dirty"));
    let artifact = release.artifacts.values().next().expect("one");
    let path = builder(&home).artifacts().path(&artifact.digest);
    assert_eq!(read(path.join("index.html")), "v2");
}

#[test]
fn a_failed_build_says_why_and_the_next_starts_afresh() {
    let repository = Repository::with(&[("a", "1")]);
    let home = Home::new();
    let gate = home.path().join("gate");
    // The second attempt must not see what the first one left.
    let command = format!(
        "test ! -e trace && touch trace && for i in $(seq 30); do echo line $i; done; test -e '{}' || exit 3",
        gate.display()
    );
    let manifest = of(vec![component("api", Some(build(&command, "trace")))]);
    let runtime = runtime();
    let error = runtime
        .block_on(build_head(&home, repository.path(), &manifest, |_| {}))
        .expect_err("it fails");
    let BuildError::Failed(failed) = &error else {
        panic!("{error}");
    };
    assert_eq!(failed.component.as_str(), "api");
    assert_eq!(failed.outcome, Outcome::Code(3));
    assert_eq!(failed.last_lines.len(), 20);
    assert_eq!(failed.last_lines.last().map(String::as_str), Some("line 30"));
    assert!(failed.log.exists());
    let text = error.to_string();
    assert!(text.contains("exited with code 3") && text.contains("line 30"), "{text}");
    let commit = repository.git(&["rev-parse", "HEAD"]);
    assert!(home.path().join("builds/shop").join(commit).join("source/trace").exists());

    fs::write(&gate, "").expect("a file");
    runtime
        .block_on(build_head(&home, repository.path(), &manifest, |_| {}))
        .expect("the second attempt is a fresh one");
}

#[test]
fn a_missing_output_says_what_is_there_instead() {
    let repository = Repository::with(&[("a", "1")]);
    let home = Home::new();
    let manifest = of(vec![component(
        "web",
        Some(build("mkdir -p dist/assets && touch dist/index.htm", "dist/index.html")),
    )]);
    let error = runtime()
        .block_on(build_head(&home, repository.path(), &manifest, |_| {}))
        .expect_err("it is missing");
    assert!(error.to_string().contains("`dist` has `assets/`, `index.htm`"), "{error}");
}

#[test]
fn paths_that_lead_out_or_nowhere_are_refused() {
    let repository = Repository::with(&[("a", "1")]);
    let home = Home::new();
    let mut absent = component("api", None);
    absent.path = "apps/api".to_owned();
    let mut above = component("api", None);
    above.path = "..".to_owned();
    for (wrong, what) in [
        (absent, "only what is committed"),
        (above, "leads out of the repository"),
        (component("api", Some(build("true", "../jobs"))), "leads out of the repository"),
        (component("api", Some(build("ln -s / root", "root/etc"))), "leads out of the repository"),
        (component("api", Some(build("ln -s /etc/passwd x", "."))), "outside of the artifact"),
    ] {
        let error = runtime()
            .block_on(build_head(&home, repository.path(), &of(vec![wrong]), |_| {}))
            .expect_err("it is refused");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_build_that_hangs_is_killed_with_all_that_it_started() {
    let repository = Repository::with(&[("a", "1")]);
    let home = Home::new();
    let pids = home.path().join("pids");
    let command = format!("sleep 600 & echo $! >> '{0}'; echo $$ >> '{0}'; wait", pids.display());
    let mut api = component("api", Some(build(&command, "a")));
    if let Some(build) = &mut api.build {
        build.timeout = Duration::from_millis(700);
    }
    let error = runtime()
        .block_on(build_head(&home, repository.path(), &of(vec![api]), |_| {}))
        .expect_err("it takes too long");
    assert!(
        matches!(&error, BuildError::Failed(failed) if failed.outcome == Outcome::TimedOut),
        "{error}"
    );
    assert!(error.to_string().contains("700ms"), "{error}");
    let pids = read(&pids);
    assert_eq!(pids.lines().count(), 2, "{pids}");
    until("all of the build is gone", || pids.lines().all(|pid| !is_alive(pid)));
}

/// A build that counts its runs, says that it runs, and waits for a file.
fn gated(home: &Home) -> String {
    format!(
        "cd '{}' && echo run >> runs && while ! test -e gate; do sleep 0.02; done; cd \"$OLDPWD\" && cp a out",
        home.path().display()
    )
}

fn runs(home: &Home) -> usize {
    fs::read_to_string(home.path().join("runs")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_build_goes_on_while_nobody_waits_and_is_attached_to() {
    let repository = Repository::with(&[("a", "1")]);
    let home = Arc::new(Home::new());
    let manifest = of(vec![component("api", Some(build(&gated(&home), "out")))]);
    let runtime = runtime();
    runtime.block_on(async {
        let path = repository.path().to_owned();
        let (manifest, task_home) = (manifest.clone(), home.clone());
        let task =
            tokio::spawn(async move { build_head(&task_home, &path, &manifest, |_| {}).await });
        tokio::task::spawn_blocking({
            let home = home.clone();
            move || until("the build runs", || runs(&home) == 1)
        })
        .await
        .expect("it runs");
        task.abort();
        assert!(task.await.expect_err("it was aborted").is_cancelled());
    });
    let seen = Mutex::new(Vec::new());
    let release = runtime
        .block_on(build_head(&home, repository.path(), &manifest, |progress| {
            let word = word(&progress);
            if word == "attached" {
                fs::write(home.path().join("gate"), "").expect("a file");
            }
            seen.lock().expect("no panic").push(word);
        }))
        .expect("a release");
    assert_eq!(*seen.lock().expect("no panic"), ["attached", "stored"]);
    assert_eq!(runs(&home), 1);
    assert!(builder(&home).is_complete(&release));
}

/// Another process that builds, and is gone at the end of the test.
struct ControlPlane(std::process::Child);

impl ControlPlane {
    fn start(home: &Home, repository: &Path, command: &str) -> Self {
        let child = Command::new(executable())
            .arg("build")
            .args([home.path(), repository])
            .args([command, "out"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it ends");
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_control_plane_finds_its_build_finished() {
    let repository = Repository::with(&[("a", "1")]);
    let home = Home::new();
    let command = gated(&home);
    let mut first = ControlPlane::start(&home, repository.path(), &command);
    until("the build runs", || runs(&home) == 1);
    first.kill();
    fs::write(home.path().join("gate"), "").expect("a file");
    let job = home.jobs().pop().expect("there is one");
    until("the build ends by itself", || {
        matches!(tidegate_shim::look(&job), Ok(JobState::Exited(_)))
    });
    let manifest = of(vec![component("api", Some(build(&command, "out")))]);
    let release = runtime()
        .block_on(build_head(&home, repository.path(), &manifest, |_| {}))
        .expect("a release");
    assert_eq!(runs(&home), 1, "a finished build is not repeated");
    assert!(builder(&home).is_complete(&release));
}

#[test]
fn a_lost_build_is_begun_again_in_a_fresh_checkout() {
    let repository = Repository::with(&[("a", "1")]);
    let home = Home::new();
    let command = format!(
        "test ! -e out && touch out && echo $$ > '{0}/pid'; {1}",
        home.path().display(),
        gated(&home)
    );
    let mut first = ControlPlane::start(&home, repository.path(), &command);
    until("the build runs", || runs(&home) == 1);
    first.kill();
    // As when the machine runs out of memory, or is started again.
    let job = home.jobs().pop().expect("there is one");
    let command_pid = read(home.path().join("pid")).trim().to_owned();
    let stat = read(format!("/proc/{command_pid}/stat"));
    // `pid (name) state parent …`
    let after_name = stat.rsplit(") ").next().expect("it has a name");
    let shim = after_name.split(' ').nth(1).expect("it has a parent").to_owned();
    for pid in [shim, command_pid] {
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("it is a number");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    }
    until("the build is lost", || matches!(tidegate_shim::look(&job), Ok(JobState::Lost)));
    fs::write(home.path().join("gate"), "").expect("a file");
    let manifest = of(vec![component("api", Some(build(&command, "out")))]);
    let seen = Mutex::new(Vec::new());
    runtime()
        .block_on(build_head(&home, repository.path(), &manifest, |progress| {
            seen.lock().expect("no panic").push(word(&progress));
        }))
        .expect("a release");
    assert_eq!(
        *seen.lock().expect("no panic"),
        ["attached", "restarted", "checking out", "building", "stored"]
    );
    assert_eq!(runs(&home), 2);
}

#[test]
fn two_builds_of_one_commit_are_one() {
    let repository = Repository::with(&[("a", "1")]);
    let home = Home::new();
    let manifest = of(vec![component("api", Some(build(&gated(&home), "out")))]);
    let gate = home.path().join("gate");
    let (one, two) = runtime().block_on(async {
        let open = |progress: Progress| {
            if progress == Progress::Waiting {
                fs::write(&gate, "").expect("a file");
            }
        };
        tokio::join!(
            build_head(&home, repository.path(), &manifest, open),
            build_head(&home, repository.path(), &manifest, open),
        )
    });
    assert_eq!(one.expect("a release"), two.expect("a release"));
    assert_eq!(runs(&home), 1);
    let left: Vec<_> = fs::read_dir(home.path().join("builds/shop"))
        .expect("it is there")
        .flatten()
        .filter(|entry| entry.path().extension().is_some())
        .collect();
    assert!(left.is_empty(), "locks go: {left:?}");
}

#[test]
fn another_manifest_ends_the_build_that_runs() {
    let repository = Repository::with(&[("a", "1")]);
    let home = Home::new();
    let mut first = ControlPlane::start(
        &home,
        repository.path(),
        &format!("echo $$ > '{}/pid'; {}", home.path().display(), gated(&home)),
    );
    until("the build runs", || runs(&home) == 1);
    first.kill();
    let manifest = of(vec![component("api", Some(build("cp a out", "out")))]);
    runtime()
        .block_on(async {
            let commit = git::resolve(repository.path(), "HEAD").await.expect("it exists");
            let mut request = request(repository.path(), commit, &manifest);
            request.manifest_text = "another".to_owned();
            builder(&home).build(request, |_| {}).await
        })
        .expect("a release");
    assert!(!is_alive(&read(home.path().join("pid"))));
}
