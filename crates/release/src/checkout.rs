//! A clean checkout of one commit.
//!
//! The folder becomes a small repository of its own that borrows the objects of the user's
//! repository (git calls that alternates). So the user's repository is only read, shallow clones
//! and dirty snapshots work because no history is walked, filters such as Large File Storage run as
//! they do for the user, and a build that asks git for its version finds the commit and the tags.
//! `git archive` would leave out what `export-ignore` names, and a work tree of the user's
//! repository would leave traces in it.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::{
    git::{self, GitError},
    run::{CHECKOUT, Call},
};

/// Why a commit could not be checked out.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file or folder could not be read or written.
    #[error("could not {operation} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A submodule is not there, or not at the commit that is needed.
    #[error(
        "the submodule {path} is not available at commit {commit}: `git -C {repository} submodule update --init --recursive` brings it (Tidegate takes submodules from the local clone only)",
        repository = repository.display()
    )]
    Submodule {
        /// Its path in the repository.
        path: String,
        /// The commit that is needed of it.
        commit: String,
        /// The repository it belongs to.
        repository: PathBuf,
    },
    /// Files of Git LFS came out as pointers.
    #[error(
        "{path} is a pointer of Git LFS, not the file itself: install git-lfs, then `git lfs install` and `git -C {repository} lfs pull`",
        repository = repository.display()
    )]
    LargeFile {
        /// One of the files.
        path: String,
        /// The repository.
        repository: PathBuf,
    },
    /// Objects of the commit are missing, as in a partial clone.
    #[error(
        "{repository} does not hold all files of {commit} (a partial clone?): `git -C {repository} archive {commit} > /dev/null` brings them. Git said: {message}",
        repository = repository.display()
    )]
    MissingObjects {
        /// The repository.
        repository: PathBuf,
        /// The commit.
        commit: String,
        /// Git's own words.
        message: String,
    },
}

fn file_error(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> CheckoutError {
    let path = path.to_owned();
    move |source| CheckoutError::File { operation, path, source }
}

/// Makes `destination`, which must not exist yet, a clean checkout of `commit`.
///
/// Submodules come from the user's own checkout of them, at the commit that is needed. What is
/// ignored, changed or new in the work tree is not there.
pub async fn checkout(
    repository: &Path,
    commit: &str,
    destination: &Path,
) -> Result<(), CheckoutError> {
    // A commit that is not there is told apart from one whose files are not.
    git::hash_of(repository, commit).await?;
    fs::create_dir_all(destination).map_err(file_error("make", destination))?;
    borrow_objects(repository, destination).await?;
    let checked_out = Call::new(
        destination,
        [
            // The same commit is the same bytes, whatever the user's settings are.
            "-c",
            "core.autocrlf=false",
            "-c",
            "core.symlinks=true",
            "checkout",
            "--quiet",
            "--force",
            "--detach",
            commit,
        ],
    )
    .deadline(CHECKOUT)
    .output()
    .await;
    match checked_out {
        Err(GitError::Failed { message, .. })
            if message.contains("unable to read") || message.contains("missing blob") =>
        {
            return Err(CheckoutError::MissingObjects {
                repository: repository.to_owned(),
                commit: commit.to_owned(),
                message,
            });
        }
        outcome => outcome?,
    };
    refuse_pointers(repository, destination).await?;
    for (path, commit) in submodules(destination).await? {
        check_out_submodule(repository, destination, path, commit).await?;
    }
    Ok(())
}

async fn borrow_objects(repository: &Path, destination: &Path) -> Result<(), CheckoutError> {
    let format = Call::new(repository, ["rev-parse", "--show-object-format"]).text().await?;
    let objects = absolute(&git::git_path(repository, "objects").await?)?;
    let shallow = git::git_path(repository, "shallow").await?;
    let tags =
        Call::new(repository, ["for-each-ref", "--format=%(objectname) %(refname)", "refs/tags"])
            .output()
            .await?;
    Call::new(
        destination,
        ["init", "--quiet", "--template=", &format!("--object-format={format}")],
    )
    .output()
    .await?;
    let own = destination.join(".git");
    let write = |name: &str, bytes: &[u8]| {
        let path = own.join(name);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(file_error("write", &path))
    };
    let mut borrowed = objects.into_os_string().into_encoded_bytes();
    borrowed.push(b'\n');
    write("objects/info/alternates", &borrowed)?;
    write("packed-refs", &tags)?;
    match fs::read(&shallow) {
        Ok(boundary) => write("shallow", &boundary),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_error("read", &shallow)(error)),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, CheckoutError> {
    path.canonicalize().map_err(file_error("find", path))
}

/// The path and commit of each submodule.
async fn submodules(checkout: &Path) -> Result<Vec<(String, String)>, GitError> {
    let entries = Call::new(checkout, ["ls-files", "--stage", "-z"]).output().await?;
    Ok(entries
        .split(|byte| *byte == 0)
        .filter(|entry| entry.starts_with(b"160000 "))
        .filter_map(|entry| {
            // `mode object stage`, a tab, the path.
            let entry = String::from_utf8_lossy(entry);
            let (facts, path) = entry.split_once('\t')?;
            let commit = facts.split(' ').nth(1)?;
            Some((path.to_owned(), commit.to_owned()))
        })
        .collect())
}

async fn check_out_submodule(
    repository: &Path,
    destination: &Path,
    path: String,
    commit: String,
) -> Result<(), CheckoutError> {
    let local = repository.join(&path);
    let own_root = match git::root_of(&local).await {
        Ok(root) => absolute(&root)? == absolute(&local)?,
        Err(GitError::NoSuchDirectory { .. } | GitError::NotARepository { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let available = own_root
        && Call::new(&local, ["cat-file", "-e", &format!("{commit}^{{commit}}")])
            .answer()
            .await?
            .success;
    if !available {
        return Err(CheckoutError::Submodule { path, commit, repository: repository.to_owned() });
    }
    Box::pin(checkout(&local, &commit, &destination.join(&path))).await
}

/// Without git-lfs, git checks out small text files in place of the real ones and says nothing.
async fn refuse_pointers(repository: &Path, checkout: &Path) -> Result<(), CheckoutError> {
    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
    let listed =
        Call::new(checkout, ["ls-files", "-z", "--", ":(attr:filter=lfs)"]).output().await?;
    for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        use std::os::unix::ffi::OsStrExt as _;
        let file = checkout.join(std::ffi::OsStr::from_bytes(path));
        let is_file = file.symlink_metadata().is_ok_and(|facts| facts.is_file());
        if !is_file {
            continue;
        }
        let mut start = Vec::new();
        fs::File::open(&file)
            .and_then(|file| file.take(POINTER.len() as u64).read_to_end(&mut start))
            .map_err(file_error("read", &file))?;
        if start == POINTER {
            return Err(CheckoutError::LargeFile {
                path: String::from_utf8_lossy(path).into_owned(),
                repository: repository.to_owned(),
            });
        }
    }
    Ok(())
}
