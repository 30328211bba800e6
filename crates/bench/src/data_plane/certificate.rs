//! A certificate for those who speak TLS: on the curve that most have today.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Failure,
    data_plane::ground::{Ground, write},
};

/// Files in PEM form.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one, as `HAProxy` wants them.
    pub(crate) both: PathBuf,
}

/// Makes one that nobody trusts.
pub(crate) fn make(ground: &Ground, openssl: &Path) -> Result<Pair, Failure> {
    let at = |name: &str| ground.path().join(name);
    let made =
        Pair { certificate: at("certificate.pem"), key: at("key.pem"), both: at("both.pem") };
    let output = Command::new(openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .arg("-keyout")
        .arg(&made.key)
        .arg("-out")
        .arg(&made.certificate)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let both = [std::fs::read(&made.certificate)?, std::fs::read(&made.key)?].concat();
    write(&made.both, both)?;
    Ok(made)
}
