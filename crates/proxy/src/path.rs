//! Which paths are taken.

/// Whether a path could mean another place than it says: a `.` or `..` segment however encoded,
/// a NUL, a broken percent sign. Clients resolve dot segments themselves, so only somebody who
/// tries to reach around a route sends one.
pub(crate) fn is_deceptive(path: &str) -> bool {
    if !path.contains(['.', '%', '\\']) {
        return false;
    }
    let Some(decoded) = decode(path) else {
        return true;
    };
    decoded.contains(&0)
        || decoded
            .split(|byte| matches!(byte, b'/' | b'\\'))
            .any(|segment| matches!(segment, b"." | b".."))
}

/// Percent-decodes a path; none when a percent sign is not followed by two hexadecimal digits.
pub(crate) fn decode(path: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deceptive_paths_are_told_from_honest_ones() {
        for honest in [
            "/",
            "*",
            "/a/b.html",
            "/.well-known/x",
            "/...",
            "/a..b",
            "/group%2Fname",
            "/a%20b",
            "//",
        ] {
            assert!(!is_deceptive(honest), "{honest}");
        }
        for deceptive in [
            "/..",
            "/../x",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/x",
            "/.%2E/x",
            "/a%2f..%2fb",
            "/a/..\\b",
            "/a%5c..%5cb",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
        ] {
            assert!(is_deceptive(deceptive), "{deceptive}");
        }
    }
}
