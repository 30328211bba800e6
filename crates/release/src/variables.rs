//! The environment of a build: little, so that a build depends on little, and no secret of the
//! control plane is seen by it.

use std::collections::BTreeMap;

use crate::git::Commit;

/// Taken over from the control plane where they are set.
const TAKEN_OVER: [&str; 56] = [
    // The user and the machine.
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
    // Where toolchains and their caches are. Not CARGO_TARGET_DIR and the like, which would put
    // the output elsewhere than the manifest says.
    "BUN_INSTALL",
    "BUNDLE_PATH",
    "CARGO_HOME",
    "COREPACK_HOME",
    "DENO_DIR",
    "DOTNET_ROOT",
    "GEM_HOME",
    "GEM_PATH",
    "GOCACHE",
    "GOMODCACHE",
    "GOPATH",
    "GOPROXY",
    "GOROOT",
    "GOTOOLCHAIN",
    "GRADLE_USER_HOME",
    "JAVA_HOME",
    "MAVEN_OPTS",
    "NPM_CONFIG_CACHE",
    "NPM_CONFIG_REGISTRY",
    "NPM_CONFIG_USERCONFIG",
    "NVM_DIR",
    "PIP_CACHE_DIR",
    "PIP_CONFIG_FILE",
    "PIP_INDEX_URL",
    "PNPM_HOME",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "RBENV_ROOT",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "UV_CACHE_DIR",
    "UV_INDEX_URL",
    "VOLTA_HOME",
    "YARN_CACHE_FOLDER",
    "npm_config_cache",
    "npm_config_registry",
    "npm_config_userconfig",
    // The way to the network.
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NODE_EXTRA_CA_CERTS",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// All variables of a build of `commit`, on a control plane whose own are told by `own`.
pub(crate) fn for_build(
    commit: &Commit,
    own: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let path = own("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let seconds = commit.committed_at.as_millis() / 1_000;
    TAKEN_OVER
        .into_iter()
        .filter_map(|name| own(name).map(|value| (name.to_owned(), value)))
        .chain([
            ("PATH".to_owned(), path),
            ("CI".to_owned(), "true".to_owned()),
            ("TIDEGATE_COMMIT".to_owned(), commit.hash.clone()),
            ("TIDEGATE_VERSION".to_owned(), commit.version.clone()),
            // Tools that write dates take this one, so that building again gives the same bytes.
            ("SOURCE_DATE_EPOCH".to_owned(), seconds.to_string()),
        ])
        .collect()
}

#[cfg(test)]
mod tests {
    use tidegate_types::Timestamp;

    use super::*;

    #[test]
    fn a_build_sees_its_commit_and_no_secret() {
        let commit = Commit {
            hash: "9f3c2ab".repeat(5),
            version: "v1.2.0".to_owned(),
            subject: "Subject".to_owned(),
            author: "Ana <ana@example.org>".to_owned(),
            committed_at: Timestamp::from_millis(1_700_000_000_000),
            dirty: false,
        };
        let variables = for_build(&commit, |name| Some(format!("own {name}")));
        assert_eq!(variables["TIDEGATE_VERSION"], "v1.2.0");
        assert_eq!(variables["SOURCE_DATE_EPOCH"], "1700000000");
        assert_eq!(variables["CARGO_HOME"], "own CARGO_HOME");
        assert_eq!(variables["PATH"], "own PATH");
        assert!(!variables.contains_key("DATABASE_PASSWORD"));
        assert!(!variables.contains_key("CARGO_TARGET_DIR"));
    }
}
