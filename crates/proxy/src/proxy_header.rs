//! The header of the PROXY protocol, by which who stands in front says for whom it connects: both
//! versions, as <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt> has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// How a header of the first version begins.
const TEXT: &[u8] = b"PROXY ";
/// How one of the second version begins.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of the first version, with its end.
const LONGEST_LINE: usize = 107;
/// The beginning of the second version that every header has.
const FIXED: usize = 16;

/// For whom a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// For this client.
    Client(SocketAddr),
    /// For the peer itself, or it does not say.
    Peer,
}

/// Why a header is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It begins with something else.
    #[error("the connection begins without a header of the PROXY protocol")]
    Beginning,
    /// A line that the first version does not have.
    #[error("the header of version 1 is not a line that this version has")]
    Line,
    /// Another version, command or kind of address.
    #[error(
        "the header of version 2 has a version, a command or a kind of address that is unknown"
    )]
    Unknown,
    /// It is too short for what it announces.
    #[error("the header of version 2 is too short for its addresses")]
    Short,
}

/// Reads a header byte by byte, in pieces of any size.
#[derive(Debug)]
pub struct Reader {
    kept: [u8; LONGEST_LINE],
    length: usize,
    /// The rest of a header of the second version of which nothing is wanted.
    left: usize,
    source: Option<Source>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { kept: [0; LONGEST_LINE], length: 0, left: 0, source: None }
    }
}

impl Reader {
    /// Takes what belongs to the header, and says how many bytes that was. At the end of the header
    /// says whose the connection is.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Source>), Malformed> {
        for (taken, byte) in (1..).zip(bytes) {
            if let Some(source) = self.push(*byte)? {
                return Ok((taken, Some(source)));
            }
        }
        Ok((bytes.len(), None))
    }

    fn push(&mut self, byte: u8) -> Result<Option<Source>, Malformed> {
        if let Some(source) = self.source {
            self.left = self.left.saturating_sub(1);
            return Ok((self.left == 0).then_some(source));
        }
        // Neither version comes here with a buffer that is full.
        *self.kept.get_mut(self.length).ok_or(Malformed::Line)? = byte;
        self.length += 1;
        let kept = &self.kept[..self.length];
        if begins(kept, BINARY) { self.binary() } else { line(kept) }
    }

    /// The second version.
    fn binary(&mut self) -> Result<Option<Source>, Malformed> {
        let kept = &self.kept[..self.length];
        let Some((fixed, addresses)) = kept.split_at_checked(FIXED) else {
            return Ok(None);
        };
        let is_local = match fixed[12] {
            0x20 => true,
            0x21 => false,
            _ => return Err(Malformed::Unknown),
        };
        // A stream or datagrams: the addresses are the same.
        let needed = match (fixed[13] >> 4, fixed[13] & 0xf) {
            (1, 1 | 2) => 12,
            (2, 1 | 2) => 36,
            (3, 1 | 2) => 216,
            (0, 0) => 0,
            // Of who speaks for itself, all else is to be ignored.
            _ if is_local => 0,
            _ => return Err(Malformed::Unknown),
        };
        let announced = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        if announced < needed && !is_local {
            return Err(Malformed::Short);
        }
        let wanted = if is_local || needed == 216 { 0 } else { needed };
        if addresses.len() < wanted {
            return Ok(None);
        }
        let source = match (wanted, addresses) {
            (12, &[a, b, c, d, _, _, _, _, high, low, ..]) => Source::Client(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
                u16::from_be_bytes([high, low]),
            )),
            (36, _) => {
                let mut address = [0; 16];
                address.copy_from_slice(&addresses[..16]);
                let port = u16::from_be_bytes([addresses[32], addresses[33]]);
                Source::Client(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), port))
            }
            _ => Source::Peer,
        };
        self.source = Some(source);
        self.left = announced - wanted;
        Ok((self.left == 0).then_some(source))
    }
}

/// Whether these are the same as far as both go.
fn begins(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}

