//! What holds for every job, tried with real processes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tidegate_shim::{
    ExitRecord, JobSpec, JobState, Outcome, ProcessIdentity, kill, look, start, stop, tail,
};
use tidegate_types::LogLimits;

const SHIM: &str = env!("CARGO_BIN_EXE_tidegate-shim");

/// A job in a folder of its own, killed at the end of the test.
struct Job {
    folder: tempfile::TempDir,
    spec: JobSpec,
}

impl Job {
    fn new(command: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = JobSpec {
            command: command.to_owned(),
            working_directory: folder.path().to_owned(),
            environment: BTreeMap::from([
                ("PATH".to_owned(), std::env::var("PATH").unwrap()),
                ("SHIM".to_owned(), SHIM.to_owned()),
            ]),
            stop_signal: tidegate_types::Signal::Sigterm,
            stop_timeout: tidegate_types::Duration::from_secs(60),
            log: LogLimits { file_bytes: 1 << 20, files: 2 },
            timeout: None,
        };
        Self { folder, spec }
    }

    fn started(command: &str) -> Self {
        let job = Self::new(command);
        job.start();
        job
    }

    fn start(&self) {
        start(Path::new(SHIM), &self.directory(), &self.spec).unwrap();
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("job")
    }

    fn look(&self) -> JobState {
        look(&self.directory()).unwrap()
    }

    fn exit(&self) -> ExitRecord {
        wait_for("the exit record", || match self.look() {
            JobState::Exited(record) => Some(record),
            JobState::Lost => panic!("lost"),
            _ => None,
        })
    }

    fn texts(&self) -> Vec<String> {
        tail(&self.directory(), 1_000).unwrap().into_iter().map(|line| line.text).collect()
    }

    /// A process number that the job wrote to a file.
    fn pid(&self, file: &str) -> Pid {
        wait_for(file, || {
            let text = fs::read_to_string(self.folder.path().join(file)).ok()?;
            Pid::from_raw(text.strip_suffix('\n')?.parse().ok()?)
        })
    }

