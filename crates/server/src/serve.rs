//! The API on a unix socket.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::UnixListener;
use tracing::info;

use crate::{End, State, router};

/// How long answers that are under way may take to end after the control plane was told to end.
const GRACE: Duration = Duration::from_secs(2);

/// Why the API could not be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {path}: {source}{hint}", path = path.display())]
pub struct Error {
    /// The socket.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
    hint: &'static str,
}

/// The control plane's socket in a home.
#[must_use]
pub fn socket_of(home: &Path) -> PathBuf {
    home.join("control.sock")
}

/// Serves the API in `home` until `state` is told to end, and says how.
///
/// Only one control plane may call this for a home: the lock of the store sees to it. A socket that
/// is there already is therefore one that a dead predecessor left.
pub async fn serve(home: &Path, state: State) -> Result<End, Error> {
    let path = socket_of(home);
    let listener = listen(&path).map_err(|source| Error {
        // The kernel's limit is 108 bytes with the final zero.
        hint: if path.as_os_str().len() > 107 {
            "; the path of a socket may have 107 characters: choose a shorter home with --home or \
             TIDEGATE_HOME"
        } else {
            ""
        },
        path: path.clone(),
        source,
    })?;
    info!(socket = %path.display(), "the control plane is ready");
    let told = state.clone();
    let serving = axum::serve(listener, router(state.clone()))
        .with_graceful_shutdown(async move {
            told.ended().await;
        })
        .into_future();
    let served = tokio::select! {
        served = serving => served,
        () = async {
            state.ended().await;
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    };
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(%error, "the control socket was not removed");
    }
    served.map_err(|source| Error { path, source, hint: "" })?;
    Ok(state.ended().await)
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