/// The first version: none while the line has not ended.
fn line(kept: &[u8]) -> Result<Option<Source>, Malformed> {
    if !begins(kept, TEXT) {
        return Err(Malformed::Beginning);
    }
    let Some(line) = kept.strip_suffix(b"\r\n") else {
        let is_long = kept.len() == LONGEST_LINE;
        return if is_long || kept.ends_with(b"\n") { Err(Malformed::Line) } else { Ok(None) };
    };
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Line)?;
    let words: Vec<&str> = line.split(' ').collect();
    match *words.as_slice() {
        [_, "UNKNOWN", ..] => Ok(Some(Source::Peer)),
        [_, "TCP4", from, to, port, to_port] => {
            client::<Ipv4Addr>(from, to, port, to_port).map(Some)
        }
        [_, "TCP6", from, to, port, to_port] => {
            client::<Ipv6Addr>(from, to, port, to_port).map(Some)
        }
        _ => Err(Malformed::Line),
    }
}

fn client<A>(from: &str, to: &str, port: &str, to_port: &str) -> Result<Source, Malformed>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let address = |text: &str| text.parse::<A>().map_err(|_| Malformed::Line);
    let port_of = |text: &str| {
        let plain = text == "0" || !text.starts_with(['0', '+']);
        text.parse::<u16>().ok().filter(|_| plain).ok_or(Malformed::Line)
    };
    address(to)?;
    port_of(to_port)?;
    Ok(Source::Client(SocketAddr::new(address(from)?.into(), port_of(port)?)))
}

