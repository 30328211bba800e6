//! One direction of a `WebSocket`.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, Sender, going_away};

/// What is read at once.
const PIECE: usize = 16 * 1024;

thread_local! {
    /// Where it is read to. Only what the other side does not take at once is kept for each
    /// connection, of which most are silent nearly always.
    static PIECES: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into_boxed_slice());
}

/// When a direction is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// When the sender does.
    Open,
    /// When the sender does, who goes away without a word if it says none.
    Said,
    /// Behind the frame that is under way.
    Wanted,
    /// The last frame is written, and what the sender says is not heard any more.
    Done,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Way {
    sender: Sender,
    frames: Frames,
    /// What was read and not yet written.
    kept: Vec<u8>,
    written: usize,
    is_flushed: bool,
    end: End,
    /// The sender has ended.
    has_ended: bool,
    is_shut: bool,
    carried: u64,
}

impl Way {
    pub(super) fn of(sender: Sender) -> Self {
        Self {
            sender,
            frames: Frames::of(sender),
            kept: Vec::new(),
            written: 0,
            is_flushed: true,
            end: End::Open,
            has_ended: false,
            is_shut: false,
            carried: 0,
        }
    }

    /// What it carried, in bytes.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// Says to the receiver that the sender is going away, as soon as no frame is under way.
    pub(super) fn end(&mut self) {
        if self.end != End::Done {
            self.end = End::Wanted;
        }
    }

    /// The same, when the sender ends without saying so.
    pub(super) fn end_with_sender(&mut self) {
        if self.end == End::Open {
            self.end = End::Said;
        }
    }

    /// Carries what there is. Ready when the sender has ended and the receiver knows.
    pub(super) fn poll<F, T>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        random: u64,
    ) -> Poll<io::Result<()>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_write_kept(context, to))?;
            let may_say = self.frames.is_between() && !self.frames.has_closed();
            match self.end {
                End::Wanted if may_say => self.say(random),
                End::Said if may_say && self.has_ended => self.say(random),
                _ if self.has_ended => {
                    if !self.is_shut {
                        ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                        self.is_shut = true;
                    }
                    return Poll::Ready(Ok(()));
                }
                _ => ready!(self.poll_piece(context, from, to))?,
            }
        }
    }

    fn say(&mut self, random: u64) {
        self.kept = going_away(self.sender, random);
        self.written = 0;
        self.is_flushed = false;
        self.end = End::Done;
    }

    fn poll_write_kept<T: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut T,
    ) -> Poll<io::Result<()>> {
        while self.written < self.kept.len() {
            let rest = &self.kept[self.written..];
            match ready!(Pin::new(&mut *to).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
        }
        (self.kept, self.written) = (Vec::new(), 0);
        if !self.is_flushed {
            ready!(Pin::new(&mut *to).poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_piece<F, T>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
    ) -> Poll<io::Result<()>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        PIECES.with_borrow_mut(|piece| {
            let mut piece = ReadBuf::new(piece);
            ready!(Pin::new(&mut *from).poll_read(context, &mut piece))?;
            let mut bytes = piece.filled();
            if bytes.is_empty() {
                self.has_ended = true;
                return Poll::Ready(Ok(()));
            }
            match self.end {
                End::Open | End::Said => self.frames.feed(bytes),
                End::Wanted => bytes = &bytes[..self.frames.feed_frame(bytes)],
                End::Done => return Poll::Ready(Ok(())),
            }
            self.carried += bytes.len() as u64;
            self.is_flushed = false;
            let written = match Pin::new(&mut *to).poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            // Written from here when the receiver has room, which it says to whoever asked last.
            self.kept = bytes[written..].to_vec();
            Poll::Ready(Ok(()))
        })
    }
}
