//! Names near the one that was asked for, and the best of several tags.

use semver::Version;

/// Up to three branches and tags, full names given, whose short name is near `asked`.
pub(crate) fn near<'a>(asked: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = names
        .filter_map(short_name)
        .filter(|name| *name != "origin/HEAD")
        .map(|name| (similarity(asked, name), name))
        .filter(|(score, _)| *score >= 0.7)
        .collect();
    scored.sort_by(|(score, name), (other, other_name)| {
        other.total_cmp(score).then_with(|| name.cmp(other_name))
    });
    scored.dedup_by_key(|(_, name)| *name);
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

fn similarity(asked: &str, name: &str) -> f64 {
    // `main` where only `origin/main` exists, and `1.2.0` where the tag is `v1.2.0`.
    if name.ends_with(&format!("/{asked}")) || name.strip_prefix('v') == Some(asked) {
        return 1.0;
    }
    strsim::jaro_winkler(&asked.to_lowercase(), &name.to_lowercase())
}

fn short_name(name: &str) -> Option<&str> {
    ["refs/heads/", "refs/tags/", "refs/remotes/"]
        .into_iter()
        .find_map(|folder| name.strip_prefix(folder))
}

/// The end of the message about an unknown reference.
pub(crate) fn sentence(suggestions: &[String], shallow: bool) -> String {
    let mut text = String::new();
    if !suggestions.is_empty() {
        let names: Vec<_> = suggestions.iter().map(|name| format!("`{name}`")).collect();
        text.push_str("; did you mean ");
        text.push_str(&names.join(" or "));
        text.push('?');
    }
    if shallow {
        text.push_str("; the clone is shallow, and `git fetch --unshallow --tags` brings the rest");
    }
    text
}

/// The highest semantic version, a final one before its candidates; without any, the last name.
pub(crate) fn best_tag<'a>(tags: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    tags.filter(|tag| !tag.is_empty())
        .enumerate()
        .max_by_key(|(position, tag)| (semantic_version(tag), *position))
        .map(|(_, tag)| tag)
}

/// Of `v1.2.3`, `1.2.3`, `api/v1.2.3` or `api@1.2.3`.
fn semantic_version(tag: &str) -> Option<Version> {
    let last = tag.rsplit(['/', '@']).next().unwrap_or(tag);
    Version::parse(last.strip_prefix('v').unwrap_or(last)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_is_the_best_tag() {
        for (tags, best) in [
            (&["v1.9.0", "v1.10.0", "latest"][..], "v1.10.0"),
            (&["v2.0.0-rc.1", "v2.0.0"], "v2.0.0"),
            (&["api/v1.0.0", "zebra"], "api/v1.0.0"),
            (&["alpha", "beta"], "beta"),
        ] {
            assert_eq!(best_tag(tags.iter().copied()), Some(best), "{tags:?}");
        }
        assert_eq!(best_tag([""].into_iter()), None);
    }

    #[test]
    fn near_names_come_first_and_far_ones_not_at_all() {
        let names = [
            "refs/heads/main",
            "refs/heads/feature/login",
            "refs/remotes/origin/main",
            "refs/tags/v1.2.0",
        ];
        assert_eq!(near("mian", names.into_iter()), ["main"]);
        assert_eq!(near("1.2.0", names.into_iter()), ["v1.2.0"]);
        assert_eq!(near("zzz", names.into_iter()), Vec::<String>::new());
        assert_eq!(near("login", names.into_iter()), ["feature/login"], "a name below a folder");
    }
}
