//! Static sites that have left, whose assets are still answered for a while.
//!
//! A page that is open in a browser goes on asking for files of its own release. Their folders are
//! kept with the releases; here is remembered which of them served what, and until when.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tidegate_types::{
    ComponentName, DeploymentId, Digest, RevisionId, RevisionSpec, Scope, StaticSpec, Timestamp,
    Workload, data_plane::OtherFiles,
};

use super::layout::{self, Layout};

/// So many other releases are looked into for a file, at most: each costs a look at the disk for
/// every request for a file that nobody has.
const LOOKED_INTO: usize = 10;

/// The sites of one scope that have left.
#[derive(Debug)]
pub(crate) struct FormerSites {
    path: PathBuf,
    sites: Vec<FormerSite>,
}

/// A site that has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FormerSite {
    revision: RevisionId,
    component: ComponentName,
    artifact: Digest,
    left: Timestamp,
}

/// Another site of a component: when it came and where its files are.
type Other<'a> = (Option<DeploymentId>, &'a RevisionId, &'a Digest);

impl FormerSites {
    /// Those that a predecessor of this control plane remembered. What cannot be read is forgotten:
    /// it is a convenience for open pages, and nothing that serves depends on it.
    pub(crate) fn read(layout: &Layout, scope: &Scope, now: Timestamp) -> Self {
        let path = layout.former_sites(scope);
        let mut sites: Vec<FormerSite> = layout::read(&path).map_or_else(
            |reason| {
                tracing::warn!(reason, "the assets of former releases are not answered any more");
                Vec::new()
            },
            Option::unwrap_or_default,
        );
        for site in &mut sites {
            // The clock went back since.
            site.left = site.left.min(now);
        }
        Self { path, sites }
    }

    /// Remembers a revision that is about to be forgotten, if it is a site.
    pub(crate) fn left(&mut self, revision: &RevisionId, spec: &RevisionSpec, now: Timestamp) {
        if static_site(spec).is_none() {
            return;
        }
        self.sites.retain(|site| site.revision != *revision);
        self.sites.push(FormerSite {
            revision: revision.clone(),
            component: spec.component.clone(),
            artifact: spec.artifact.clone(),
            left: now,
        });
        let of_component = |site: &&FormerSite| site.component == spec.component;
        if self.sites.iter().filter(of_component).count() > LOOKED_INTO
            && let Some(oldest) = self.sites.iter().position(|site| of_component(&site))
        {
            self.sites.remove(oldest);
        }
        if let Err(reason) = self.write() {
            tracing::warn!(reason, %revision, "its assets are not answered after a restart");
        }
    }

    fn write(&self) -> Result<(), String> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        layout::write(&self.path, &self.sites)
    }

    /// Where assets are looked for that the revision of `spec` does not have: in the other sites of
    /// its component among `present`, and in those that left not too long ago; the newest first,
    /// and each folder once.
    pub(crate) fn others_of<'a>(
        &'a self,
        id: &RevisionId,
        spec: &RevisionSpec,
        present: impl Iterator<Item = (&'a RevisionId, &'a RevisionSpec)>,
        now: Timestamp,
        artifacts: impl Fn(&Digest) -> PathBuf,
    ) -> Vec<OtherFiles> {
        let Some(StaticSpec { keep_assets, .. }) = static_site(spec) else {
            return Vec::new();
        };
        if keep_assets.is_zero() {
            return Vec::new();
        }
        let present = present
            .filter(|(_, other)| other.component == spec.component && static_site(other).is_some())
            .map(|(revision, other)| (revision, &other.artifact));
        let former = self
            .sites
            .iter()
            .filter(|site| site.component == spec.component && now.since(site.left) < *keep_assets)
            .map(|site| (&site.revision, &site.artifact));
        let mut others: Vec<Other<'_>> = present
            .chain(former)
            .filter(|(revision, _)| *revision != id)
            .map(|(revision, artifact)| (revision.deployment(), revision, artifact))
            .collect();
        others.sort_by_key(|other| Reverse(*other));
        let mut known = BTreeSet::from([&spec.artifact]);
        others
            .into_iter()
            .filter(|(_, _, artifact)| known.insert(artifact))
            .take(LOOKED_INTO)
            .map(|(_, revision, artifact)| OtherFiles {
                revision: revision.clone(),
                root: artifacts(artifact),
            })
            .collect()
    }
}