/// Reads the header of a connection, and not a byte more.
pub(crate) async fn read(stream: &mut TcpStream) -> std::io::Result<Source> {
    let mut reader = Reader::default();
    let mut bytes = [0; 256];
    loop {
        let there = stream.peek(&mut bytes).await?;
        if there == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let fed = reader.feed(&bytes[..there]);
        let (taken, source) =
            fed.map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
        stream.read_exact(&mut bytes[..taken]).await?;
        if let Some(source) = source {
            return Ok(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_whole(bytes: &[u8]) -> Result<(usize, Option<Source>), Malformed> {
        Reader::default().feed(bytes)
    }

    /// A header of the second version.
    fn second(command: u8, kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [BINARY, &[command, kind], &length, content].concat()
    }

    fn of(address: &str) -> Source {
        Source::Client(address.parse().unwrap())
    }

    #[test]
    fn lines_of_the_first_version_are_told_apart() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LONGEST_LINE - 16));
        assert_eq!(longest.len(), LONGEST_LINE);
        let too_long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LONGEST_LINE - 15));
        for (line, wanted) in [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n", Ok(Some(of("192.0.2.1:4711")))),
            ("PROXY TCP6 2001:db8::1 ::1 4711 80\r\n", Ok(Some(of("[2001:db8::1]:4711")))),
            ("PROXY UNKNOWN\r\n", Ok(Some(Source::Peer))),
            ("PROXY UNKNOWN ff::1 ff::2 1 2\r\n", Ok(Some(Source::Peer))),
            (&longest, Ok(Some(Source::Peer))),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 4711 80", Ok(None)),
            ("PRO", Ok(None)),
            (&too_long, Err(Malformed::Line)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\n", Err(Malformed::Line)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 4711\r\n", Err(Malformed::Line)),
            ("PROXY TCP4  192.0.2.1 10.0.0.1 4711 80\r\n", Err(Malformed::Line)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 4711 80 \r\n", Err(Malformed::Line)),
            ("PROXY TCP4 2001:db8::1 ::1 4711 80\r\n", Err(Malformed::Line)),
            ("PROXY TCP6 192.0.2.1 10.0.0.1 4711 80\r\n", Err(Malformed::Line)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 04711 80\r\n", Err(Malformed::Line)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 +1 80\r\n", Err(Malformed::Line)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n", Err(Malformed::Line)),
            ("PROXY TCP4 192.0.2.001 10.0.0.1 1 80\r\n", Err(Malformed::Line)),
            ("PROXY UDP4 192.0.2.1 10.0.0.1 1 80\r\n", Err(Malformed::Line)),
            ("PROXY \r\n", Err(Malformed::Line)),
            ("proxy UNKNOWN\r\n", Err(Malformed::Beginning)),
            ("GET / HTTP/1.1\r\n", Err(Malformed::Beginning)),
            ("\u{16}\u{3}\u{1}", Err(Malformed::Beginning)),
        ] {
            let found = read_whole(line.as_bytes()).map(|(_, source)| source);
            assert_eq!(found, wanted, "{line:?}");
        }
    }

    #[test]
    fn headers_of_the_second_version_are_told_apart() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
        let with_more = [&four[..], &[4, 0, 1, 7]].concat();
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[32], six[33]) = (0x20, 1, 9, 0x12, 0x67);
        for (header, wanted) in [
            (second(0x21, 0x11, &four), Ok(Some(of("192.0.2.1:4711")))),
            (second(0x21, 0x12, &four), Ok(Some(of("192.0.2.1:4711")))),
            (second(0x21, 0x11, &with_more), Ok(Some(of("192.0.2.1:4711")))),
            (second(0x21, 0x21, &six), Ok(Some(of("[2001::9]:4711")))),
            (second(0x21, 0x31, &[7; 216]), Ok(Some(Source::Peer))),
            (second(0x21, 0x00, &[]), Ok(Some(Source::Peer))),
            (second(0x21, 0x00, &[7; 99]), Ok(Some(Source::Peer))),
            (second(0x20, 0x00, &[]), Ok(Some(Source::Peer))),
            (second(0x20, 0x11, &four), Ok(Some(Source::Peer))),
            (second(0x20, 0x77, &[7; 3]), Ok(Some(Source::Peer))),
            (second(0x21, 0x11, &four[..11]), Err(Malformed::Short)),
            (second(0x21, 0x21, &four), Err(Malformed::Short)),
            (second(0x21, 0x31, &four), Err(Malformed::Short)),
            (second(0x21, 0x41, &four), Err(Malformed::Unknown)),
            (second(0x21, 0x13, &four), Err(Malformed::Unknown)),
            (second(0x21, 0x10, &four), Err(Malformed::Unknown)),
            (second(0x22, 0x11, &four), Err(Malformed::Unknown)),
            (second(0x11, 0x11, &four), Err(Malformed::Unknown)),
            (second(0x21, 0x11, &four)[..20].to_vec(), Ok(None)),
            (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), Err(Malformed::Beginning)),
            (b"\r\nGET / HTTP/1.1\r\n".to_vec(), Err(Malformed::Beginning)),
        ] {
            let found = read_whole(&header).map(|(_, source)| source);
            assert_eq!(found, wanted, "{header:?}");
        }
    }

    prop_compose! {
        /// Bytes near to a header.
        fn nearly()(
            pieces in prop::collection::vec(prop_oneof![
                Just(TEXT.to_vec()),
                Just(b"TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec()),
                Just([BINARY, &[0x21, 0x11]].concat()),
                Just([BINARY, &[0x21, 0x21, 0, 40]].concat()),
                prop::collection::vec(any::<u8>(), 0..40),
            ], 0..4),
        ) -> Vec<u8> {
            pieces.concat()
        }
    }

    proptest! {
        #[test]
        fn nothing_behind_the_header_is_taken_in_whatever_pieces_it_comes(
            content in prop::collection::vec(any::<u8>(), 12..500),
            behind in prop::collection::vec(any::<u8>(), 0..50),
            sizes in prop::collection::vec(1_usize..60, 1..20),
        ) {
            let header = second(0x21, 0x11, &content);
            let sent = [&header[..], &behind].concat();
            let mut reader = Reader::default();
            let mut rest = &sent[..];
            for size in sizes.iter().cycle() {
                let piece = &rest[..rest.len().min(*size)];
                let (taken, source) = reader.feed(piece).unwrap();
                rest = &rest[taken..];
                if source.is_some() {
                    prop_assert_eq!(source, read_whole(&header).unwrap().1);
                    break;
                }
                prop_assert_eq!(taken, piece.len());
            }
            prop_assert_eq!(rest, &behind[..]);
        }

        #[test]
        fn pieces_say_what_the_whole_says(sent in nearly(), size in 1_usize..30) {
            let whole = read_whole(&sent);
            let mut reader = Reader::default();
            let mut pieces = Ok((0, None));
            for piece in sent.chunks(size) {
                let before = pieces.map_or(0, |(taken, _)| taken);
                pieces = reader.feed(piece).map(|(taken, source)| (before + taken, source));
                if !matches!(pieces, Ok((_, None))) {
                    break;
                }
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
