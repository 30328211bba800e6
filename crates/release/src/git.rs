//! What a git repository knows.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_types::Timestamp;

use crate::{
    run::{CHECKOUT, Call},
    suggest,
};

/// A commit that a release can be built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The full hash.
    pub hash: String,
    /// What people call it: a tag that points at it, or the short hash; `-dirty` at the end for a
    /// snapshot of a work tree.
    pub version: String,
    /// First line of its message.
    pub subject: String,
    /// Who wrote it: `Ana <ana@example.org>`.
    pub author: String,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Whether it is a snapshot of an uncommitted work tree.
    pub dirty: bool,
}

/// Why git did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// There is no git.
    #[error("git is not installed, or not in PATH: install git")]
    Missing,
    /// There is no such folder.
    #[error("{directory} is not a folder", directory = directory.display())]
    NoSuchDirectory {
        /// The folder.
        directory: PathBuf,
    },
    /// The folder is in no repository.
    #[error(
        "{directory} is not in a git repository: `git init` makes one, and Tidegate deploys what is committed",
        directory = directory.display()
    )]
    NotARepository {
        /// The folder.
        directory: PathBuf,
    },
    /// Git does not trust the repository, because it belongs to somebody else.
    #[error(
        "{directory} belongs to another user, so git refuses it: `git config --global --add safe.directory {directory}` trusts it",
        directory = directory.display()
    )]
    NotTrusted {
        /// The folder.
        directory: PathBuf,
    },
    /// The repository has no files of its own, so a work tree cannot be looked at.
    #[error("{directory} is a bare repository, which has no work tree", directory = directory.display())]
    Bare {
        /// The repository.
        directory: PathBuf,
    },
    /// Nothing was committed yet.
    #[error(
        "{directory} has no commits yet: commit first (`git add -A && git commit`)",
        directory = directory.display()
    )]
    NoCommits {
        /// The repository.
        directory: PathBuf,
    },
    /// Nothing is called so.
    #[error(
        "there is no commit, branch or tag `{reference}` in {repository}{hint}",
        repository = repository.display(),
        hint = suggest::sentence(suggestions, *shallow)
    )]
    UnknownReference {
        /// What was asked for.
        reference: String,
        /// Where.
        repository: PathBuf,
        /// Branches and tags with a similar name.
        suggestions: Vec<String>,
        /// Whether the repository holds a part of its history only.
        shallow: bool,
    },
    /// The commit may exist, but not in this clone.
    #[error(
        "the clone {repository} is shallow and does not hold `{reference}`: `git fetch --unshallow` brings the rest of its history",
        repository = repository.display()
    )]
    NotInShallowClone {
        /// What was asked for.
        reference: String,
        /// Where.
        repository: PathBuf,
    },
    /// Several things are called so.
    #[error("`{reference}` is ambiguous: it may be {}", candidates.join(" or "))]
    Ambiguous {
        /// What was asked for.
        reference: String,
        /// What it may be.
        candidates: Vec<String>,
    },
    /// A tag may point at a file or folder.
    #[error("`{reference}` is a {kind}, not a commit")]
    NotACommit {
        /// What was asked for.
        reference: String,
        /// What it is.
        kind: String,
    },
    /// A path in a commit is not a file that can be read as text.
    #[error("{path} in {commit} {reason}")]
    NotAFile {
        /// The path.
        path: String,
        /// The commit.
        commit: String,
        /// What it is.
        reason: String,
    },
    /// Git took too long.
    #[error("`{command}` did not end within {seconds} seconds and was killed")]
    TimedOut {
        /// What was run.
        command: String,
        /// For how long.
        seconds: u64,
    },
    /// Git failed for a reason of its own.
    #[error("`{command}` failed: {message}")]
    Failed {
        /// What was run.
        command: String,
        /// What it said.
        message: String,
    },
}

/// The largest file that [`file_at`] reads.
pub const FILE_LIMIT: u64 = 1 << 20;

