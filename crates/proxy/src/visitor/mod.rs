//! Visitors who stay with one revision.
//!
//! A visitor has a number: it stands in a cookie, or is the hash of a header's value. The number
//! and the candidate together give the visitor's place in a rollout, and the candidate has the
//! places up to its share. So there is nothing to remember and nothing to move: all workers and a
//! restarted proxy say the same, who came to the candidate stays there while its share grows, and
//! everybody is back where they were when it falls to nothing.

mod cookie;
mod key;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, SET_COOKIE},
};
use tidegate_types::{RevisionId, RouteRule, Scope, Sticky};

use self::cookie::Contents;
pub(crate) use self::{
    cookie::{remove as remove_cookie, write_others as write_other_cookies},
    key::Key,
};

/// The role of the revision that visitors move to.
pub(crate) const CANDIDATE: &str = "candidate";

const DAY: Duration = Duration::from_hours(24);

/// The headers of a request or an answer, however they are kept.
pub(crate) trait Headers {
    /// The values of those with this name, in order.
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]>;
}

impl Headers for HeaderMap {
    fn named(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

/// How the visitors of a route are divided while more than one revision has a share.
#[derive(Debug)]
pub(crate) struct Visitors {
    known_by: KnownBy,
    division: u64,
}

#[derive(Debug)]
enum KnownBy {
    /// A cookie for this path.
    Cookie(String),
    Header(HeaderName),
}

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor {
    number: u64,
    /// The cookie that the answer is to bring.
    cookie: Option<Contents>,
}

/// What has to be known of a revision on a route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared<'a> {
    pub(crate) revision: &'a RevisionId,
    pub(crate) role: &'a str,
    pub(crate) share: u32,
}

impl Visitors {
    /// None when the route is not sticky, and also when there is nothing to divide: then nobody
    /// needs a cookie, and nobody gets one.
    pub(crate) fn of<'a>(
        rule: &RouteRule,
        revisions: impl Iterator<Item = Shared<'a>> + Clone,
        scope: &Scope,
        key: Key,
    ) -> Option<Self> {
        let known_by = match rule.handling.sticky.as_ref()? {
            Sticky::Cookie => {
                let path = rule.path.trim_end_matches('/');
                KnownBy::Cookie(if path.is_empty() { "/" } else { path }.to_owned())
            }
            Sticky::Header(name) => KnownBy::Header(name.parse().ok()?),
        };
        if revisions.clone().filter(|revision| revision.share > 0).count() < 2 {
            return None;
        }
        let mut revisions = revisions;
        let candidate = revisions.find(|revision| revision.role == CANDIDATE);
        let division = key.division(scope, candidate.map(|candidate| candidate.revision));
        Some(Self { known_by, division })
    }

    /// Who sent a request with these headers; nobody that is known when the header is missing.
    /// Somebody without a cookie gets one with the number `new`.
    pub(crate) fn who(
        &self,
        headers: &impl Headers,
        key: Key,
        new: impl FnOnce() -> u64,
    ) -> Option<Visitor> {
        match &self.known_by {
            KnownBy::Cookie(_) => {
                let today = today();
                let known = cookie::read(headers, key);
                let number = known.map_or_else(new, |contents| contents.visitor);
                // Given again once a day, so that it does not end in a rollout.
                let cookie = known
                    .is_none_or(|contents| contents.day != today)
                    .then_some(Contents { visitor: number, day: today });
                Some(Visitor { number, cookie })
            }
            KnownBy::Header(name) => {
                let value = headers.named(name).next().filter(|value| !value.is_empty())?;
                let number = key.visitor_of(value);
                Some(Visitor { number, cookie: None })
            }
        }
    }

    /// Where a visitor stands.
    pub(crate) fn place(&self, visitor: Visitor, key: Key) -> u64 {
        key.place(visitor.number, self.division)
    }

    /// The cookie that the answer to a visitor is to bring, if any.
    pub(crate) fn cookie(&self, visitor: Visitor, key: Key, secure: bool) -> Option<HeaderValue> {
        match &self.known_by {
            KnownBy::Cookie(path) => cookie::give(visitor.cookie?, key, path, secure),
            KnownBy::Header(_) => None,
        }
    }
}

/// Gives a visitor a cookie with an answer, unless a cache may hand that answer to others: they
/// would all be one visitor then.
pub(crate) fn introduce(answer: &mut HeaderMap, cookie: HeaderValue) {
    if !is_for_everybody(answer.named(&CACHE_CONTROL)) {
        answer.append(SET_COOKIE, cookie);
    }
}

/// Whether an answer says that caches may keep it and give it to anybody.
pub(crate) fn is_for_everybody<'a>(cache_control: impl Iterator<Item = &'a [u8]>) -> bool {
    cache_control
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.split('=').next())
        .map(str::trim)
        .any(|name| name.eq_ignore_ascii_case("public") || name.eq_ignore_ascii_case("s-maxage"))
}

