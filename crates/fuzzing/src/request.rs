//! What clients send to the data plane, and what endpoints get of it.

use std::{cell::RefCell, rc::Rc};

use tidegate_proxy::fuzzing::{Conversation, converse, plain};
use tidegate_types::RouteRule;

use crate::wire::{self, Message, Read, Unsaid};

/// The first byte says into which pieces the rest is divided.
pub(crate) fn hold(bytes: &[u8]) {
    let Some((size, sent)) = bytes.split_first() else { return };
    let rule = RouteRule {
        host: None,
        path: if size & 1 == 1 { "/a".to_owned() } else { "/".to_owned() },
        strip_prefix: size & 1 == 1,
        handling: tidegate_types::Handling::default(),
    };
    let whole = Talk::new(vec![sent.to_vec()], &rule);
    let size = usize::from(*size) / 2 + 1;
    let pieces = Talk::new(sent.chunks(size).map(<[u8]>::to_vec).collect(), &rule);
    for talk in [&whole, &pieces] {
        talk.answers_are_clear();
        talk.first_was_clear(sent);
    }
    as_the_library_has_it(sent, &rule, &whole);
    // What comes after a request may be refused before or after that one is answered.
    let common = whole.taken.len().min(pieces.taken.len());
    assert_eq!(whole.taken[..common], pieces.taken[..common], "taken in another way in pieces");
    if !whole.refused() && !pieces.refused() {
        assert_eq!(whole.taken.len(), pieces.taken.len(), "fewer are taken in one of the ways");
    }
}

/// What is taken as plain is taken by the library, too, and the endpoint gets the same.
fn as_the_library_has_it(sent: &[u8], rule: &RouteRule, talk: &Talk) {
    let Some((got, length)) = plain::request(sent, rule) else { return };
    let shown = String::from_utf8_lossy(sent);
    assert_eq!(wire::find(sent, b"\r\n\r\n"), Some(length - 4), "another end: {shown:?}");
    let Read::Whole(got, _) = wire::read(&got, |_| Unsaid::Nothing) else {
        panic!("the endpoint gets something unclear: {shown:?}");
    };
    let Some(library) = talk.taken.first() else {
        // What follows it on the connection may be refused before it is taken.
        assert!(length < sent.len() && talk.refused(), "the library does not take it: {shown:?}");
        return;
    };
    let named = named(sent, "x-request-id");
    let comparable = |message: &Message| {
        let mut headers = message.headers.clone();
        // There the client is believed, and names are random.
        headers.retain(|(name, _)| {
            !name.starts_with("x-forwarded-")
                && name != "forwarded"
                && (named || name != "x-request-id")
        });
        headers.sort();
        (message.first.clone(), headers)
    };
    assert_eq!(comparable(&got), comparable(library), "{shown:?}");
}

fn named(sent: &[u8], name: &str) -> bool {
    sent.to_ascii_lowercase().windows(name.len()).any(|window| window == name.as_bytes())
}

/// A conversation and the requests of it that an endpoint got whole.
struct Talk {
    conversation: Conversation,
    taken: Vec<Message>,
}

