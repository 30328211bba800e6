//! The cookie by which a visitor is known again: found, checked, made and taken away.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use memchr::memmem::Finder;

use super::{Headers, key::Key};

/// With its equals sign.
const NAME: &str = "tidegate-visitor=";

/// In bytes: a visitor, a day and their signature in hexadecimal digits.
const LENGTH: usize = 16 + 4 + 16;

/// How long a browser keeps it, in seconds: seven days.
const MAX_AGE: u32 = 7 * 24 * 60 * 60;

/// What a cookie of ours says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    /// A random number.
    pub(crate) visitor: u64,
    /// When the cookie was given, in days.
    pub(crate) day: u16,
}

/// What the first cookie of ours says whose signature holds; what anybody else wrote under its name
/// is as if it were not there.
pub(crate) fn read(headers: &impl Headers, key: Key) -> Option<Contents> {
    headers
        .named(&COOKIE)
        .filter(|value| is_named_in(value))
        .flat_map(|value| value.split(|byte| *byte == b';'))
        .filter_map(ours)
        .find_map(|text| check(text, key))
}

/// Takes our cookies away from a request and leaves all others as they are.
pub(crate) fn remove(headers: &mut HeaderMap) {
    if !headers.named(&COOKIE).any(is_named_in) {
        return;
    }
    let kept: Vec<HeaderValue> = headers.get_all(COOKIE).iter().filter_map(without_ours).collect();
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

/// The header that gives a visitor this cookie; none when the route's path cannot stand in one.
pub(crate) fn give(contents: Contents, key: Key, path: &str, secure: bool) -> Option<HeaderValue> {
    let Contents { visitor, day } = contents;
    let signature = key.signature(visitor, day);
    let secure = if secure { "; Secure" } else { "" };
    let text = format!(
        "{NAME}{visitor:016x}{day:04x}{signature:016x}; Path={path}; Max-Age={MAX_AGE}; HttpOnly; \
         SameSite=Lax{secure}"
    );
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
}

/// Whether the name occurs at all, which for most cookies it does not: one quick look without
/// taking them apart.
fn is_named_in(value: &[u8]) -> bool {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));
    FINDER.find(value).is_some()
}

/// The value of one of the cookies in a header if it is ours.
fn ours(cookie: &[u8]) -> Option<&[u8]> {
    cookie.trim_ascii().strip_prefix(NAME.as_bytes())
}

fn check(text: &[u8], key: Key) -> Option<Contents> {
    let text: &[u8; LENGTH] = text.try_into().ok()?;
    let (visitor, rest) = text.split_at(16);
    let (day, signature) = rest.split_at(4);
    let contents = Contents { visitor: number(visitor)?, day: u16::try_from(number(day)?).ok()? };
    (key.signature(contents.visitor, contents.day) == number(signature)?).then_some(contents)
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        Some(number << 4 | u64::from(char::from(*digit).to_digit(16)?))
    })
}

/// A header's value without our cookies; none when there were no others in it.
fn without_ours(value: &HeaderValue) -> Option<HeaderValue> {
    if !is_named_in(value.as_bytes()) {
        return Some(value.clone());
    }
    let mut kept = Vec::with_capacity(value.len());
    // A part of a valid value is one.
    write_others(value.as_bytes(), &mut kept)
        .then(|| HeaderValue::from_maybe_shared(bytes::Bytes::from(kept)).ok())
        .flatten()
}

