//! Which build of the proxy runs.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// Names the file at `path` so that a file put in its place has another name.
pub fn build_of(path: &Path) -> io::Result<String> {
    let file = fs::metadata(path)?;
    let (version, changed) = (env!("CARGO_PKG_VERSION"), file.mtime());
    Ok(format!("{version}+{:x}.{:x}.{changed:x}", file.dev(), file.ino()))
}

/// Names the file from which this process runs, also when another is in its place by now.
pub(crate) fn running() -> String {
    let running = build_of(Path::new("/proc/self/exe"));
    let running = running.or_else(|_| build_of(&std::env::current_exe()?));
    running.unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned())
}
