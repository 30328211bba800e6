//! What a repository says, and what it says when it cannot.

use std::path::Path;

use tidegate_release::{GitError, git};
use tidegate_types::Timestamp;

use crate::support::{self, Repository, runtime};

fn resolve(path: &Path, reference: &str) -> Result<git::Commit, GitError> {
    runtime().block_on(git::resolve(path, reference))
}

#[test]
fn a_commit_is_described_and_called_by_its_best_tag() {
    let repository = Repository::with(&[("a", "1")]);
    let hash = repository.git(&["rev-parse", "HEAD"]);
    let commit = resolve(repository.path(), "HEAD").expect("it exists");
    assert_eq!(commit.hash, hash);
    assert_eq!(commit.version, hash[..7]);
    assert_eq!(commit.subject, "First");
    assert_eq!(commit.author, "Ana <ana@example.org>");
    assert_eq!(commit.committed_at, Timestamp::from_millis(1_700_000_000_000));
    assert!(!commit.dirty);

    repository.git(&["tag", "v1.9.0"]);
    repository.git(&["tag", "-a", "-m", "annotated", "v1.10.0"]);
    for reference in ["HEAD", "main", "v1.9.0", "v1.10.0", &hash, &hash[..9]] {
        let commit = resolve(repository.path(), reference).expect("it exists");
        assert_eq!((commit.hash.as_str(), commit.version.as_str()), (hash.as_str(), "v1.10.0"));
    }
}

#[test]
fn what_does_not_exist_is_said_with_what_is_near() {
    let repository = Repository::with(&[("a", "1")]);
    repository.git(&["tag", "v1.2.0"]);
    repository.git(&["branch", "feature/login"]);
    for (asked, near) in [("v1.2.1", "v1.2.0"), ("mian", "main"), ("login", "feature/login")] {
        let error = resolve(repository.path(), asked).expect_err("it does not exist");
        let GitError::UnknownReference { suggestions, .. } = &error else {
            panic!("{asked}: {error}");
        };
        assert_eq!(suggestions.first().map(String::as_str), Some(near), "{error}");
        assert!(error.to_string().contains("did you mean"), "{error}");
    }
    let absent = "0123456789012345678901234567890123456789";
    for asked in [absent, "--help", "", "a b", "HEAD~7", "\n"] {
        let error = resolve(repository.path(), asked).expect_err("it does not exist");
        assert!(matches!(error, GitError::UnknownReference { .. }), "{asked}: {error}");
    }
}

#[test]
fn no_repository_no_commit_and_no_folder_are_three_things() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = resolve(folder.path(), "HEAD").expect_err("no repository");
    assert!(matches!(error, GitError::NotARepository { .. }), "{error}");
    let error = resolve(folder.path(), "").expect_err("no repository");
    assert!(matches!(error, GitError::NotARepository { .. }), "{error}");
    let error = resolve(&folder.path().join("absent"), "HEAD").expect_err("no folder");
    assert!(matches!(error, GitError::NoSuchDirectory { .. }), "{error}");
    let empty = Repository::empty();
    let error = resolve(empty.path(), "HEAD").expect_err("no commit");
    assert!(matches!(error, GitError::NoCommits { .. }), "{error}");
}