/// The top folder of the work tree that `directory` is in.
pub async fn root_of(directory: &Path) -> Result<PathBuf, GitError> {
    let answer = Call::new(directory, ["rev-parse", "--show-toplevel"]).answer().await?;
    if !answer.success {
        return Err(if answer.message.contains("work tree") {
            GitError::Bare { directory: directory.to_owned() }
        } else {
            GitError::Failed {
                command: "git rev-parse --show-toplevel".to_owned(),
                message: answer.message,
            }
        });
    }
    Ok(path_from(&answer.output))
}

/// The commit that `reference` (a hash, a branch, a tag, `HEAD~1`) means.
pub async fn resolve(repository: &Path, reference: &str) -> Result<Commit, GitError> {
    let hash = hash_of(repository, reference).await?;
    describe(repository, &hash).await
}

/// The text of a file as it is in a commit; nothing when the commit has no such file.
pub async fn file_at(
    repository: &Path,
    commit: &str,
    path: &str,
) -> Result<Option<String>, GitError> {
    let listed =
        Call::new(repository, ["ls-tree", "-z", "--long", "--full-tree", commit, "--", path])
            .output()
            .await?;
    let listed = String::from_utf8_lossy(&listed);
    // `mode type object size`, a tab, the path.
    let Some((facts, _)) = listed.split_once('\t') else {
        return Ok(None);
    };
    let facts: Vec<_> = facts.split_ascii_whitespace().collect();
    let not_a_file = |reason: String| GitError::NotAFile {
        path: path.to_owned(),
        commit: commit.to_owned(),
        reason,
    };
    let [mode, kind, object, size] = facts[..] else {
        return Err(not_a_file("cannot be told from git's answer".to_owned()));
    };
    if kind == "tree" {
        return Err(not_a_file("is a folder".to_owned()));
    }
    if mode == "120000" || kind != "blob" {
        return Err(not_a_file("is a link, not a file".to_owned()));
    }
    if size.parse().is_ok_and(|size: u64| size > FILE_LIMIT) {
        return Err(not_a_file(format!(
            "has {size} bytes, more than the {FILE_LIMIT} that are read"
        )));
    }
    let bytes = Call::new(repository, ["cat-file", "blob", object]).output().await?;
    String::from_utf8(bytes).map(Some).map_err(|_| not_a_file("is not UTF-8 text".to_owned()))
}

/// How many files differ from `HEAD` or are new: 0 when the work tree is clean.
pub async fn changed_files(repository: &Path) -> Result<usize, GitError> {
    let root = root_of(repository).await?;
    let output = Call::new(
        &root,
        ["status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames"],
    )
    .output()
    .await?;
    Ok(output.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()).count())
}

/// A commit of the work tree as it is now: all changes and all new files that are not ignored.
///
/// Neither the work tree nor the index nor any branch changes; what is added to the repository are
/// loose objects, which git collects by itself in time. The same files give the same commit. A
/// clean work tree gives `HEAD`. Of a submodule, its checked-out commit is taken.
pub async fn snapshot(repository: &Path) -> Result<Commit, GitError> {
    let root = root_of(repository).await?;
    let head = match resolve(&root, "HEAD").await {
        Ok(head) => Some(head),
        Err(GitError::NoCommits { .. }) => None,
        Err(error) => return Err(error),
    };
    let tree = tree_of_work_tree(&root).await?;
    let mut arguments = vec!["commit-tree".to_owned(), tree.clone(), "-m".to_owned()];
    let (version, subject, seconds) = match &head {
        Some(head) => {
            let committed =
                Call::new(&root, ["rev-parse", &format!("{}^{{tree}}", head.hash)]).text().await?;
            if committed == tree {
                return Ok(head.clone());
            }
            (
                format!("{}-dirty", head.version),
                format!("Uncommitted work after: {}", head.subject),
                head.committed_at.as_millis() / 1_000,
            )
        }
        // Build tools that write zip files refuse dates before 1980.
        None => (
            format!("{}-dirty", &tree[..7.min(tree.len())]),
            "Uncommitted work".to_owned(),
            946_684_800,
        ),
    };
    arguments.push(subject);
    if let Some(head) = &head {
        arguments.extend(["-p".to_owned(), head.hash.clone()]);
    }
    let mut call = Call::new(&root, arguments);
    let date = format!("{seconds} +0000");
    for (name, value) in [
        ("GIT_AUTHOR_NAME", "Tidegate"),
        ("GIT_AUTHOR_EMAIL", "tidegate@localhost"),
        ("GIT_AUTHOR_DATE", date.as_str()),
        ("GIT_COMMITTER_NAME", "Tidegate"),
        ("GIT_COMMITTER_EMAIL", "tidegate@localhost"),
        ("GIT_COMMITTER_DATE", date.as_str()),
    ] {
        call = call.variable(name, value);
    }
    let hash = call.text().await?;
    Ok(Commit { version, dirty: true, ..describe(&root, &hash).await? })
}

