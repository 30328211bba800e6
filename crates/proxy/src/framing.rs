//! Finds the heads of requests in what a client sends, to refuse what the HTTP library would
//! quietly repair: a request whose length is said in two ways, and lines that do not end as lines
//! must.
//!
//! This is an alarm, not the parser. Whatever it misses is still sent on as the library understood
//! it, written anew, so that an endpoint never sees the client's own framing.

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("a request must not have both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// A line that ends in a line feed alone.
    #[error("a line of the request's head does not end in CR LF")]
    BareLineFeed,
}

/// Follows the bytes of a connection.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    head: Head,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a head; `begun` once it has a byte.
    Head { begun: bool },
    /// So many bytes of a body are to come.
    Body(u64),
    /// At the size of a chunk.
    ChunkSize,
    /// So many bytes of a chunk with its line end are to come.
    Chunk(u64),
    /// After the last chunk.
    Trailers,
    /// Not followed any longer.
    Off,
}

#[derive(Debug, Default, Clone, Copy)]
struct Head {
    length: Option<u64>,
    encoded: bool,
}

/// A line longer than this is refused by the HTTP library.
const LONGEST_LINE: usize = 64 * 1024;

impl Framing {
    pub(crate) fn new() -> Self {
        Self { state: State::Head { begun: false }, line: Vec::new(), head: Head::default() }
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn is_in_head(&self) -> bool {
        self.state == State::Head { begun: true }
    }

    /// Takes the next bytes. After a fault nothing is followed any longer.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            match self.state {
                State::Off => return Ok(()),
                State::Body(left) | State::Chunk(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.state = match (self.state, left) {
                        (State::Chunk(_), 0) => State::ChunkSize,
                        (_, 0) => State::Head { begun: false },
                        (State::Chunk(_), left) => State::Chunk(left),
                        (_, left) => State::Body(left),
                    };
                }
                State::Head { .. } | State::ChunkSize | State::Trailers => {
                    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                        self.keep(bytes);
                        return Ok(());
                    };
                    let (line, rest) = bytes.split_at(end + 1);
                    bytes = rest;
                    let outcome = if self.line.is_empty() {
                        self.line(line)
                    } else {
                        self.keep(line);
                        let whole = std::mem::take(&mut self.line);
                        self.line(&whole)
                    };
                    if outcome.is_err() {
                        self.state = State::Off;
                        return outcome;
                    }
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, part: &[u8]) {
        if let State::Head { begun } = &mut self.state {
            *begun = true;
        }
        if self.line.len() + part.len() > LONGEST_LINE {
            self.state = State::Off;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return if self.state == State::Off { Ok(()) } else { Err(Fault::BareLineFeed) };
        };
        match self.state {
            State::Head { begun: false } if line.is_empty() => {}
            State::Head { .. } if line.is_empty() => return self.end_head(),
            State::Head { .. } => {
                self.state = State::Head { begun: true };
                self.header(line);
            }
            State::ChunkSize => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or(line);
                self.state = match parse(digits.trim_ascii(), 16) {
                    Some(0) => State::Trailers,
                    Some(size) => State::Chunk(size.saturating_add(2)),
                    None => State::Off,
                };
            }
            State::Trailers if line.is_empty() => self.state = State::Head { begun: false },
            State::Trailers | State::Body(_) | State::Chunk(_) | State::Off => {}
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8]) {
        // Most lines end here.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.encoded = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            // What is no number is refused by the HTTP library.
            self.head.length = Some(parse(line[colon + 1..].trim_ascii(), 10).unwrap_or(0));
        }
    }

    fn end_head(&mut self) -> Result<(), Fault> {
        self.state = match std::mem::take(&mut self.head) {
            Head { length: Some(_), encoded: true } => return Err(Fault::TwoLengths),
            Head { encoded: true, .. } => State::ChunkSize,
            Head { length: Some(length @ 1..), .. } => State::Body(length),
            Head { .. } => State::Head { begun: false },
        };
        Ok(())
    }
}

fn parse(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole, byte by byte, and in pieces of seven.
    fn outcomes(bytes: &[u8]) -> Vec<Result<(), Fault>> {
        [bytes.len(), 1, 7]
            .into_iter()
            .map(|size| {
                let mut framing = Framing::new();
                bytes.chunks(size).try_for_each(|piece| framing.feed(piece))
            })
            .collect()
    }

    #[test]
    fn good_requests_pass_and_bad_ones_are_found() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let both = "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        let reversed = "POST / HTTP/1.1\r\ntransfer-encoding: x\r\nCONTENT-LENGTH : 3\r\n\r\n";
        let body = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\na\nb\nc\nd\n\r";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3;x=y\r\na\nb\r\n0\r\nContent-Length: 5\r\n\r\n";
        for (bytes, wanted) in [
            (get.to_owned(), Ok(())),
            (format!("\r\n{get}{get}"), Ok(())),
            (both.to_owned(), Err(Fault::TwoLengths)),
            (reversed.to_owned(), Err(Fault::TwoLengths)),
            (format!("{get}{both}"), Err(Fault::TwoLengths)),
            (format!("{body}{get}"), Ok(())),
            (format!("{body}{both}"), Err(Fault::TwoLengths)),
            (format!("{chunked}{get}"), Ok(())),
            (format!("{chunked}{both}"), Err(Fault::TwoLengths)),
            ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), Err(Fault::BareLineFeed)),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n".to_owned(), Err(Fault::BareLineFeed)),
        ] {
            for outcome in outcomes(bytes.as_bytes()) {
                assert_eq!(outcome, wanted, "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_head_under_way_is_known() {
        let mut framing = Framing::new();
        assert!(!framing.is_in_head());
        framing.feed(b"G").unwrap();
        assert!(framing.is_in_head());
        framing.feed(b"ET / HTTP/1.1\r\nHost: a\r\n").unwrap();
        assert!(framing.is_in_head());
        framing.feed(b"\r\n").unwrap();
        assert!(!framing.is_in_head());
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 1..300)) {
            outcomes(&bytes);
        }
    }
}
