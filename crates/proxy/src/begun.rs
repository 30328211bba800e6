//! A connection of which the first bytes have been read.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives them to whoever reads next, and then what follows.
#[derive(Debug)]
pub(crate) struct Begun<S> {
    stream: S,
    /// Empty when all of them were given.
    first: Vec<u8>,
    given: usize,
}

impl<S> Begun<S> {
    pub(crate) fn new(stream: S, first: Vec<u8>) -> Self {
        Self { stream, first, given: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.first.is_empty() {
            let this = &mut *self;
            let (now, later) = this.first[this.given..]
                .split_at(buffer.remaining().min(this.first.len() - this.given));
            buffer.put_slice(now);
            this.given += now.len();
            if later.is_empty() {
                (this.first, this.given) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_read_comes_first_and_once() {
        let mut begun = Begun::new(&b"rest"[..], b"first".to_vec());
        let mut two = [0; 2];
        assert_eq!(begun.read(&mut two).await.unwrap(), 2);
        let mut others = Vec::new();
        begun.read_to_end(&mut others).await.unwrap();
        assert_eq!([&two[..], &others].concat(), b"firstrest");
    }
}
