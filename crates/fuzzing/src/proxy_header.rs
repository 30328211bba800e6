//! The header of the PROXY protocol.

use std::net::IpAddr;

use tidegate_proxy::fuzzing::{Malformed, Reader, Source};

/// The first byte says into which pieces the rest is divided.
pub(crate) fn hold(bytes: &[u8]) {
    let Some((size, sent)) = bytes.split_first() else { return };
    let whole = Reader::default().feed(sent);
    assert_eq!(in_pieces(sent, usize::from(*size) + 1), whole, "pieces say something else");
    let Ok((taken, source)) = whole else { return };
    assert!(taken <= sent.len(), "more was taken than there is");
    let Some(source) = source else {
        assert_eq!(taken, sent.len(), "something is left and nothing is said");
        return;
    };
    // Neither less nor other bytes behind it change what was read.
    let header = &sent[..taken];
    assert_eq!(Reader::default().feed(header), whole, "what stands behind is part of it");
    let shorter = Reader::default().feed(&header[..taken - 1]);
    assert_eq!(shorter, Ok((taken - 1, None)), "it ends before its end");
    match (source, header.first()) {
        (Source::Client(client), Some(b'P')) => {
            let line = std::str::from_utf8(header).expect("a line is text");
            let words: Vec<&str> = line.trim_end().split(' ').collect();
            let [_, _, from, _, port, _] = words[..] else { panic!("{words:?}") };
            assert_eq!(from.parse::<IpAddr>(), Ok(client.ip()));
            assert_eq!(port, client.port().to_string());
        }
        (Source::Peer, Some(b'P')) => assert!(header.starts_with(b"PROXY UNKNOWN")),
        _ => {
            let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
            assert_eq!(taken, 16 + length, "it is as long as it says");
        }
    }
}

fn in_pieces(sent: &[u8], size: usize) -> Result<(usize, Option<Source>), Malformed> {
    let mut reader = Reader::default();
    let mut before = 0;
    for piece in sent.chunks(size) {
        let (taken, source) = reader.feed(piece)?;
        before += taken;
        if source.is_some() {
            return Ok((before, source));
        }
    }
    Ok((before, None))
}
