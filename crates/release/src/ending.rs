//! Ending the builds of a home, when everything is brought down.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{failure::BuildError, site::Site};

/// Ends every build of a home that is under way and forgets what it left, so that the next one of
/// its commit begins anew. What is built, and the logs of what failed, stay. Says how many there
/// were.
///
/// Nobody may build in the home meanwhile. One that cannot be ended keeps none of the others from
/// it; the first such failure is the answer.
pub async fn end_builds(home: &Path) -> Result<usize, BuildError> {
    let (mut ended, mut failure) = (0, None);
    for project in folders(&home.join("builds")) {
        for folder in folders(&project) {
            let site = Site::at(folder);
            if site.is_over() {
                continue;
            }
            match site.clear().await {
                Ok(()) => ended += 1,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }
    failure.map_or(Ok(ended), Err)
}

/// The folders in a folder; none where it cannot be read or is not there.
fn folders(of: &Path) -> Vec<PathBuf> {
    fs::read_dir(of)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_over_stays_and_the_rest_goes() {
        let home = tempfile::tempdir().unwrap();
        let builds = home.path().join("builds/shop");
        for name in ["built", "failed", "begun"] {
            fs::create_dir_all(builds.join(name).join("jobs/web")).unwrap();
        }
        fs::write(builds.join("built/release"), "").unwrap();
        fs::write(builds.join("failed/failed"), "").unwrap();
        fs::write(builds.join("begun.lock"), "").unwrap();
        assert_eq!(end_builds(home.path()).await.unwrap(), 1);
        assert!(builds.join("built").is_dir() && builds.join("failed").is_dir());
        assert!(!builds.join("begun").exists());
        assert_eq!(end_builds(home.path()).await.unwrap(), 0);
        assert_eq!(end_builds(&home.path().join("nowhere")).await.unwrap(), 0);
    }
}
