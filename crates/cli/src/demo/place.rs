//! Where the demo happens: a temporary folder with a home for Tidegate and a repository.

use std::{
    collections::BTreeMap,
    env, fs, io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    processes::{self, Process},
    shop::{self, Version},
};

/// So long `tidegate down` may take.
const DOWN: Duration = Duration::from_secs(40);
/// So long processes may take to be gone after it.
const GONE: Duration = Duration::from_secs(5);

/// A temporary folder and everything that runs because of it. Dropping it stops and removes all.
pub(super) struct Place {
    /// None once it is closed or left to the user.
    folder: Option<TempDir>,
    root: PathBuf,
    executable: PathBuf,
    plain: bool,
}

impl Place {
    /// Makes the folder.
    pub(super) fn new(plain: bool) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-demo-").tempdir()?;
        // As processes will see it, without symbolic links.
        let root = folder.path().canonicalize()?;
        Ok(Self { root, executable: env::current_exe()?, folder: Some(folder), plain })
    }

    /// The whole of it.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where Tidegate keeps its data.
    pub(super) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Where the shop's sources are.
    pub(super) fn repository(&self) -> PathBuf {
        self.root.join("shop")
    }

    /// This very `tidegate` with the demo's home, in the demo's repository.
    pub(super) fn tidegate(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .arg("--home")
            .arg(self.home())
            .arg("-C")
            .arg(self.repository())
            .args(arguments)
            .env("TIDEGATE_HOME", self.home())
            .stdin(Stdio::null());
        if self.plain {
            // As in CI: lines instead of a picture that is drawn again and again.
            command.env("CI", "true").env("NO_COLOR", "1");
        }
        without_git_variables(&mut command);
        command
    }

    /// The same command as a user would type it.
    pub(super) fn typed(&self, arguments: &str) -> String {
        let (home, repository) = (self.home(), self.repository());
        format!("tidegate --home {} -C {} {arguments}", home.display(), repository.display())
    }

    /// Makes the repository, with nothing in it.
    pub(super) fn make_repository(&self) -> io::Result<()> {
        fs::create_dir_all(self.repository())?;
        self.git(&["init", "--quiet"])?;
        // Nothing may go on in the background that nobody asked for.
        self.git(&["config", "gc.auto", "0"])?;
        shop::write(&self.repository())
    }

    /// Makes the changes of `version`, commits them and tags the commit.
    pub(super) fn commit(&self, version: &Version) -> io::Result<()> {
        shop::change(&self.repository(), version)?;
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", version.subject])?;
        self.git(&["tag", version.name])
    }

    fn git(&self, arguments: &[&str]) -> io::Result<()> {
        let mut command = Command::new("git");
        without_git_variables(&mut command);
        command
            .current_dir(self.repository())
            .args(arguments)
            // The user's configuration may sign commits or run hooks.
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Tidegate demo")
            .env("GIT_AUTHOR_EMAIL", "demo@example.com")
            .env("GIT_COMMITTER_NAME", "Tidegate demo")
            .env("GIT_COMMITTER_EMAIL", "demo@example.com")
            .stdin(Stdio::null());
        let output = command.output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("`git {}`: {}", arguments.join(" "), said.trim())))
    }

    /// Leaves everything as it is for the user to look at.
    pub(super) fn leave(mut self) {
        if let Some(folder) = self.folder.take() {
            let _ = folder.keep();
        }
    }

    /// Stops all that runs and removes the folder. What did not go as it should is told, and done
    /// all the same.
    pub(super) fn close(mut self) -> Result<(), Vec<String>> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), Vec<String>> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        let mut faults = Vec::new();
        // Without a home nothing was ever started.
        if self.home().exists()
            && let Err(fault) = self.down()
        {
            faults.push(fault);
        }
        faults.extend(self.kill_the_rest());
        if let Err(error) = remove(&self.root) {
            faults.push(format!("{} could not be removed: {error}", self.root.display()));
        }
        drop(folder);
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Kills what runs, and what that starts meanwhile. Tells what it was.
    fn kill_the_rest(&self) -> Vec<String> {
        let mut told = BTreeMap::new();
        let deadline = Instant::now() + GONE;
        loop {
            let left = processes::below(&self.root);
            if left.is_empty() || Instant::now() >= deadline {
                return told.into_values().collect();
            }
            for Process { id, command } in left {
                kill(id);
                told.entry(id).or_insert(format!("still ran and was killed: {command} ({id})"));
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn down(&self) -> Result<(), String> {
        let mut command = self.tidegate(&["down"]);
        // A second Ctrl-C is for the demo, which goes on clearing up.
        command.process_group(0);
        let output = output_within(command, DOWN);
        wait_until_gone(&self.root);
        match output {
            Ok(Some(output)) if output.status.success() => Ok(()),
            // With nothing left it found nothing to stop.
            _ if processes::below(&self.root).is_empty() => Ok(()),
            Ok(Some(output)) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("`tidegate down` failed: {}", said.trim()))
            }
            Ok(None) => Err(format!("`tidegate down` did not end in {} s", DOWN.as_secs())),
            Err(error) => Err(format!("`tidegate down` could not be run: {error}")),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.clear();
    }
}

/// A demo that is run from a hook must not commit to the hook's repository.
fn without_git_variables(command: &mut Command) {
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(name);
    }
}

