//! The header `Forwarded`, RFC 7239.

use std::net::IpAddr;

use http::{HeaderMap, header::FORWARDED};

use super::node;

/// What one proxy says of the request that it got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Who sent it, where that is said and not hidden.
    pub(super) node: Option<IpAddr>,
    pub(super) proto: Option<Vec<u8>>,
    pub(super) host: Option<Vec<u8>>,
}

/// What the proxies say, the last first. Nothing is believed of a header that is malformed, nor of
/// what stands before it.
pub(super) fn read(headers: &HeaderMap) -> Vec<Element> {
    let mut elements = Vec::new();
    for value in headers.get_all(FORWARDED).into_iter().rev() {
        let Some(mut of_value) = parse(value.as_bytes()) else {
            break;
        };
        of_value.reverse();
        elements.append(&mut of_value);
    }
    elements
}

/// The elements of one header; none when it is malformed.
fn parse(text: &[u8]) -> Option<Vec<Element>> {
    let mut reader = Reader(text);
    let mut elements = Vec::new();
    loop {
        reader.space();
        // Lists may have empty places.
        if !matches!(reader.0.first(), None | Some(b',')) {
            elements.push(reader.element()?);
        }
        reader.space();
        match reader.next() {
            None => return Some(elements),
            Some(b',') => {}
            Some(_) => return None,
        }
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Pairs with semicolons between them.
    fn element(&mut self) -> Option<Element> {
        let mut element = Element::default();
        let mut named = [false; 3];
        loop {
            let name = self.token()?;
            if self.next() != Some(b'=') {
                return None;
            }
            let value = self.value()?;
            let known = ["for", "proto", "host"];
            let index = known.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()));
            // Who says the same twice can be understood in two ways.
            if let Some(index) = index
                && std::mem::replace(&mut named[index], true)
            {
                return None;
            }
            match index {
                Some(0) => element.node = node::read(&value),
                Some(1) => element.proto = Some(value),
                Some(2) => element.host = Some(value),
                _ => {}
            }
            // A semicolon at the end is nothing that has to be there, and some write it.
            if self.0.first() != Some(&b';') {
                return Some(element);
            }
            self.next();
            self.space();
            if matches!(self.0.first(), None | Some(b',')) {
                return Some(element);
            }
        }
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|byte| !is_token(*byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        (length > 0).then_some(token)
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        if self.0.first() != Some(&b'"') {
            return self.token().map(<[u8]>::to_vec);
        }
        self.next();
        let mut value = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(value),
                b'\\' => value.push(self.next()?),
                other => value.push(other),
            }
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Appends a value, in quotes where it is no token.
pub(super) fn write(value: &str, text: &mut String) {
    if !value.is_empty() && value.bytes().all(is_token) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
}
