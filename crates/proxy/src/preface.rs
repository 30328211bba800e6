//! What a connection speaks that is not encrypted, told by its first bytes.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{
    connection::{self, Client},
    http2,
    worker::Listed,
};

/// How a client begins that knows that HTTP/2 is spoken here. No method in use begins so.
const HTTP2: [u8; 3] = *b"PRI";

/// Answers the requests of one connection until it closes.
pub(crate) async fn serve(listed: Listed, client: Client, stream: TcpStream) {
    let mut closing = client.worker.closing();
    let begun = tokio::select! {
        biased;
        begun = Begun::read(stream, &client) => begun,
        // It has not asked for anything.
        _ = closing.wait_for(|closing| *closing) => return,
    };
    match begun {
        Ok((stream, true)) => http2::serve(listed, client, stream).await,
        Ok((stream, false)) => connection::http1(listed, client, stream).await,
        Err(error) => {
            tracing::debug!(peer = %client.peer, %error, "a client's connection broke");
        }
    }
}

/// A connection of which the first bytes may have been read.
#[derive(Debug)]
struct Begun {
    stream: TcpStream,
    first: [u8; HTTP2.len()],
    /// Which of them are still to be given to the reader.
    given: usize,
    taken: usize,
}

impl Begun {
    /// Reads until it is clear whether this is HTTP/2. Nearly always one look is enough that takes
    /// nothing; only what comes in pieces smaller than a word is taken and kept.
    async fn read(stream: TcpStream, client: &Client) -> std::io::Result<(Self, bool)> {
        let mut begun = Self { stream, first: [0; HTTP2.len()], given: 0, taken: 0 };
        let length = begun.stream.peek(&mut begun.first).await?;
        if let Some(http2) = is_http2(&begun.first[..length]) {
            return Ok((begun, http2));
        }
        client.activity.begin_head();
        loop {
            let free = &mut begun.first[begun.taken..];
            match begun.stream.try_read(free) {
                Ok(0) => return Ok((begun, false)),
                Ok(length) => begun.taken += length,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    begun.stream.readable().await?;
                }
                Err(error) => return Err(error),
            }
            if let Some(http2) = is_http2(&begun.first[..begun.taken]) {
                client.activity.rest();
                return Ok((begun, http2));
            }
        }
    }
}

/// None while it can be either.
fn is_http2(first: &[u8]) -> Option<bool> {
    if first.is_empty() || !HTTP2.starts_with(first) {
        Some(false)
    } else {
        (first.len() == HTTP2.len()).then_some(true)
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.given < self.taken {
            let end = self.taken.min(self.given + buffer.remaining());
            buffer.put_slice(&self.first[self.given..end]);
            self.given = end;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Begun {
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
    use super::*;

    #[test]
    fn two_letters_do_not_tell_one_method_from_a_preface() {
        for (first, wanted) in [
            ("", Some(false)),
            ("G", Some(false)),
            ("P", None),
            ("PO", Some(false)),
            ("PR", None),
            ("PRO", Some(false)),
            ("PRI", Some(true)),
        ] {
            assert_eq!(is_http2(first.as_bytes()), wanted, "{first}");
        }
    }
}
