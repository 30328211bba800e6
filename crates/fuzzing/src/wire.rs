//! HTTP/1.1 read by its letter: whatever could be read in two ways is refused.
//!
//! Written apart from the data plane's own reading, so that the two can be held against each other.

/// A message that is there whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The first line, in words.
    pub(crate) first: Vec<String>,
    /// Names in lower case, in order.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    /// A message, of so many bytes.
    Whole(Message, usize),
    /// More is to come.
    Part,
    /// Not HTTP, or HTTP that two readers could understand differently.
    Ambiguous(String),
}

/// How long a body is when its head does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsaid {
    /// There is none, as in requests.
    Nothing,
    /// It goes on until the connection ends, as in answers.
    Rest,
    /// There is none whatever the head says, as in answers to HEAD.
    Never,
}

impl Message {
    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }
}

fn ambiguous(why: impl Into<String>) -> Read {
    Read::Ambiguous(why.into())
}

/// Reads one message.
pub(crate) fn read(bytes: &[u8], unsaid: impl Fn(&Message) -> Unsaid) -> Read {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Read::Part;
    };
    let mut message = match head(&bytes[..end]) {
        Ok(message) => message,
        Err(why) => return Read::Ambiguous(why),
    };
    let rest = &bytes[end + 4..];
    let unsaid = unsaid(&message);
    let (lengths, encodings) = (message.all("content-length"), message.all("transfer-encoding"));
    let body = match (lengths.as_slice(), encodings.as_slice()) {
        ([], []) if unsaid == Unsaid::Rest => Ok(Some((rest.to_vec(), rest.len()))),
        ([], []) => Ok(Some((Vec::new(), 0))),
        (_, [_, ..]) | ([_], []) if unsaid == Unsaid::Never => Ok(Some((Vec::new(), 0))),
        ([length], []) => match number(length, 10) {
            None => Err("a length that is no number".to_owned()),
            Some(length) => Ok((rest.len() >= length).then(|| (rest[..length].to_vec(), length))),
        },
        ([], [encoding]) if encoding.eq_ignore_ascii_case(b"chunked") => chunked(rest),
        _ => Err("a length that is said in several ways, or in an unknown one".to_owned()),
    };
    match body {
        Err(why) => ambiguous(why),
        Ok(None) => Read::Part,
        Ok(Some((body, length))) => {
            message.body = body;
            Read::Whole(message, end + 4 + length)
        }
    }
}

fn head(bytes: &[u8]) -> Result<Message, String> {
    let mut lines = split(bytes);
    let first = lines.next().unwrap_or_default();
    let first = std::str::from_utf8(first).map_err(|_| "a first line that is no text")?;
    // The words of an answer's status may be divided by tabs.
    if first.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(format!("a first line with control characters: {first:?}"));
    }
    let mut message = Message {
        first: first.split(' ').map(str::to_owned).collect(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').ok_or("a line without a colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(token) {
            return Err(format!("a header's name: {:?}", String::from_utf8_lossy(name)));
        }
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(format!("a header's value: {:?}", String::from_utf8_lossy(value)));
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        message.headers.push((name, value.to_vec()));
    }
    Ok(message)
}

/// A body in chunks without trailers, and its length on the wire.
fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = number(&bytes[at..at + end], 16).ok_or("a chunk's size that is no number")?;
        at += end + 2;
        let Some(chunk) = bytes.get(at..at.saturating_add(size).saturating_add(2)) else {
            return Ok(None);
        };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
            return Err("a chunk that does not end where it says".to_owned());
        };
        body.extend_from_slice(chunk);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// Digits and nothing else.
fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let digits = std::str::from_utf8(digits).ok()?;
    let all = digits.chars().all(|character| character.is_digit(radix));
    if all { usize::from_str_radix(digits, radix).ok() } else { None }
}

/// Lines as CR LF divides them, whatever else is in them.
pub(crate) fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let Some(end) = find(bytes, b"\r\n") else {
            rest = None;
            return Some(bytes);
        };
        rest = Some(&bytes[end + 2..]);
        Some(&bytes[..end])
    })
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|found| found == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let kind = |text: &str| match read(text.as_bytes(), |_| Unsaid::Nothing) {
            Read::Whole(message, length) => {
                format!("{} of {length}", String::from_utf8_lossy(&message.body))
            }
            Read::Part => "part".to_owned(),
            Read::Ambiguous(_) => "ambiguous".to_owned(),
        };
        for (text, wanted) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nrest", " of 27"),
            ("GET / HTTP/1.1\r\nHost: a\r\n", "part"),
            ("GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd", "abc of 40"),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcd", "part"),
            ("GET / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabcd", "ambiguous"),
            ("GET / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\nabc", "ambiguous"),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
                "abc of 64",
            ),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", "ambiguous"),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "ambiguous"),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
                "ambiguous",
            ),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "ambiguous"),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "ambiguous"),
        ] {
            assert_eq!(kind(text), wanted, "{text:?}");
        }
    }
}