impl Talk {
    fn new(pieces: Vec<Vec<u8>>, rule: &RouteRule) -> Self {
        let taken = Rc::new(RefCell::new(Vec::new()));
        let got = Rc::clone(&taken);
        let application = move |sent: &[u8]| {
            let request = request(sent)?;
            got.borrow_mut().push(request);
            Some(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
        };
        let conversation = converse(pieces, rule, Box::new(application));
        for sent in &conversation.requests {
            // Also what an endpoint got of a request that was broken off is clear.
            let _ = request(sent);
        }
        let taken = taken.take();
        Self { conversation, taken }
    }

    fn refused(&self) -> bool {
        [b"HTTP/1.0 4", b"HTTP/1.1 4"]
            .iter()
            .any(|status| wire::find(&self.conversation.answers, *status).is_some())
    }

    /// The client can tell one answer from the next.
    fn answers_are_clear(&self) {
        let mut rest = self.conversation.answers.as_slice();
        while !rest.is_empty() {
            // A HEAD request is answered with a length and no body; which it was, its answer does
            // not say.
            let (never, said) = (Unsaid::Never, Unsaid::Nothing);
            let read = [said, never].map(|unsaid| wire::read(rest, |_| unsaid));
            let next = read.into_iter().find_map(|read| match read {
                Read::Whole(_, length) if is_answer(&rest[length..]) => Some(length),
                _ => None,
            });
            let Some(length) = next else {
                panic!("unclear answers: {}", String::from_utf8_lossy(rest));
            };
            rest = &rest[length..];
        }
    }

    /// The head of the first request, read naively, can be understood in only one way if it was
    /// taken.
    fn first_was_clear(&self, sent: &[u8]) {
        if self.taken.is_empty() {
            return;
        }
        let mut sent = sent;
        while let Some(rest) = sent.strip_prefix(b"\r\n") {
            sent = rest;
        }
        let end = wire::find(sent, b"\r\n\r\n").expect("a head that was taken has an end");
        let head = &sent[..end];
        let shown = String::from_utf8_lossy(head);
        let named = |wanted: &str| -> Vec<&[u8]> {
            wire::split(head)
                .skip(1)
                .filter_map(|line| {
                    let colon = line.iter().position(|byte| *byte == b':')?;
                    let name = line[..colon].trim_ascii();
                    let is_wanted = name.eq_ignore_ascii_case(wanted.as_bytes());
                    is_wanted.then(|| line[colon + 1..].trim_ascii())
                })
                .collect()
        };
        let bare = |line: &[u8]| line.contains(&b'\n') || line.contains(&b'\r');
        assert!(!wire::split(head).any(bare), "a bare line end was taken: {shown:?}");
        assert_eq!(named("host").len(), 1, "not one host: {shown:?}");
        let (lengths, encodings) = (named("content-length"), named("transfer-encoding"));
        assert!(lengths.is_empty() || encodings.is_empty(), "two lengths: {shown:?}");
        let plain = |encoding: &&[u8]| encoding.eq_ignore_ascii_case(b"chunked");
        assert!(encodings.len() <= 1 && encodings.iter().all(plain), "encodings: {shown:?}");
        let digits = |length: &&[u8]| length.iter().all(u8::is_ascii_digit);
        // The same length twice is one length, and the endpoint is told it once.
        let number = |length: &[u8]| {
            length.iter().skip_while(|digit| **digit == b'0').copied().collect::<Vec<u8>>()
        };
        let same = lengths.windows(2).all(|pair| number(pair[0]) == number(pair[1]));
        assert!(same && lengths.iter().all(digits), "lengths: {shown:?}");
    }
}

fn is_answer(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes.starts_with(b"HTTP/1.")
}

/// The request that an endpoint got, once it is whole. It can be understood in one way only.
fn request(sent: &[u8]) -> Option<Message> {
    let shown = || String::from_utf8_lossy(sent).into_owned();
    match wire::read(sent, |_| Unsaid::Nothing) {
        Read::Part => None,
        Read::Ambiguous(why) => panic!("an endpoint got {why}: {:?}", shown()),
        Read::Whole(message, length) => {
            assert_eq!(length, sent.len(), "an endpoint got more than a request: {:?}", shown());
            let [method, target, version] = message.first.as_slice() else {
                panic!("an endpoint got another first line: {:?}", message.first);
            };
            assert!(!method.is_empty() && !target.is_empty(), "{:?}", shown());
            assert!(!target.contains('\t') && !method.contains('\t'), "{:?}", shown());
            assert_eq!(version, "HTTP/1.1");
            assert_eq!(message.all("host").len(), 1, "not one host: {:?}", shown());
            assert!(!message.all("x-request-id").is_empty(), "no number: {:?}", shown());
            for own in ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded"] {
                assert_eq!(message.all(own).len(), 1, "not one {own}: {:?}", shown());
            }
            for name in ["te", "keep-alive", "expect", "trailer", "proxy-connection"] {
                assert!(message.all(name).is_empty(), "{name} was sent on: {:?}", shown());
            }
            for connection in message.all("connection") {
                assert_eq!(connection, b"upgrade", "{:?}", shown());
            }
            Some(message)
        }
    }
}