/// Adds the work tree to a copy of the index and writes it as a tree.
async fn tree_of_work_tree(root: &Path) -> Result<String, GitError> {
    let index = git_path(root, "index").await?;
    let failed = |error: std::io::Error| GitError::Failed {
        command: "git add -A".to_owned(),
        message: format!("the index could not be copied: {error}"),
    };
    let copy = tempfile::tempdir().map_err(failed)?;
    let copied_index = copy.path().join("index");
    // Starting from the user's index keeps what it knows about unchanged files, and which files a
    // sparse checkout leaves out.
    match std::fs::copy(&index, &copied_index) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    Call::new(root, ["add", "-A"])
        .variable("GIT_INDEX_FILE", &copied_index)
        .deadline(CHECKOUT)
        .output()
        .await?;
    Call::new(root, ["write-tree"])
        .variable("GIT_INDEX_FILE", &copied_index)
        .deadline(CHECKOUT)
        .text()
        .await
}

/// Where git keeps `name`, for instance its `index` or `objects`.
pub(crate) async fn git_path(repository: &Path, name: &str) -> Result<PathBuf, GitError> {
    let output = Call::new(repository, ["rev-parse", "--git-path", name]).output().await?;
    // Relative answers are relative to where git ran.
    Ok(repository.join(path_from(&output)))
}

pub(crate) async fn is_shallow(repository: &Path) -> Result<bool, GitError> {
    let answer = Call::new(repository, ["rev-parse", "--is-shallow-repository"]).text().await?;
    Ok(answer == "true")
}

pub(crate) async fn hash_of(repository: &Path, reference: &str) -> Result<String, GitError> {
    // Nothing in git is called so, and git would take it for an option.
    let nameable = !reference.is_empty()
        && !reference.starts_with('-')
        && !reference.contains(|character: char| character.is_control());
    if nameable {
        let asked = format!("{reference}^{{commit}}");
        let answer = Call::new(repository, ["rev-parse", "--verify", &asked]).answer().await?;
        let hash = String::from_utf8_lossy(&answer.output).trim().to_owned();
        if answer.success {
            if answer.message.contains("is ambiguous") {
                refuse_ambiguous(repository, reference, &hash).await?;
            }
            return Ok(hash);
        }
        if answer.message.contains("is ambiguous") {
            return Err(ambiguous_hash(reference, &answer.message));
        }
        let kind = Call::new(repository, ["cat-file", "-t", reference]).answer().await?;
        let kind_name = String::from_utf8_lossy(&kind.output).trim().to_owned();
        if kind.success && kind_name != "commit" && kind_name != "tag" {
            return Err(GitError::NotACommit {
                reference: reference.to_owned(),
                kind: match kind_name.as_str() {
                    "tree" => "folder".to_owned(),
                    "blob" => "file".to_owned(),
                    _ => kind_name,
                },
            });
        }
    } else {
        // Whether this is a repository at all is the first thing to say.
        git_path(repository, "HEAD").await?;
    }
    Err(unknown_reference(repository, reference).await?)
}

