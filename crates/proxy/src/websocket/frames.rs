//! Where the frames of a `WebSocket` end, as far as their heads tell (RFC 6455, section 5.2).

/// The code that says that a side is going away.
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// The kind of frame that ends a conversation.
const CLOSE: u8 = 8;

/// Who sends frames. Those of clients are masked, and no others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Endpoint,
}

/// Follows the frames of one direction. Costs a look at each head and none at what they carry.
#[derive(Debug)]
pub(crate) struct Frames {
    sender: Sender,
    place: Place,
    closes: bool,
}

/// Where in a frame it is.
#[derive(Debug)]
enum Place {
    /// In the head, of which this much is there. At the beginning it is between two frames.
    Head([u8; 10], usize),
    /// Behind the head, with so much to come.
    Content(u64),
    /// This is no `WebSocket`, and where something ends is not known.
    Lost,
}

const BETWEEN: Place = Place::Head([0; 10], 0);

impl Frames {
    pub(crate) fn of(sender: Sender) -> Self {
        Self { sender, place: BETWEEN, closes: false }
    }

    /// Whether the last frame has ended and the next one has not begun.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.place, Place::Head(_, 0))
    }

    /// Whether the sender has said that it ends.
    pub(crate) fn has_closed(&self) -> bool {
        self.closes
    }

    /// Goes on with these bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.feed_frame(bytes)..];
        }
    }

    /// Goes on with these bytes as far as the frame goes, and says how many that are: at least one
    /// of any.
    pub(crate) fn feed_frame(&mut self, bytes: &[u8]) -> usize {
        for (taken, byte) in bytes.iter().enumerate() {
            match &mut self.place {
                Place::Head(head, length) => {
                    head[*length] = *byte;
                    *length += 1;
                    let (head, length) = (*head, *length);
                    self.place = self.after_head(&head, length);
                    if self.is_between() {
                        return taken + 1;
                    }
                }
                Place::Content(left) => {
                    let rest = bytes.len() - taken;
                    match usize::try_from(*left) {
                        Ok(left) if left <= rest => {
                            self.place = BETWEEN;
                            return taken + left;
                        }
                        _ => *left -= rest as u64,
                    }
                    return bytes.len();
                }
                Place::Lost => return bytes.len(),
            }
        }
        bytes.len()
    }

    fn after_head(&mut self, head: &[u8; 10], length: usize) -> Place {
        let [first, second, rest @ ..] = head;
        let kind = first & 0x0f;
        let is_last = first & 0x80 != 0;
        if length == 1 {
            let known = matches!(kind, 0..=2 | 8..=10) && (kind < 8 || is_last);
            return if known { Place::Head(*head, length) } else { Place::Lost };
        }
        let is_masked = second & 0x80 != 0;
        if is_masked != (self.sender == Sender::Client) {
            return Place::Lost;
        }
        let content = match (second & 0x7f, length) {
            (126.., _) if kind >= 8 => return Place::Lost,
            (126, 4..) => u64::from(u16::from_be_bytes([rest[0], rest[1]])),
            (127, 10..) => u64::from_be_bytes(*rest),
            (126.., _) => return Place::Head(*head, length),
            (short, _) => u64::from(short),
        };
        if content > i64::MAX as u64 {
            return Place::Lost;
        }
        self.closes |= kind == CLOSE;
        match content + if is_masked { 4 } else { 0 } {
            0 => BETWEEN,
            more => Place::Content(more),
        }
    }
}

