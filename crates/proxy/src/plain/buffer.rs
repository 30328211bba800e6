//! Buffers that belong to a worker and are lent to connections while there is something in them.

use std::{
    cell::RefCell,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, ReadBuf};

/// The head of a request that is longer is not plain.
const SMALL: usize = 8 * 1024;

/// What is read of an answer at a time, its head included.
const LARGE: usize = 64 * 1024;

/// So many of each kind are kept for later.
const KEPT: usize = 32;

/// The buffers of a worker that nobody has at the moment.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
    heads: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// For what a client asks.
    pub(crate) fn small(&self) -> Buffer {
        Buffer::new(self.small.borrow_mut().pop(), SMALL)
    }

    /// For what an endpoint answers.
    pub(crate) fn large(&self) -> Buffer {
        Buffer::new(self.large.borrow_mut().pop(), LARGE)
    }

    /// To write a head into; empty.
    pub(crate) fn head(&self) -> Vec<u8> {
        self.heads.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes one back, whatever is still in it.
    pub(crate) fn take(&self, buffer: Buffer) {
        let kind = if buffer.bytes.len() == SMALL { &self.small } else { &self.large };
        let mut kept = kind.borrow_mut();
        if kept.len() < KEPT {
            kept.push(buffer.bytes);
        }
    }

    /// Takes one back, whatever is still in it.
    pub(crate) fn take_head(&self, mut head: Vec<u8>) {
        let mut kept = self.heads.borrow_mut();
        if kept.len() < KEPT && head.capacity() <= LARGE {
            head.clear();
            kept.push(head);
        }
    }
}

/// Bytes that were read and not used yet.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new(former: Option<Box<[u8]>>, size: usize) -> Self {
        let bytes = former.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Self { bytes, start: 0, end: 0 }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// What is there, and the room after it.
    pub(crate) fn split(&mut self) -> (&[u8], &mut [u8]) {
        let (before, free) = self.bytes.split_at_mut(self.end);
        (&before[self.start..], free)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn is_full(&self) -> bool {
        self.start == 0 && self.end == self.bytes.len()
    }

    /// So many bytes were used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "no more than there was");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// So many bytes were written into the room that [`Self::split`] gave.
    pub(crate) fn grow(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.bytes.len(), "no more than there was room for");
    }

    /// Reads what is there. Zero is the end.
    pub(crate) fn poll_fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        if self.start > 0 && self.end == self.bytes.len() {
            self.bytes.copy_within(self.start.., 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut room = ReadBuf::new(&mut self.bytes[self.end..]);
        match Pin::new(stream).poll_read(context, &mut room) {
            Poll::Ready(Ok(())) => {
                let count = room.filled().len();
                self.end += count;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn fill(buffer: &mut Buffer, mut from: &[u8]) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        match buffer.poll_fill(&mut from, &mut context) {
            Poll::Ready(Ok(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_moves_to_the_front_when_there_is_no_room_behind_it() {
        let buffers = Buffers::default();
        let mut buffer = buffers.small();
        assert_eq!(fill(&mut buffer, &[b'a'; SMALL - 2]), SMALL - 2);
        assert_eq!(fill(&mut buffer, b"bcd"), 2);
        assert!(buffer.is_full());
        buffer.consume(SMALL - 2);
        assert!(!buffer.is_full());
        assert_eq!(fill(&mut buffer, b"def"), 3);
        assert_eq!(buffer.filled(), b"bcdef");
        buffer.consume(5);
        assert!(buffer.is_empty());
        assert_eq!(buffer.split().1.len(), SMALL);
    }

    #[test]
    fn buffers_are_lent_again_and_not_without_end() {
        let buffers = Buffers::default();
        let all: Vec<Buffer> = (0..KEPT + 3).map(|_| buffers.large()).collect();
        for buffer in all {
            buffers.take(buffer);
        }
        assert_eq!((buffers.large.borrow().len(), buffers.small.borrow().len()), (KEPT, 0));
        let mut used = buffers.large();
        fill(&mut used, b"secret");
        buffers.take(used);
        assert!(buffers.large().is_empty());
    }
}
