//! What is said, so that both sides know every byte of it beforehand.

/// The bytes that `who` says about the request with this number.
pub(crate) fn content(who: &str, number: u64, length: usize) -> Vec<u8> {
    // FNV-1a, so that neighbours have nothing in common, and then xorshift.
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in who.bytes().chain(number.to_le_bytes()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state |= 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Who speaks in the body of a request.
pub(crate) const CLIENT: &str = "client";

/// The body of a request that has one.
pub(crate) const POSTED: usize = 100 * 1024;

/// The name of a version.
pub(crate) const VERSIONS: [&str; 2] = ["v1", "v2"];

/// Tells the version of an answer.
pub(crate) const VERSION: &str = "x-version";

/// Tells the number of the instance that gave an answer.
pub(crate) const INSTANCE: &str = "x-instance";

/// One of the events of a long answer.
pub(crate) fn event(version: &str, number: u64, index: u32) -> String {
    format!("data: {version} {number} {index}\n\n")
}

/// How many events a long answer has.
pub(crate) const EVENTS: u32 = 20;

/// What is said to a WebSocket.
pub(crate) fn message(number: u64, index: u32) -> String {
    format!("{number} {index}")
}

/// How many messages are said to a WebSocket.
pub(crate) const MESSAGES: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_speaker_and_number_has_its_own_bytes() {
        let one = content("v1", 1, 100);
        assert_eq!(one.len(), 100);
        assert_eq!(one, content("v1", 1, 200)[..100]);
        for (who, number) in [("v2", 1), ("v1", 2), ("v1", 0)] {
            assert_ne!(one, content(who, number, 100), "{who} {number}");
        }
    }
}
