//! Which route a request takes.

use std::cmp::Reverse;

use tidegate_types::RouteRule;

/// Sorts routes so that the first that matches is the right one: a named host before any host,
/// then the longest path.
pub(crate) fn sort<R>(routes: &mut [R], rule: impl Fn(&R) -> &RouteRule) {
    routes.sort_by_key(|route| {
        let rule = rule(route);
        (rule.host.is_none(), Reverse(prefix(rule).len()))
    });
}

/// Whether the request is for this route.
pub(crate) fn matches(rule: &RouteRule, host: &str, path: &str) -> bool {
    rule.host.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(host))
        && path
            .strip_prefix(prefix(rule))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix(rule).is_empty())
}

/// The path with query as the backend sees it.
pub(crate) fn upstream_path<'a>(rule: &RouteRule, path_and_query: &'a str) -> Stripped<'a> {
    if !rule.strip_prefix {
        return Stripped::Whole(path_and_query);
    }
    match path_and_query.strip_prefix(prefix(rule)) {
        Some(rest) if rest.starts_with('/') => Stripped::Whole(rest),
        Some(rest) => Stripped::WithSlash(rest),
        None => Stripped::Whole(path_and_query),
    }
}

/// A path after its prefix was taken away.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stripped<'a> {
    /// This.
    Whole(&'a str),
    /// `/` and this.
    WithSlash(&'a str),
}

/// `/api/` means what `/api` means, and `/` means everything.
fn prefix(rule: &RouteRule) -> &str {
    rule.path.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: Option<&str>, path: &str) -> RouteRule {
        RouteRule {
            host: host.map(str::to_owned),
            path: path.into(),
            strip_prefix: true,
            handling: tidegate_types::Handling::default(),
        }
    }

    #[test]
    fn the_most_specific_route_wins() {
        let mut rules = vec![
            rule(None, "/"),
            rule(None, "/api"),
            rule(None, "/api/v2/"),
            rule(Some("shop.example"), "/"),
            rule(Some("shop.example"), "/api"),
        ];
        sort(&mut rules, |rule| rule);
        for (host, path, wanted) in [
            ("x", "/", (None, "/")),
            ("x", "/apix", (None, "/")),
            ("x", "/api", (None, "/api")),
            ("x", "/api/", (None, "/api")),
            ("x", "/api/x", (None, "/api")),
            ("x", "/api/v2", (None, "/api/v2/")),
            ("x", "/api/v2/y", (None, "/api/v2/")),
            ("x", "/api/v22", (None, "/api")),
            ("x", "*", (None, "/")),
            ("SHOP.example", "/api/v2", (Some("shop.example"), "/api")),
            ("shop.example", "/z", (Some("shop.example"), "/")),
        ] {
            let found = rules.iter().find(|rule| matches(rule, host, path)).unwrap();
            assert_eq!((found.host.as_deref(), found.path.as_str()), wanted, "{host}{path}");
        }
        assert!(!matches(&rule(None, "/api"), "x", "/"));
    }

    #[test]
    fn the_prefix_is_taken_away() {
        for (path, given, wanted) in [
            ("/api", "/api/x?a=1", Stripped::Whole("/x?a=1")),
            ("/api/", "/api/x", Stripped::Whole("/x")),
            ("/api", "/api", Stripped::WithSlash("")),
            ("/api", "/api?a=1", Stripped::WithSlash("?a=1")),
            ("/", "/x", Stripped::Whole("/x")),
        ] {
            assert_eq!(upstream_path(&rule(None, path), given), wanted, "{given}");
        }
    }
}
