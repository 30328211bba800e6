//! Clean checkouts.

use std::path::Path;

use tidegate_release::{
    GitError,
    checkout::{CheckoutError, checkout},
    git,
};

use crate::support::{self, Repository, make_executable, read, runtime};

fn check_out(repository: &Path, commit: &str, to: &Path) -> Result<(), CheckoutError> {
    runtime().block_on(checkout(repository, commit, to))
}

#[test]
fn a_checkout_is_the_commit_and_nothing_else() {
    let repository = Repository::with(&[
        ("a", "1"),
        (".gitattributes", "secret export-ignore\n"),
        ("secret", "s"),
    ]);
    let script = repository.write("run", "#!/bin/sh\n");
    make_executable(&script);
    let hash = repository.commit("Second");
    repository.git(&["tag", "v1.0.0"]);
    repository.write("a", "changed");
    repository.write("new", "1");
    let before = repository.git(&["status", "--porcelain"]);
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("source");
    check_out(repository.path(), &hash, &to).expect("a checkout");
    assert_eq!(read(to.join("a")), "1");
    assert_eq!(read(to.join("secret")), "s");
    assert!(!to.join("new").exists());
    assert_eq!(support::git(&to, &["status", "--porcelain"]), "");
    assert_eq!(support::git(&to, &["describe", "--tags"]), "v1.0.0");
    assert_eq!(repository.git(&["status", "--porcelain"]), before);
    assert_eq!(repository.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn a_snapshot_can_be_checked_out() {
    let repository = Repository::with(&[("a", "1")]);
    repository.write("a", "2");
    repository.write("new", "1");
    let commit = runtime().block_on(git::snapshot(repository.path())).expect("a snapshot");
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("source");
    check_out(repository.path(), &commit.hash, &to).expect("a checkout");
    assert_eq!((read(to.join("a")), read(to.join("new"))), ("2".into(), "1".into()));
}

#[test]
fn a_shallow_clone_can_be_checked_out() {
    let repository = Repository::with(&[("a", "1")]);
    repository.write("a", "2");
    let hash = repository.commit("Second");
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", repository.path().display());
    support::git(folder.path(), &["clone", "--quiet", "--depth=1", &url, "clone"]);
    let to = folder.path().join("source");
    check_out(&folder.path().join("clone"), &hash, &to).expect("a checkout");
    assert_eq!(read(to.join("a")), "2");
    assert_eq!(support::git(&to, &["log", "--format=%s"]), "Second");
}

#[test]
fn submodules_come_from_the_local_clone_or_are_named() {
    let library = Repository::with(&[("lib", "1")]);
    let repository = Repository::with(&[("a", "1")]);
    let url = library.path().display().to_string();
    repository.git(&["submodule", "--quiet", "add", &url, "libs/one"]);
    let hash = repository.commit("With a submodule");
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("source");
    check_out(repository.path(), &hash, &to).expect("a checkout");
    assert_eq!(read(to.join("libs/one/lib")), "1");

    let url = repository.path().display().to_string();
    support::git(folder.path(), &["clone", "--quiet", &url, "clone"]);
    let to = folder.path().join("other");
    let error = check_out(&folder.path().join("clone"), &hash, &to).expect_err("it is not there");
    assert!(
        matches!(&error, CheckoutError::Submodule { path, .. } if path == "libs/one"),
        "{error}"
    );
    assert!(error.to_string().contains("git -C"), "{error}");
}

#[test]
fn a_pointer_of_large_file_storage_is_not_taken_for_the_file() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let repository = Repository::with(&[("logo.png", pointer)]);
    repository.write(".gitattributes", "*.png filter=lfs\n");
    // Written around a filter that the machine may have.
    repository.git(&["-c", "filter.lfs.clean=cat", "-c", "filter.lfs.process=", "add", "-A"]);
    repository.git(&["-c", "filter.lfs.process=", "commit", "--quiet", "-m", "Second"]);
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("source");
    let error = check_out(repository.path(), &repository.git(&["rev-parse", "HEAD"]), &to)
        .expect_err("the file itself is not there");
    assert!(error.to_string().to_lowercase().contains("lfs"), "{error}");
}

#[test]
fn an_unknown_commit_is_an_error() {
    let repository = Repository::with(&[("a", "1")]);
    let folder = tempfile::tempdir().expect("a folder");
    let absent = "0123456789012345678901234567890123456789";
    let error = check_out(repository.path(), absent, &folder.path().join("source"))
        .expect_err("it does not exist");
    assert!(matches!(error, CheckoutError::Git(GitError::UnknownReference { .. })), "{error}");
}

#[test]
fn a_partial_clone_says_how_to_get_its_files() {
    let repository = Repository::with(&[("a", "1")]);
    repository.git(&["config", "uploadpack.allowFilter", "true"]);
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", repository.path().display());
    support::git(
        folder.path(),
        &["clone", "--quiet", "--no-checkout", "--filter=blob:none", &url, "clone"],
    );
    let clone = folder.path().join("clone");
    let hash = repository.git(&["rev-parse", "HEAD"]);
    let error =
        check_out(&clone, &hash, &folder.path().join("one")).expect_err("files are missing");
    assert!(matches!(error, CheckoutError::MissingObjects { .. }), "{error}");
    // What the message says to do.
    support::git(&clone, &["archive", "--output=../archive", &hash]);
    check_out(&clone, &hash, &folder.path().join("two")).expect("nothing is missing");
}
