//! An app that misbehaves on demand, for tests of other crates.
//!
//! `tidegate-testapp [serve] [OPTION=VALUE]…` is an HTTP server on `$PORT` of `$HOST`. Each option
//! may also be given as a variable: `start_delay=100` as `TESTAPP_START_DELAY=100`.
//!
//! | option | meaning |
//! |---|---|
//! | `version=TEXT` | told in the body and in the header `X-Version` of every answer |
//! | `start_delay=MS` | listens only after that long |
//! | `ready_after=MS` | `/health` and `/ready` answer 503 until then |
//! | `ready=never` | they always do |
//! | `unready_while=FILE` | they do while the file exists |
//! | `hang_while=FILE` | they do not answer while the file exists |
//! | `hang_when=FILE` | as `hang_while`, `/health` only |
//! | `die_after=MS` | exits with 1 then |
//! | `die_when=FILE` | exits with 1 once the file exists, and removes it: one instance only |
//! | `error_percent=N` | so many of the other answers are 500, evenly spread |
//! | `fork=1` | starts a `sleep` that would outlive it |
//! | `flood=1` | writes to its output without end |
//! | `on_term=ignore` | ignores SIGTERM; otherwise requests in flight end first |
//! | `report=FILE` | appends `WHAT INSTANCE PID`: `started`, `forked` and, after SIGTERM, `stopped` |
//!
//! `/slow?ms=N` answers after that long. Anything else answers at once.
//!
//! `tidegate-testapp shim DIRECTORY` and `tidegate-testapp proxy --home HOME` are what the hidden
//! subcommands of `tidegate` do, so that a target can be tested without the whole of it.
//!
//! `tidegate-testapp instance VERSION NUMBER` is what stands behind a proxy of which
//! [`tidegate_loss`] counts the requests that it loses.

use std::{path::PathBuf, process::Command, sync::OnceLock};

/// Where the executable is; built the first time anybody asks.
///
/// # Panics
///
/// When it cannot be built: the test fails.
#[must_use]
pub fn executable() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

/// Cargo builds a package's executables for its own tests only, so this asks for it.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has an executable");
    let profile = test
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "deps"))
        .and_then(std::path::Path::parent)
        .expect("a test's executable is in TARGET/PROFILE/deps");
    let target = profile.parent().expect("a profile's folder is in the target folder");
    let name =
        profile.file_name().and_then(|name| name.to_str()).expect("a profile's name is text");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--package", "tidegate-testapp", "--profile"])
        .arg(if name == "debug" { "dev" } else { name })
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "cannot build the test app:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    profile.join("tidegate-testapp")
}