/// Days, counted from somewhere.
fn today() -> u16 {
    let days = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / DAY.as_secs());
    u16::try_from(days).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_types::Handling;

    use super::*;
    use crate::pick::{self, Choice};

    fn rule(sticky: Option<Sticky>) -> RouteRule {
        let handling = Handling { sticky, ..Handling::default() };
        RouteRule { handling, ..RouteRule::everything() }
    }

    fn visitors(rule: &RouteRule, candidate: &str, hundredths: u32, key: Key) -> Option<Visitors> {
        let (old, new) = (RevisionId::new("api@1"), RevisionId::new(candidate));
        let revisions = [
            Shared { revision: &old, role: "stable", share: 10_000 - hundredths },
            Shared { revision: &new, role: CANDIDATE, share: hundredths },
        ];
        Visitors::of(rule, revisions.iter().copied(), &"shop/production".parse().unwrap(), key)
    }

    fn is_at_candidate(hundredths: u32, place: u64) -> bool {
        let choices = [
            Choice { share: 10_000 - hundredths, ready: true, candidate: false },
            Choice { share: hundredths, ready: true, candidate: true },
        ];
        pick::revision_for(choices.into_iter(), place) == Some(1)
    }

    fn numbered(number: u64) -> Visitor {
        Visitor { number, cookie: None }
    }

    #[test]
    fn visitors_are_divided_only_while_there_are_two_with_a_share() {
        let key = Key::random();
        let sticky = rule(Some(Sticky::Cookie));
        for (hundredths, divided) in [(0, false), (1, true), (9_999, true), (10_000, false)] {
            assert_eq!(visitors(&sticky, "api@2", hundredths, key).is_some(), divided);
            assert!(visitors(&rule(None), "api@2", hundredths, key).is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_share_of_visitors_is_exact_and_another_rollout_has_others(
            first in any::<u64>(),
            hundredths in 1_u32..10_000,
        ) {
            const COUNT: u32 = 10_000;
            let key = Key::random();
            let sticky = rule(Some(Sticky::Cookie));
            let divisions = ["api@2", "api@3"]
                .map(|candidate| visitors(&sticky, candidate, hundredths, key).unwrap());
            let (mut one, mut both) = (0_u32, 0_u32);
            // Numbers in a row, as nobody has them: the hash has to spread them.
            for number in 0..u64::from(COUNT) {
                let visitor = numbered(first.wrapping_add(number));
                let [here, there] = divisions.each_ref()
                    .map(|division| is_at_candidate(hundredths, division.place(visitor, key)));
                one += u32::from(here);
                both += u32::from(here && there);
            }
            let fraction = f64::from(hundredths) / 10_000.0;
            for (count, fraction) in [(one, fraction), (both, fraction * fraction)] {
                let expected = f64::from(COUNT) * fraction;
                let sigma = (expected * (1.0 - fraction)).sqrt();
                let distance = (f64::from(count) - expected).abs();
                // As many looks are taken as shares are tried, so five sigma; and where next to
                // nothing is expected, a few are not out of the ordinary.
                prop_assert!(distance <= 5.0 * sigma + 5.0, "{count} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_cookie_of_another_day_is_given_again_with_the_same_number() {
        let key = Key::random();
        let visitors = visitors(&rule(Some(Sticky::Cookie)), "api@2", 5_000, key).unwrap();
        let mut headers = HeaderMap::new();
        let new = visitors.who(&headers, key, || 7).unwrap();
        assert_eq!((new.number, new.cookie), (7, Some(Contents { visitor: 7, day: today() })));
        for (day, again) in [(today(), false), (today() - 1, true), (today() + 1, true)] {
            let old = cookie::give(Contents { visitor: 8, day }, key, "/", false).unwrap();
            headers.insert(http::header::COOKIE, old);
            let known = visitors.who(&headers, key, || 7).unwrap();
            assert_eq!((known.number, known.cookie.is_some()), (8, again), "{day}");
        }
    }

    #[test]
    fn an_answer_for_everybody_brings_no_cookie() {
        let key = Key::random();
        let visitors = visitors(&rule(Some(Sticky::Cookie)), "api@2", 5_000, key).unwrap();
        let visitor = visitors.who(&HeaderMap::new(), key, || 7).unwrap();
        for (cache, given) in [
            ("no-cache", true),
            ("private, max-age=60", true),
            ("max-age=60", true),
            ("max-age=60, Public", false),
            ("s-maxage=60", false),
        ] {
            let mut answer = HeaderMap::new();
            answer.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
            answer.insert(SET_COOKIE, HeaderValue::from_static("own=1"));
            introduce(&mut answer, visitors.cookie(visitor, key, false).unwrap());
            let cookies: Vec<&HeaderValue> = answer.get_all(SET_COOKIE).iter().collect();
            assert_eq!(cookies[0], "own=1");
            assert_eq!(cookies.len() == 2, given, "{cache}");
        }
    }

    #[test]
    fn a_header_names_a_visitor_unless_it_is_empty() {
        let key = Key::random();
        let sticky = rule(Some(Sticky::Header("x-user".to_owned())));
        let visitors = visitors(&sticky, "api@2", 5_000, key).unwrap();
        let who = |value: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert("x-user", HeaderValue::from_static(value));
            }
            visitors.who(&headers, key, || 7).map(|visitor| visitor.number)
        };
        assert_eq!(who(None), None);
        assert_eq!(who(Some("")), None);
        assert_eq!(who(Some("anna")), who(Some("anna")));
        assert_ne!(who(Some("anna")), who(Some("otto")));
    }
}