    fn process(&self, file: &str) -> ProcessIdentity {
        let text = fs::read(self.directory().join(file)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = kill(&self.directory());
        let deadline = Instant::now() + Duration::from_secs(30);
        while matches!(look(&self.directory()), Ok(JobState::Running { .. }))
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_alive(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    status.is_ok_and(|text| {
        let state = text.rsplit(')').next().unwrap_or_default().trim_start();
        !state.starts_with('Z') && !state.starts_with('X')
    })
}

#[test]
fn the_exit_code_the_output_and_the_environment_are_the_commands_own() {
    let mut job = Job::new("echo out; echo err >&2; env; printf last; exit 7");
    job.spec.environment = BTreeMap::from([("ONLY".to_owned(), "this one".to_owned())]);
    job.start();
    let record = job.exit();
    assert_eq!(record.outcome, Outcome::Code(7));
    assert!(record.started_at <= record.ended_at);
    let texts = job.texts();
    assert_eq!((&*texts[0], &*texts[1], texts.last().unwrap().as_str()), ("out", "err", "last"));
    assert!(texts.contains(&"ONLY=this one".to_owned()), "{texts:?}");
    // What the shell itself sets, and nothing of ours.
    assert!(!texts.iter().any(|text| text.starts_with("CARGO")), "{texts:?}");
}

#[test]
fn nothing_was_started_where_nobody_claimed() {
    let job = Job::new("true");
    assert_eq!(job.look(), JobState::NotStarted);
    assert!(job.texts().is_empty());
}

#[test]
fn a_signal_that_ends_the_command_is_kept() {
    let job = Job::started("kill -USR1 $$; sleep 60");
    assert_eq!(job.exit().outcome, Outcome::Signal(10));
}

#[test]
fn a_command_that_does_not_exist_exits_with_127() {
    let job = Job::started("no-such-command-anywhere");
    assert_eq!(job.exit().outcome, Outcome::Code(127));
    assert!(job.texts().concat().contains("not found"), "{:?}", job.texts());
}

#[test]
fn a_missing_working_directory_is_told_by_name() {
    let mut job = Job::new("true");
    job.spec.working_directory = job.folder.path().join("gone");
    job.start();
    let Outcome::NotStarted(reason) = job.exit().outcome else {
        panic!("{:?}", job.look());
    };
    assert!(reason.contains("gone"), "{reason}");
}

#[test]
fn an_executable_that_does_not_exist_is_an_error_and_claims_nothing() {
    let job = Job::new("true");
    let error = start(Path::new("/no/such/file"), &job.directory(), &job.spec).unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
    assert_eq!(job.look(), JobState::NotStarted);
    job.start();
    assert_eq!(job.exit().outcome, Outcome::Code(0));
}

#[test]
fn an_executable_that_is_no_shim_is_an_error() {
    let job = Job::new("true");
    let error = start(Path::new("/bin/sh"), &job.directory(), &job.spec).unwrap_err();
    assert!(error.to_string().contains("shim"), "{error}");
    assert_eq!(job.look(), JobState::NotStarted);
}

#[test]
fn stop_asks_and_the_command_may_end_its_own_way() {
    let job =
        Job::started("trap 'echo stopping; exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    wait_for("ready", || job.texts().contains(&"ready".to_owned()).then_some(()));
    stop(&job.directory()).unwrap();
    stop(&job.directory()).unwrap();
    assert_eq!(job.exit().outcome, Outcome::Code(3));
    // The shell may have said that its `sleep` was terminated.
    assert_eq!(job.texts().last().unwrap(), "stopping");
    stop(&job.directory()).unwrap();
}

#[test]
fn the_declared_stop_signal_is_the_one_sent() {
    let mut job = Job::new(
        "trap 'exit 4' USR2; trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done",
    );
    job.spec.stop_signal = tidegate_types::Signal::Sigusr2;
    job.start();
    wait_for("ready", || job.texts().contains(&"ready".to_owned()).then_some(()));
    stop(&job.directory()).unwrap();
    assert_eq!(job.exit().outcome, Outcome::Code(4));
}

#[test]
fn a_command_that_ignores_the_stop_signal_is_killed_after_the_timeout() {
    let mut job = Job::new("trap '' TERM; echo ready; while :; do sleep 0.01; done");
    job.spec.stop_timeout = tidegate_types::Duration::from_millis(100);
    job.start();
    wait_for("ready", || job.texts().contains(&"ready".to_owned()).then_some(()));
    stop(&job.directory()).unwrap();
    let record = job.exit();
    assert_eq!(record.outcome, Outcome::Signal(9));
    assert!(record.ended_at.since(record.started_at) >= job.spec.stop_timeout);
}

#[test]
fn a_stop_waits_for_the_server_behind_a_shell_that_ends_at_once() {
    let job = Job::started(
        "(trap 'sleep 0.2; echo finished; exit' TERM; echo ready; while :; do sleep 0.01; done) & wait",
    );
    wait_for("ready", || job.texts().contains(&"ready".to_owned()).then_some(()));
    stop(&job.directory()).unwrap();
    assert_eq!(job.exit().outcome, Outcome::Signal(15));
    assert_eq!(job.texts().last().unwrap(), "finished");
}

#[test]
fn sigterm_to_the_shim_is_a_stop_and_hangup_and_interrupt_are_nothing() {
    let job = Job::started("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    wait_for("ready", || job.texts().contains(&"ready".to_owned()).then_some(()));
    let shim = job.process("claim");
    shim.signal(Signal::HUP);
    shim.signal(Signal::INT);
    shim.signal(Signal::TERM);
    assert_eq!(job.exit().outcome, Outcome::Code(3));
}

#[test]
fn children_left_behind_in_the_group_are_gone_when_the_exit_is_known() {
    let job = Job::started("sleep 600 & echo $! > child; exit 0");
    let child = job.pid("child");
    // The child holds the output open; the exit is known all the same.
    assert_eq!(job.exit().outcome, Outcome::Code(0));
    assert!(!is_alive(child));
}

#[test]
fn a_daemon_in_a_session_of_its_own_is_gone_when_the_exit_is_known() {
    let job =
        Job::started(r#"("$SHIM" daemon daemon &); while ! [ -s daemon ]; do sleep 0.01; done"#);
    assert_eq!(job.exit().outcome, Outcome::Code(0));
    assert!(!is_alive(job.pid("daemon")));
}

#[test]
fn kill_leaves_nobody() {
    let job = Job::started(
        r#"trap '' TERM; ("$SHIM" daemon daemon &); sleep 600 & echo $! > child; echo $$ > self; wait; sleep 600"#,
    );
    let pids = ["daemon", "child", "self"].map(|file| job.pid(file));
    assert!(pids.into_iter().all(is_alive));
    kill(&job.directory()).unwrap();
    assert_eq!(job.exit().outcome, Outcome::Signal(9));
    assert!(!pids.into_iter().any(is_alive));
}

#[test]
fn a_job_that_runs_longer_than_it_may_has_timed_out() {
    let mut job = Job::new("trap '' TERM; sleep 600 & echo $! > child; wait; sleep 600");
    job.spec.timeout = Some(tidegate_types::Duration::from_millis(300));
    job.start();
    let child = job.pid("child");
    assert_eq!(job.exit().outcome, Outcome::TimedOut);
    assert!(!is_alive(child));
}

#[test]
fn a_flood_of_output_is_bounded_and_ends_with_the_last_line() {
    let mut job =
        Job::new("head -c 50000000 /dev/zero; echo; yes flood | head -n 1000000; echo the end");
    job.spec.log.file_bytes = 100_000;
    job.start();
    assert_eq!(job.exit().outcome, Outcome::Code(0));
    let sizes: Vec<u64> = fs::read_dir(job.directory())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("log"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|size| *size <= 100_000), "{sizes:?}");
    let texts = job.texts();
    assert_eq!(texts[texts.len() - 2..], ["flood", "the end"]);
}

#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_command() {
    let job = Job::new("yes | head -c 10000000; exit 5");
    // A folder in the log's place fails every write, as a full disk does.
    fs::create_dir_all(job.directory().join("log")).unwrap();
    job.start();
    assert_eq!(job.exit().outcome, Outcome::Code(5));
}

#[test]
fn many_starts_at_once_make_one_process() {
    let job = Job::new("echo $$ >> starts; sleep 600");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| job.start());
        }
    });
    job.start();
    let starts = wait_for("a start", || {
        fs::read_to_string(job.folder.path().join("starts")).ok().filter(|text| !text.is_empty())
    });
    assert_eq!(starts.lines().count(), 1, "{starts}");
    kill(&job.directory()).unwrap();
    job.exit();
    job.start();
    let starts = fs::read_to_string(job.folder.path().join("starts")).unwrap();
    assert_eq!(starts.lines().count(), 1, "{starts}");
}