fn static_site(spec: &RevisionSpec) -> Option<&StaticSpec> {
    match &spec.workload {
        Workload::Static(site) => Some(site),
        Workload::Process(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::{Duration, ReleaseId};

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn spec(component: &str, artifact: &str, keep_assets: Duration) -> RevisionSpec {
        RevisionSpec {
            component: component.parse().unwrap(),
            release: ReleaseId::new("r-1"),
            version: "1.0".to_owned(),
            artifact: Digest::new(artifact),
            replicas: 0,
            workload: Workload::Static(StaticSpec { single_page: true, keep_assets }),
            route: None,
        }
    }

    fn web(artifact: &str) -> RevisionSpec {
        spec("web", artifact, HOUR)
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    fn revision(text: &str) -> RevisionId {
        RevisionId::new(text)
    }

    fn nobody(folder: &Path) -> FormerSites {
        let layout = Layout::new(folder.to_owned());
        FormerSites::read(&layout, &"shop/production".parse().unwrap(), at(0))
    }

    fn others(
        sites: &FormerSites,
        (id, spec): (&str, &RevisionSpec),
        present: &[(&str, RevisionSpec)],
        now: Timestamp,
    ) -> Vec<String> {
        let present: Vec<_> = present.iter().map(|(id, spec)| (revision(id), spec)).collect();
        let present = present.iter().map(|(id, spec)| (id, *spec));
        let root = |digest: &Digest| PathBuf::from(digest.as_str());
        sites
            .others_of(&revision(id), spec, present, now, root)
            .iter()
            .map(|other| format!("{} {}", other.revision, other.root.display()))
            .collect()
    }

    #[test]
    fn the_newest_comes_first_each_folder_once_and_only_of_the_same_component() {
        let folder = tempfile::tempdir().unwrap();
        let mut sites = nobody(folder.path());
        sites.left(&revision("web@2"), &web("two"), at(0));
        sites.left(&revision("web@3"), &web("one"), at(0));
        sites.left(&revision("docs@4"), &spec("docs", "docs", HOUR), at(0));
        let present =
            [("web@9", web("nine")), ("web@10", web("ten")), ("blog@11", spec("blog", "b", HOUR))];
        let found = |id, spec: &RevisionSpec| others(&sites, (id, spec), &present, at(1));
        assert_eq!(found("web@10", &web("ten")), ["web@9 nine", "web@3 one", "web@2 two"]);
        // An older one looks into newer ones, too: its page may have come from there.
        assert_eq!(found("web@9", &web("nine")), ["web@10 ten", "web@3 one", "web@2 two"]);
        assert_eq!(found("web@12", &web("two")), ["web@10 ten", "web@9 nine", "web@3 one"]);
        assert_eq!(found("blog@11", &spec("blog", "b", HOUR)), [""; 0]);
    }

    #[test]
    fn they_are_there_for_as_long_as_who_serves_says() {
        let folder = tempfile::tempdir().unwrap();
        let mut sites = nobody(folder.path());
        sites.left(&revision("web@1"), &web("one"), at(10));
        let present = [("web@2", web("two")), ("web@3", web("three"))];
        let found = |keep, now| {
            let web = spec("web", "three", keep);
            others(&sites, ("web@3", &web), &present, at(now))
        };
        assert_eq!(found(HOUR, 69), ["web@2 two", "web@1 one"]);
        assert_eq!(found(HOUR, 70), ["web@2 two"]);
        assert_eq!(found(Duration::from_hours(2), 129), ["web@2 two", "web@1 one"]);
        assert_eq!(found(Duration::ZERO, 10), [""; 0]);
    }

    #[test]
    fn they_are_remembered_and_the_oldest_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut sites = nobody(folder.path());
        sites.left(&revision("docs@1"), &spec("docs", "docs", HOUR), at(0));
        for number in 1..=12 {
            sites.left(&revision(&format!("web@{number}")), &web(&format!("{number}")), at(5));
        }
        let again = nobody(folder.path());
        assert_eq!(again.sites.len(), 11);
        // Read at minute 0: what left in the future left now.
        let found = others(&again, ("web@13", &web("13")), &[], at(59));
        assert_eq!(found.len(), LOOKED_INTO);
        assert_eq!((&*found[0], &*found[9]), ("web@12 12", "web@3 3"));
        assert!(others(&again, ("web@13", &web("13")), &[], at(60)).is_empty());

        std::fs::write(&again.path, "damaged").unwrap();
        assert!(nobody(folder.path()).sites.is_empty());
    }
}
