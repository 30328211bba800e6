//! Takes a body out of its chunks.

use std::ops::Range;

/// All that may be said beside the body, in bytes: extensions of chunks, and trailers.
const MOST_BESIDE: u32 = 16 * 1024;

/// It is no body in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// How far a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunks {
    state: State,
    /// Of the chunk, as far as it is known or still to come.
    left: u64,
    beside: u32,
    /// What was said after the last chunk, in lines.
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many digits of a size were read.
    Size(u8),
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// At the beginning of a line after the last chunk.
    TrailerStart,
    Trailer,
    TrailerLineFeed,
    LastLineFeed,
    End,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where the body's bytes are now.
    pub(crate) data: Range<usize>,
    /// So many bytes belong to the body and its framing.
    pub(crate) taken: usize,
}

impl Chunks {
    pub(crate) const fn new() -> Self {
        Self { state: State::Size(0), left: 0, beside: 0, trailers: Vec::new() }
    }

    /// Whether the body has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::End
    }

    /// What was said after the last chunk, in lines with their ends; nothing, mostly.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Takes the next bytes, and moves what of the body is in them together. Takes all of them
    /// unless the body ends before.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> Result<Found, Malformed> {
        let mut data = 0..0;
        let mut index = 0;
        while index < bytes.len() && self.state != State::End {
            if self.state == State::Data {
                let there = bytes.len() - index;
                let count = usize::try_from(self.left).map_or(there, |left| left.min(there));
                if data.is_empty() {
                    data = index..index + count;
                } else {
                    bytes.copy_within(index..index + count, data.end);
                    data.end += count;
                }
                index += count;
                self.left -= count as u64;
                if self.left == 0 {
                    self.state = State::DataReturn;
                }
            } else {
                self.state = self.after(bytes[index])?;
                if matches!(self.state, State::Trailer | State::TrailerLineFeed) {
                    self.trailers.push(bytes[index]);
                } else if self.state == State::TrailerStart && !self.trailers.is_empty() {
                    self.trailers.push(b'\n');
                }
                index += 1;
            }
        }
        Ok(Found { data, taken: index })
    }

    fn after(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            // Fifteen digits are more than anybody sends, and never too many for the number.
            (State::Size(digits @ 0..15), _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.left = self.left << 4 | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(1..) | State::Extension, b'\r') => State::SizeLineFeed,
            (State::Size(1..), b';' | b' ' | b'\t') => State::Extension,
            (State::Extension, _) if byte != b'\n' => self.beside(State::Extension)?,
            (State::SizeLineFeed, b'\n') if self.left == 0 => State::TrailerStart,
            (State::SizeLineFeed, b'\n') => State::Data,
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size(0),
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::Trailer, b'\r') => State::TrailerLineFeed,
            (State::TrailerStart | State::Trailer, _) if byte != b'\n' => {
                self.beside(State::Trailer)?
            }
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            (State::LastLineFeed, b'\n') => State::End,
            _ => return Err(Malformed),
        })
    }

    fn beside(&mut self, state: State) -> Result<State, Malformed> {
        self.beside += 1;
        if self.beside > MOST_BESIDE { Err(Malformed) } else { Ok(state) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything of a body that comes in these parts, and what follows it.
    fn take(parts: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), Malformed> {
        let mut chunks = Chunks::new();
        let (mut body, mut rest) = (Vec::new(), Vec::new());
        for part in parts {
            let mut part = part.to_vec();
            let found = chunks.take(&mut part)?;
            assert!(found.taken == part.len() || chunks.is_over());
            body.extend_from_slice(&part[found.data]);
            rest.extend_from_slice(&part[found.taken..]);
        }
        Ok((body, rest, chunks.is_over()))
    }

    #[test]
    fn bodies_are_told_from_what_is_none() {
        for (text, wanted) in [
            ("0\r\n\r\n", Ok(("", "", true))),
            ("3\r\nabc\r\n0\r\n\r\nrest", Ok(("abc", "rest", true))),
            ("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", Ok(("abcde", "", true))),
            (
                "A;name=\"x\"\r\n0123456789\r\n00\r\nTrailer: x\r\n\r\n",
                Ok(("0123456789", "", true)),
            ),
            ("3 \t;x\r\nabc\r\n0\r\n", Ok(("abc", "", false))),
            ("000000000000003\r\nabc", Ok(("abc", "", false))),
            ("3\r\nab", Ok(("ab", "", false))),
            ("", Ok(("", "", false))),
            ("0000000000000003\r\nabc", Err(Malformed)),
            ("\r\n", Err(Malformed)),
            (";x\r\n", Err(Malformed)),
            ("3\nabc", Err(Malformed)),
            ("3;x\nabc", Err(Malformed)),
            ("3\rxabc", Err(Malformed)),
            ("3\r\nabcd", Err(Malformed)),
            ("3\r\nabc\n0\r\n\r\n", Err(Malformed)),
            ("0x3\r\nabc", Err(Malformed)),
            ("-3\r\nabc", Err(Malformed)),
            ("+3\r\nabc", Err(Malformed)),
            ("0\r\nTrailer: x\n\r\n", Err(Malformed)),
            ("0\r\n\rx", Err(Malformed)),
        ] {
            let found = take(&[text.as_bytes()]);
            let wanted = wanted.map(|(body, rest, over)| (body.into(), rest.into(), over));
            assert_eq!(found, wanted, "{text:?}");
        }
    }

    #[test]
    fn trailers_are_kept_in_lines() {
        let mut chunks = Chunks::new();
        for part in ["1\r\nx\r\n0\r\nA: b\r", "\nC: d\r\n", "\r\n"] {
            chunks.take(&mut part.as_bytes().to_vec()).unwrap();
        }
        assert!(chunks.is_over());
        assert_eq!(chunks.trailers(), b"A: b\r\nC: d\r\n");
    }

    #[test]
    fn nobody_talks_beside_the_body_without_end() {
        for (before, after) in [("1;", "\r\na\r\n0\r\n\r\n"), ("0\r\nx:", "\r\n\r\n")] {
            for (extra, wanted) in [(0, true), (MOST_BESIDE as usize + 1, false)] {
                let text = format!("{before}{}{after}", "x".repeat(extra));
                assert_eq!(take(&[text.as_bytes()]).is_ok(), wanted, "{before}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_is_divided(
            pieces in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in proptest::collection::vec(0_usize..400, 0..8),
        ) {
            let mut whole = Vec::new();
            for piece in &pieces {
                whole.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                whole.extend_from_slice(piece);
                whole.extend_from_slice(b"\r\n");
            }
            whole.extend_from_slice(b"0\r\n\r\nrest");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            prop_assert_eq!(take(&parts), Ok((pieces.concat(), b"rest".to_vec(), true)));
        }

        #[test]
        fn whatever_comes_is_taken_or_refused(text in "[0-9a-f;\r\n x]{0,60}") {
            let mut chunks = Chunks::new();
            let mut bytes = text.into_bytes();
            if let Ok(found) = chunks.take(&mut bytes) {
                prop_assert!(found.data.end <= found.taken && found.taken <= bytes.len());
            }
        }
    }
}