#[test]
fn a_name_of_two_different_commits_is_refused() {
    let repository = Repository::with(&[("a", "1")]);
    repository.git(&["tag", "next"]);
    repository.git(&["branch", "next"]);
    resolve(repository.path(), "next").expect("both are the same commit");
    repository.commit("Second");
    repository.git(&["branch", "--force", "next", "HEAD"]);
    let error = resolve(repository.path(), "next").expect_err("it is ambiguous");
    let GitError::Ambiguous { candidates, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(candidates.len(), 2, "{error}");
}

#[test]
fn a_tag_of_a_file_is_no_commit() {
    let repository = Repository::with(&[("a", "1")]);
    let blob = repository.git(&["rev-parse", "HEAD:a"]);
    repository.git(&["tag", "file", &blob]);
    let error = resolve(repository.path(), "file").expect_err("it is a file");
    assert!(matches!(&error, GitError::NotACommit { kind, .. } if kind == "file"), "{error}");
}

#[test]
fn a_shallow_clone_says_that_it_is_shallow() {
    let repository = Repository::with(&[("a", "1")]);
    let first = repository.git(&["rev-parse", "HEAD"]);
    repository.commit("Second");
    let folder = tempfile::tempdir().expect("a folder");
    let clone = folder.path().join("clone");
    let url = format!("file://{}", repository.path().display());
    support::git(folder.path(), &["clone", "--quiet", "--depth=1", &url, "clone"]);
    resolve(&clone, "HEAD").expect("the tip is there");
    for asked in [first.as_str(), &first[..8], "HEAD~1"] {
        let error = resolve(&clone, asked).expect_err("it is not there");
        assert!(matches!(error, GitError::NotInShallowClone { .. }), "{asked}: {error}");
        assert!(error.to_string().contains("git fetch --unshallow"), "{error}");
    }
}

#[test]
fn files_of_a_commit_are_read_as_committed() {
    let repository = Repository::with(&[("tidegate.yaml", "version: 1\n"), ("apps/x", "x")]);
    let hash = repository.git(&["rev-parse", "HEAD"]);
    repository.write("tidegate.yaml", "changed");
    let runtime = runtime();
    let file = |path: &str| runtime.block_on(git::file_at(repository.path(), &hash, path));
    assert_eq!(file("tidegate.yaml"), Ok(Some("version: 1\n".to_owned())));
    assert_eq!(file("absent.yaml"), Ok(None));
    assert!(matches!(file("apps"), Err(GitError::NotAFile { .. })));
}

#[test]
fn a_file_is_read_from_a_folder_below_the_root_too() {
    let repository = Repository::with(&[("tidegate.yaml", "version: 1\n"), ("apps/x", "x")]);
    let below = repository.path().join("apps");
    let runtime = runtime();
    assert_eq!(
        runtime.block_on(git::file_at(&below, "HEAD", "tidegate.yaml")),
        Ok(Some("version: 1\n".to_owned()))
    );
    let root = runtime.block_on(git::root_of(&below)).expect("it is in a repository");
    assert_eq!(root.canonicalize().ok(), repository.path().canonicalize().ok());
}

#[test]
fn large_and_binary_files_and_links_are_not_read() {
    let repository = Repository::empty();
    let large = "x".repeat(usize::try_from(git::FILE_LIMIT).expect("it is small") + 1);
    repository.write("large", &large);
    std::fs::write(repository.path().join("binary"), [0xff, 0xfe]).expect("a file");
    std::os::unix::fs::symlink("large", repository.path().join("link")).expect("a link");
    repository.commit("First");
    for path in ["large", "binary", "link"] {
        let error = runtime()
            .block_on(git::file_at(repository.path(), "HEAD", path))
            .expect_err("it is not read");
        assert!(matches!(error, GitError::NotAFile { .. }), "{path}: {error}");
    }
}

#[test]
fn a_snapshot_takes_changes_and_new_files_and_changes_nothing() {
    let repository = Repository::with(&[("a", "1"), ("gone", "1"), (".gitignore", "ignored\n")]);
    let head = repository.git(&["rev-parse", "HEAD"]);
    let runtime = runtime();
    let snapshot = || runtime.block_on(git::snapshot(repository.path())).expect("a snapshot");
    assert_eq!(snapshot().hash, head, "a clean work tree is its commit");

    repository.write("staged", "1");
    repository.git(&["add", "staged"]);
    repository.write("a", "2");
    repository.write("new/file", "1");
    repository.write("ignored", "1");
    std::fs::remove_file(repository.path().join("gone")).expect("it was there");
    let index = repository.path().join(".git/index");
    let state = || {
        (
            repository.git(&["status", "--porcelain", "--untracked-files=all"]),
            repository.git(&["diff", "--cached"]),
            repository.git(&["for-each-ref"]),
        )
    };
    let before = state();
    let bytes = std::fs::read(&index).expect("there is an index");
    let commit = snapshot();
    assert_eq!(std::fs::read(&index).expect("there is an index"), bytes);
    assert_eq!(state(), before);
    assert!(commit.dirty);
    assert_eq!(commit.version, format!("{}-dirty", &head[..7]));
    assert_eq!(
        repository.git(&["ls-tree", "-r", "--name-only", &commit.hash]),
        ".gitignore\na\nnew/file\nstaged"
    );
    assert_eq!(repository.git(&["show", &format!("{}:a", commit.hash)]), "2");
    assert_eq!(snapshot().hash, commit.hash, "the same files are the same commit");
    let count = runtime.block_on(git::changed_files(repository.path()));
    assert_eq!(count, Ok(4), "a, gone, new/file and staged");
}

#[test]
fn a_snapshot_needs_no_commit() {
    let repository = Repository::empty();
    repository.write("a", "1");
    let commit = runtime().block_on(git::snapshot(repository.path())).expect("a snapshot");
    assert!(commit.dirty && commit.version.ends_with("-dirty"), "{commit:?}");
}