/// Writes a header's value without our cookies. Says false, and writes nothing, when there were no
/// others in it.
pub(crate) fn write_others(value: &[u8], out: &mut Vec<u8>) -> bool {
    if !is_named_in(value) {
        out.extend_from_slice(value);
        return true;
    }
    let begin = out.len();
    for cookie in value.split(|byte| *byte == b';') {
        if ours(cookie).is_some() {
            continue;
        }
        if out.len() == begin {
            out.extend_from_slice(cookie.trim_ascii_start());
        } else {
            out.push(b';');
            out.extend_from_slice(cookie);
        }
    }
    out.len() > begin
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(COOKIE, HeaderValue::from_bytes(value.as_ref()).unwrap());
        }
        headers
    }

    fn given(contents: Contents, key: Key) -> String {
        let value = give(contents, key, "/", false).unwrap();
        value.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_cookie_is_given_to_one_path_and_kept_from_scripts() {
        let key = Key::random();
        let contents = Contents { visitor: 1, day: 20_000 };
        for (secure, end) in [(false, ""), (true, "; Secure")] {
            let value = give(contents, key, "/api", secure).unwrap();
            let (cookie, attributes) = value.to_str().unwrap().split_once("; ").unwrap();
            assert_eq!(cookie.len(), NAME.len() + LENGTH);
            assert_eq!(
                attributes,
                format!("Path=/api; Max-Age=604800; HttpOnly; SameSite=Lax{end}")
            );
        }
        assert_eq!(give(contents, key, "/a\nb", false), None);
    }

    #[test]
    fn what_was_not_signed_here_is_not_read() {
        let key = Key::random();
        let contents = Contents { visitor: 0x0123_4567_89ab_cdef, day: 20_000 };
        let good = given(contents, key);
        assert_eq!(read(&headers([&good]), key), Some(contents));
        assert_eq!(read(&headers([&good]), Key::random()), None);
        for bad in [
            NAME.to_owned(),
            "tidegate-visitor".to_owned(),
            format!("x{good}"),
            format!("{good}0"),
            good[..good.len() - 1].to_owned(),
            good.replace("0123456789abcdef", "0123456789abcdee"),
            good.replace("abcdef4e20", "abcdef4e21"),
            good.replace("0123456789abcdef", "+123456789abcdef"),
            good.replace('=', " ="),
            good.to_ascii_uppercase(),
        ] {
            assert_eq!(read(&headers([&bad]), key), None, "{bad}");
            // A good one behind it is found all the same, in the same header or the next one.
            assert_eq!(read(&headers([format!("{bad}; {good}")]), key), Some(contents), "{bad}");
            assert_eq!(read(&headers([bad, good.clone()]), key), Some(contents));
        }
    }

    #[test]
    fn only_our_cookie_is_taken_away() {
        let ours = "tidegate-visitor=0";
        for (before, after) in [
            (vec![], vec![]),
            (vec!["a=1; b=2".to_owned()], vec!["a=1; b=2"]),
            (vec![ours.to_owned()], vec![]),
            (vec![format!("{ours}; a=1")], vec!["a=1"]),
            (vec![format!("a=1;{ours}")], vec!["a=1"]),
            (vec![format!("a=1; {ours}; b=\"2 3\"")], vec!["a=1; b=\"2 3\""]),
            (vec![format!("{ours}; {ours}")], vec![]),
            (vec!["a=1".to_owned(), ours.to_owned(), "b=2".to_owned()], vec!["a=1", "b=2"]),
            (vec![format!("x{ours}; a={ours}")], vec!["xtidegate-visitor=0; a=tidegate-visitor=0"]),
        ] {
            let mut changed = headers(&before);
            remove(&mut changed);
            assert_eq!(changed, headers(after), "{before:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_else_is_there_ours_is_found_and_nothing_else_is_touched(
            visitor in any::<u64>(),
            day in any::<u16>(),
            others in proptest::collection::vec("[ -:<-~]{0,20}", 0..6),
            place in any::<prop::sample::Index>(),
        ) {
            let key = Key::random();
            let contents = Contents { visitor, day };
            let plain = headers([others.join(";").trim_ascii_start()]);
            let mut all = others;
            all.insert(place.index(all.len() + 1), given(contents, key));
            let mut with_ours = headers([all.join(";")]);
            prop_assert_eq!(read(&with_ours, key), Some(contents));
            remove(&mut with_ours);
            let left = with_ours.get(COOKIE).map_or("", |value| value.to_str().unwrap());
            prop_assert_eq!(left.trim_start_matches([';', ' ']),
                plain[COOKIE].to_str().unwrap().trim_start_matches([';', ' ']));
        }

        #[test]
        fn any_bytes_are_looked_at_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut around = b"tidegate-visitor=".to_vec();
            around.extend(bytes);
            if let Ok(value) = HeaderValue::from_bytes(&around) {
                let mut headers = headers([value.as_bytes()]);
                prop_assert_eq!(read(&headers, Key::random()), None);
                remove(&mut headers);
            }
        }
    }
}
