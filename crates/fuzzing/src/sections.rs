//! Several named texts in one input: each begins with a line `=== name`.

/// The texts in the order of the input. What comes before the first name is nobody's.
pub(crate) fn sections(bytes: &[u8]) -> Vec<(&str, &[u8])> {
    let mut sections = Vec::new();
    let mut rest = bytes;
    while let Some(at) = begin(rest) {
        rest = &rest[at + 4..];
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after.get(1..).unwrap_or_default();
        let text = &after[..begin(after).unwrap_or(after.len())];
        if let Ok(name) = std::str::from_utf8(name) {
            sections.push((name, text));
        }
        rest = &after[text.len()..];
    }
    sections
}

/// Where the next name begins.
fn begin(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len())
        .find(|at| bytes[*at..].starts_with(b"=== ") && (*at == 0 || bytes[at - 1] == b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_divide_texts() {
        let found = sections(b"nobody's\n=== a\none\ntwo === x\n=== b\n=== c");
        let wanted: [(&str, &[u8]); 3] = [("a", b"one\ntwo === x\n"), ("b", b""), ("c", b"")];
        assert_eq!(found, wanted);
    }
}