async fn unknown_reference(repository: &Path, reference: &str) -> Result<GitError, GitError> {
    let names = Call::new(
        repository,
        ["for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags", "refs/remotes"],
    )
    .text()
    .await?;
    let has_head =
        Call::new(repository, ["rev-parse", "--verify", "--quiet", "HEAD"]).answer().await?.success;
    if !has_head && names.is_empty() {
        return Ok(GitError::NoCommits { directory: repository.to_owned() });
    }
    let shallow = is_shallow(repository).await?;
    let hexadecimal = (4..=64).contains(&reference.len())
        && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
    if shallow && (hexadecimal || reference.contains(['~', '^'])) {
        return Ok(GitError::NotInShallowClone {
            reference: reference.to_owned(),
            repository: repository.to_owned(),
        });
    }
    Ok(GitError::UnknownReference {
        reference: reference.to_owned(),
        repository: repository.to_owned(),
        suggestions: suggest::near(reference, names.lines()),
        shallow,
    })
}

/// A branch and a tag of the same name are no matter while they point at the same commit.
async fn refuse_ambiguous(repository: &Path, reference: &str, taken: &str) -> Result<(), GitError> {
    let mut candidates = Vec::new();
    let mut differ = false;
    for (folder, kind) in [
        ("refs/tags", "the tag"),
        ("refs/heads", "the branch"),
        ("refs/remotes", "the remote branch"),
    ] {
        let name = format!("{folder}/{reference}");
        let asked = format!("{name}^{{commit}}");
        let answer =
            Call::new(repository, ["rev-parse", "--verify", "--quiet", &asked]).answer().await?;
        if answer.success {
            differ |= String::from_utf8_lossy(&answer.output).trim() != taken;
            candidates.push(format!("{kind} `{name}`"));
        }
    }
    // A branch may be called as a short hash is written; git takes the branch.
    if differ && candidates.len() > 1 {
        return Err(GitError::Ambiguous { reference: reference.to_owned(), candidates });
    }
    Ok(())
}

/// Git lists what a short hash may mean: `hint:   9f3c2ab commit 2026-01-01 - Subject`.
fn ambiguous_hash(reference: &str, message: &str) -> GitError {
    let candidates: Vec<_> = message
        .lines()
        .filter_map(|line| line.strip_prefix("hint:"))
        .map(str::trim)
        .filter(|line| line.contains(" commit ") || line.contains(" tag "))
        .map(|line| format!("`{line}`"))
        .take(5)
        .collect();
    GitError::Ambiguous {
        reference: reference.to_owned(),
        candidates: if candidates.is_empty() {
            vec!["one of several commits; write more of its digits".to_owned()]
        } else {
            candidates
        },
    }
}

async fn describe(repository: &Path, hash: &str) -> Result<Commit, GitError> {
    let format = "--format=%H%x00%an <%ae>%x00%ct%x00%h%x00%s";
    let text = Call::new(
        repository,
        ["log", "-1", "--no-show-signature", "--abbrev=7", format, hash, "--"],
    )
    .text()
    .await?;
    let parts: Vec<_> = text.splitn(5, '\0').collect();
    let [hash, author, seconds, short, subject] = parts[..] else {
        return Err(GitError::Failed {
            command: format!("git log -1 {hash}"),
            message: format!("it answered `{text}`"),
        });
    };
    let tags = Call::new(
        repository,
        [
            "for-each-ref",
            "--format=%(refname:strip=2)",
            "--sort=version:refname",
            &format!("--points-at={hash}"),
            "refs/tags",
        ],
    )
    .text()
    .await?;
    Ok(Commit {
        hash: hash.to_owned(),
        version: suggest::best_tag(tags.lines()).unwrap_or(short).to_owned(),
        subject: subject.to_owned(),
        author: author.to_owned(),
        committed_at: Timestamp::from_millis(seconds.parse::<i64>().unwrap_or(0) * 1_000),
        dirty: false,
    })
}

/// One path as git printed it: bytes, and a newline at the end.
fn path_from(output: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = output.strip_suffix(b"\n").unwrap_or(output);
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}