#[test]
fn a_second_shim_for_the_same_job_goes_away_quietly() {
    let job = Job::started("sleep 600");
    let output = Command::new(SHIM).arg("shim").arg(job.directory()).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
    assert!(matches!(job.look(), JobState::Running { .. }));
}

#[test]
fn a_job_whose_shim_was_killed_runs_on_and_its_end_is_unknown() {
    let mut job = Job::new("echo $$ > self; sleep 600 & echo $! > child; wait");
    job.spec.stop_timeout = tidegate_types::Duration::ZERO;
    job.start();
    let (command, child) = (job.pid("self"), job.pid("child"));
    let shim = job.process("claim");
    shim.signal(Signal::KILL);
    wait_for("the shim's end", || (!shim.is_alive()).then_some(()));
    assert!(
        matches!(job.look(), JobState::Running { pid, .. } if pid == command.as_raw_pid().cast_unsigned())
    );
    assert!(tidegate_shim::watch(&job.directory()).unwrap().is_some());
    stop(&job.directory()).unwrap();
    wait_for("the command's end", || (!is_alive(command)).then_some(()));
    assert_eq!(job.look(), JobState::Lost);
    wait_for("the child's end", || {
        kill(&job.directory()).unwrap();
        (!is_alive(child)).then_some(())
    });
    assert!(tidegate_shim::watch(&job.directory()).unwrap().is_none());
    // It is not started again either.
    job.start();
    assert_eq!(job.look(), JobState::Lost);
}

#[test]
fn without_shim_and_command_nobody_of_the_session_is_left_after_kill() {
    let job = Job::started("sleep 600 & echo $! > child; wait");
    let child = job.pid("child");
    let (shim, command) = (job.process("claim"), job.process("job.json"));
    shim.signal(Signal::KILL);
    wait_for("the shim's end", || (!shim.is_alive()).then_some(()));
    command.signal(Signal::KILL);
    wait_for("the command's end", || (!command.is_alive()).then_some(()));
    assert!(is_alive(child));
    kill(&job.directory()).unwrap();
    wait_for("the child's end", || (!is_alive(child)).then_some(()));
}

#[test]
fn a_process_with_the_same_number_gets_no_signal() {
    let job = Job::started("true");
    job.exit();
    let bystander = Job::started("echo $$ > self; sleep 600");
    let victim = bystander.pid("self");
    // As if the job had ended without a record and its numbers had gone to the bystander.
    fs::remove_file(job.directory().join("exit.json")).unwrap();
    for file in ["claim", "job.json"] {
        let mut process = job.process(file);
        // Times are told apart by hundredths of a second; a number is not given again so soon.
        process.start_ticks -= 1;
        process.pid = victim.as_raw_pid().cast_unsigned();
        fs::write(job.directory().join(file), serde_json::to_vec(&process).unwrap()).unwrap();
    }
    assert_eq!(job.look(), JobState::Lost);
    stop(&job.directory()).unwrap();
    kill(&job.directory()).unwrap();
    assert!(kill_process(victim, Signal::WINCH).is_ok() && is_alive(victim));
    assert!(matches!(bystander.look(), JobState::Running { .. }));
}

#[test]
fn a_job_stopped_before_its_start_does_not_start() {
    let job = Job::new("echo started > proof");
    fs::create_dir_all(job.directory()).unwrap();
    stop(&job.directory()).unwrap();
    job.start();
    assert!(matches!(job.exit().outcome, Outcome::NotStarted(_)));
    assert!(!job.folder.path().join("proof").exists());
}

#[test]
fn damaged_files_are_errors_and_not_outcomes() {
    let job = Job::started("true");
    job.exit();
    fs::write(job.directory().join("exit.json"), "{").unwrap();
    let error = look(&job.directory()).unwrap_err();
    assert!(error.to_string().contains("exit.json is damaged"), "{error}");
}
