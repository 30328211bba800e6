//! A folder for one input.

use std::{fs, path::Path};

/// Where a disk costs nothing, if there is such a place.
const MEMORY: &str = "/dev/shm";

/// Gives an empty folder to `use_it`, and removes it.
pub(crate) fn with(use_it: impl FnOnce(&Path)) {
    let folder =
        if Path::new(MEMORY).is_dir() { tempfile::tempdir_in(MEMORY) } else { tempfile::tempdir() };
    use_it(folder.expect("a folder can be made").path());
}

/// Writes a file into a folder of `root`, if its name is a plain one.
pub(crate) fn put(root: &Path, name: &str, text: &[u8]) {
    let plain = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !part.is_empty()
            && part.len() < 64
            && part != "."
            && part != ".."
            && part.bytes().all(known)
    };
    if name.split('/').count() > 4 || !name.split('/').all(plain) {
        return;
    }
    let path = root.join(name);
    if let Some(parent) = path.parent() {
        // A name may be a file's in one place and a folder's in another.
        let _ = fs::create_dir_all(parent);
    }
    let _ = fs::write(path, text);
}
