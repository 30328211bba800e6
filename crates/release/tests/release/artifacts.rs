//! What is stored is what was put in, under one digest.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use tempfile::TempDir;
use tidegate_release::{ArtifactError, ArtifactStore, Limits, TreeError};
use tidegate_types::Digest;

use crate::support::{make_executable, read, write};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn store() -> (TempDir, ArtifactStore) {
    let home = folder();
    let store = ArtifactStore::new(home.path().join("artifacts"));
    (home, store)
}

fn tree() -> TempDir {
    let tree = folder();
    write(tree.path(), "index.html", "hello");
    make_executable(&write(tree.path(), "bin/run", "#!/bin/sh\n"));
    fs::create_dir(tree.path().join("empty")).expect("a folder");
    symlink("bin/run", tree.path().join("start")).expect("a link");
    tree
}

#[test]
fn a_tree_is_stored_whole_and_read_only() {
    let (_home, store) = store();
    let tree = tree();
    write(tree.path(), ".git/HEAD", "no part of it");
    let artifact = store.put(tree.path()).expect("it is stored");
    assert_eq!((artifact.files, artifact.bytes), (2, 15));
    assert!(store.contains(&artifact.digest));
    let path = store.path(&artifact.digest);
    assert_eq!(read(path.join("start")), "#!/bin/sh\n");
    assert!(path.join("empty").is_dir());
    assert!(!path.join(".git").exists());
    let mode = |name: &str| {
        let facts = fs::metadata(path.join(name)).expect("it is there");
        facts.permissions().mode() & 0o777
    };
    assert_eq!((mode("index.html"), mode("bin/run")), (0o444, 0o555));
    assert_eq!(store.verify(&artifact.digest), Ok(()));
}

#[test]
fn the_digest_tells_apart_what_differs_and_nothing_else() {
    let (_home, store) = store();
    let put = |change: &dyn Fn(&Path)| {
        let tree = tree();
        change(tree.path());
        store.put(tree.path()).expect("it is stored").digest
    };
    let same = put(&|_| {});
    let old = std::time::SystemTime::UNIX_EPOCH;
    assert_eq!(
        same,
        put(&|tree| {
            let file = fs::File::open(tree.join("index.html")).expect("it is there");
            file.set_modified(old).expect("times can be set");
        }),
        "times do not matter"
    );
    let changes: [&dyn Fn(&Path); 6] = [
        &|tree| drop(write(tree, "index.html", "hallo")),
        &|tree| make_executable(&tree.join("index.html")),
        &|tree| drop(write(tree, "more", "")),
        &|tree| fs::remove_dir(tree.join("empty")).expect("it was there"),
        &|tree| fs::rename(tree.join("empty"), tree.join("void")).expect("it was there"),
        &|tree| {
            fs::remove_file(tree.join("start")).expect("it was there");
            symlink("index.html", tree.join("start")).expect("a link");
        },
    ];
    let mut digests: BTreeSet<Digest> = changes.into_iter().map(put).collect();
    digests.insert(same);
    assert_eq!(digests.len(), 7);
}

#[test]
fn a_file_becomes_a_tree_of_one() {
    let (_home, store) = store();
    let tree = tree();
    let artifact = store.put(&tree.path().join("bin/run")).expect("it is stored");
    assert_eq!(artifact.files, 1);
    assert_eq!(read(store.path(&artifact.digest).join("run")), "#!/bin/sh\n");
}

#[test]
fn links_that_leave_the_tree_are_refused() {
    let (home, store) = store();
    let outside = write(home.path(), "outside", "secret");
    for to in [
        outside.as_path(),
        Path::new("../outside"),
        Path::new("bin/../../outside"),
        Path::new("/absent"),
    ] {
        let tree = tree();
        symlink(to, tree.path().join("link")).expect("a link");
        let error = store.put(tree.path()).expect_err("it leaves the tree");
        assert!(
            matches!(error, ArtifactError::Tree(TreeError::LinkLeavesTree { .. })),
            "{}: {error}",
            to.display()
        );
    }
    let tree = tree();
    symlink("../index.html", tree.path().join("bin/page")).expect("a link");
    symlink("nowhere", tree.path().join("dangling")).expect("a link");
    store.put(tree.path()).expect("these stay inside");
}

#[test]
fn special_files_and_large_trees_are_refused() {
    let (home, store) = store();
    let special = tree();
    let _socket = std::os::unix::net::UnixListener::bind(special.path().join("socket"));
    let error = store.put(special.path()).expect_err("it has a socket");
    assert!(error.to_string().contains("is a socket"), "{error}");
    let tree = tree();
    for (limits, what) in [
        (Limits { entries: 2, bytes: 100 }, "2 files"),
        (Limits { entries: 100, bytes: 3 }, "3 bytes"),
    ] {
        let error =
            store.clone().with_limits(limits).put(tree.path()).expect_err("it is too large");
        assert!(error.to_string().contains(what), "{error}");
    }
    store.put(&home.path().join("absent")).expect_err("it is not there");
    let left: Vec<_> = fs::read_dir(home.path().join("artifacts"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name() != ".lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn damage_is_found() {
    let (_home, store) = store();
    let tree = tree();
    let digest = store.put(tree.path()).expect("it is stored").digest;
    let root = store.path(&digest);
    write(&root, "__pycache__/x.pyc", "added by what runs");
    assert_eq!(store.verify(&digest), Ok(()));
    let page = root.join("index.html");
    fs::remove_file(&page).expect("it was there");
    let damage = store.verify(&digest).expect_err("a file is missing");
    assert!(damage.reason.contains("index.html"), "{damage}");
    write(&root, "index.html", "hullo");
    store.verify(&digest).expect_err("a file was changed");
    fs::set_permissions(root.join("bin/run"), fs::Permissions::from_mode(0o444)).expect("a mode");
    store.verify(&digest).expect_err("it cannot be run");
    store.verify(&Digest::new("sha256-0")).expect_err("it is not there");
    assert!(!store.contains(&Digest::new("../artifacts")));
}

#[test]
fn many_writers_of_the_same_tree_are_fine() {
    let (_home, store) = store();
    let tree = tree();
    let digests: BTreeSet<Digest> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| store.put(tree.path()).expect("it is stored").digest))
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("it ends")).collect()
    });
    assert_eq!(digests.len(), 1);
    for digest in &digests {
        assert_eq!(store.verify(digest), Ok(()));
    }
}

#[test]
fn what_is_not_kept_is_removed() {
    let (home, store) = store();
    assert_eq!(store.keep(&BTreeSet::new()).expect("nothing is there"), 0);
    let kept = store.put(tree().path()).expect("it is stored").digest;
    let other = folder();
    write(other.path(), "a/b", "other");
    let dropped = store.put(other.path()).expect("it is stored").digest;
    fs::create_dir(home.path().join("artifacts/.incoming-left")).expect("a folder");
    let removed = store.keep(&BTreeSet::from([kept.clone()])).expect("it is removed");
    assert_eq!(removed, 1);
    assert!(store.contains(&kept) && !store.contains(&dropped));
    assert_eq!(store.verify(&kept), Ok(()));
    assert!(!home.path().join("artifacts/.incoming-left").exists());
    store.put(other.path()).expect("it is stored again");
    assert!(store.contains(&dropped));
}