/// The frame by which a side says that it is going away.
pub(crate) fn going_away(sender: Sender, random: u64) -> Vec<u8> {
    let length = 2;
    match sender {
        Sender::Endpoint => [&[0x80 | CLOSE, length][..], &GOING_AWAY].concat(),
        Sender::Client => {
            let mask = random.to_be_bytes();
            let mask = [mask[0], mask[1], mask[2], mask[3]];
            let content = [GOING_AWAY[0] ^ mask[0], GOING_AWAY[1] ^ mask[1]];
            [&[0x80 | CLOSE, 0x80 | length][..], &mask, &content].concat()
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with a content of so many bytes.
    pub(crate) fn frame(sender: Sender, kind: u8, content: usize) -> Vec<u8> {
        let mask = if sender == Sender::Client { 0x80 } else { 0 };
        let mut frame = vec![0x80 | kind];
        match content {
            0..126 => frame.push(mask | u8::try_from(content).unwrap()),
            126..65_536 => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(content).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7f);
                frame.extend((content as u64).to_be_bytes());
            }
        }
        if mask > 0 {
            frame.extend([1, 2, 3, 4]);
        }
        frame.resize(frame.len() + content, 0x81);
        frame
    }

    #[test]
    fn what_is_no_websocket_has_no_ends() {
        for (sender, bytes) in [
            (Sender::Endpoint, &b"hello\n\n"[..]),
            (Sender::Endpoint, &[0x83, 0]),
            (Sender::Endpoint, &[0x8b, 0]),
            // A piece of a frame that comes whole or not at all, and one that is too long.
            (Sender::Endpoint, &[0x08, 0]),
            (Sender::Endpoint, &[0x89, 126]),
            (Sender::Endpoint, &[0x81, 0x80]),
            (Sender::Client, &[0x81, 0]),
            (Sender::Endpoint, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let mut frames = Frames::of(sender);
            frames.feed(bytes);
            assert!(matches!(frames.place, Place::Lost), "{bytes:?}");
            frames.feed(&[0x81, 0, 0x81, 0x80]);
            assert!(!frames.is_between() && !frames.has_closed());
        }
    }

    #[test]
    fn what_we_say_at_the_end_is_a_frame() {
        assert_eq!(going_away(Sender::Endpoint, 7), [0x88, 2, 3, 0xe9]);
        for sender in [Sender::Client, Sender::Endpoint] {
            let mut frames = Frames::of(sender);
            frames.feed(&going_away(sender, 0x1234_5678_9abc_def0));
            assert!(frames.is_between() && frames.has_closed());
        }
        let masked = going_away(Sender::Client, 0x1234_5678_9abc_def0);
        assert_eq!(masked, [0x88, 0x82, 0x12, 0x34, 0x56, 0x78, 0x11, 0xdd]);
    }

    proptest! {
        #[test]
        fn ends_are_known_in_whatever_pieces_frames_come(
            contents in prop::collection::vec(
                prop_oneof![0_usize..130, 65_530_usize..65_540], 1..6),
            size in 1_usize..5_000,
            by_client: bool,
        ) {
            let sender = if by_client { Sender::Client } else { Sender::Endpoint };
            let frames: Vec<Vec<u8>> =
                contents.iter().map(|content| frame(sender, 2, *content)).collect();
            let mut ends = std::collections::BTreeSet::from([0]);
            for frame in &frames {
                ends.insert(ends.last().unwrap() + frame.len());
            }
            let sent = frames.concat();
            let mut followed = Frames::of(sender);
            let mut at = 0;
            for piece in sent.chunks(size) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let taken = followed.feed_frame(rest);
                    prop_assert!(taken > 0);
                    at += taken;
                    rest = &rest[taken..];
                    prop_assert_eq!(followed.is_between(), ends.contains(&at));
                    prop_assert!(rest.is_empty() || ends.contains(&at));
                }
            }
            prop_assert!(!followed.has_closed());
        }

        #[test]
        fn any_bytes_are_followed(sent in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..20) {
            let (mut whole, mut pieces) = (Frames::of(Sender::Endpoint), Frames::of(Sender::Endpoint));
            whole.feed(&sent);
            sent.chunks(size).for_each(|piece| pieces.feed(piece));
            prop_assert_eq!(whole.is_between(), pieces.is_between());
            prop_assert_eq!(whole.has_closed(), pieces.has_closed());
        }
    }
}