/// What a command said, or nothing when it did not end in time.
fn output_within(mut command: Command, time: Duration) -> io::Result<Option<Output>> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + time;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(Duration::from_millis(20));
    }
    child.wait_with_output().map(Some)
}

fn wait_until_gone(root: &Path) {
    let deadline = Instant::now() + GONE;
    while !processes::below(root).is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(20));
    }
}

fn kill(id: u32) {
    let id = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        // One that ended in between is what is wanted.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
}

/// Removes a folder, also when folders in it may not be written to.
fn remove(folder: &Path) -> io::Result<()> {
    fn open_up(folder: &Path) -> io::Result<()> {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open_up(&entry.path())?;
            }
        }
        Ok(())
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            fs::remove_dir_all(folder)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_a_tagged_commit_and_nothing_stays() {
        let place = Place::new(true).expect("there is room for a folder");
        place.make_repository().expect("git is there");
        for version in [&shop::V1, &shop::V2, &shop::V3] {
            place.commit(version).expect("the changes fit");
        }
        let log = Command::new("git")
            .current_dir(place.repository())
            .args(["log", "--format=%an %D %s", "--decorate-refs=refs/tags"])
            .output()
            .expect("git is there");
        assert_eq!(
            String::from_utf8_lossy(&log.stdout),
            "Tidegate demo tag: v3 Give loyal customers a discount\n\
             Tidegate demo tag: v2 Sell tide clocks\n\
             Tidegate demo tag: v1 Open the shop\n"
        );
        let root = place.root.clone();
        assert_eq!(place.close(), Ok(()));
        assert!(!root.exists());
    }

    #[test]
    fn what_still_runs_is_told_and_killed() {
        let place = Place::new(true).expect("there is room for a folder");
        let mut child = Command::new("sleep")
            .arg("600")
            .current_dir(&place.root)
            .spawn()
            .expect("`sleep` is there");
        // A process has a name only some time after it was started.
        let deadline = Instant::now() + GONE;
        while !processes::below(&place.root).iter().any(|found| found.command == "sleep 600") {
            assert!(Instant::now() < deadline, "it was not found");
            std::thread::yield_now();
        }
        let waiter = std::thread::spawn(move || child.wait());
        let faults = place.close().expect_err("something ran");
        assert!(faults[0].contains("sleep 600"), "{faults:?}");
        let status = waiter.join().expect("nobody panicked").expect("it was waited for");
        assert!(!status.success());
    }

    #[test]
    fn folders_that_may_not_be_written_to_are_removed() {
        let place = Place::new(true).expect("there is room for a folder");
        let folder = place.root.join("artifact");
        fs::create_dir(&folder).expect("it can be made");
        fs::write(folder.join("file"), "text").expect("it can be written");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).expect("it is ours");
        let root = place.root.clone();
        assert_eq!(place.close(), Ok(()));
        assert!(!root.exists());
    }
}
