//! A client's connection as long as what it asks is plain.

use std::{future::poll_fn, io, rc::Rc, task::Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    exchange::{Announced, Connection, Next},
    send::Patience,
};
use crate::{
    begun::Begun,
    connection::{self, Client},
    http2,
    worker::Listed,
};

/// How a client begins that knows that HTTP/2 is spoken here. No method in use begins so.
const HTTP2: &[u8] = b"PRI";

/// Answers the requests of a connection until it closes. When the client asks for something that is
/// not plain, the HTTP library answers that and what follows it.
pub(crate) async fn serve<S>(listed: Listed, client: Client, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Rc::new(client);
    let mut plain = Connection {
        client,
        stream,
        inbox: None,
        announced: Announced::default(),
        patience: Patience::default(),
    };
    poll_fn(|context| {
        plain.client.activity.is_woken_by(context.waker());
        Poll::Ready(())
    })
    .await;
    if !plain.is_left_unusual().await {
        return drop(listed);
    }
    let Connection { client, stream, inbox, .. } = plain;
    let first = inbox.as_ref().map_or(&[][..], |inbox| inbox.filled());
    let is_http2 = !client.secure && first.starts_with(HTTP2);
    let stream = Begun::new(stream, first.to_vec());
    if let Some(inbox) = inbox {
        client.worker.buffers.take(inbox);
    }
    if is_http2 {
        Box::pin(http2::serve(listed, client, stream)).await;
    } else {
        Box::pin(connection::http1(listed, client, stream)).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Answers until the connection ends, which is false, or has something unusual to say.
    async fn is_left_unusual(&mut self) -> bool {
        // A head has begun and not ended.
        let mut begun = false;
        loop {
            match self.exchange().await {
                Next::Close => return false,
                Next::Unusual => {
                    self.client.activity.rest();
                    return true;
                }
                Next::Request => {
                    if std::mem::take(&mut begun) {
                        self.client.activity.rest();
                    }
                }
                Next::More => {
                    let there = self.inbox.as_ref().map_or(0, |inbox| inbox.filled().len());
                    if there > HTTP2.len() && begun {
                        // Nobody sends it so who means well: the library looks at each byte once.
                        return true;
                    }
                    if there > 0 && !std::mem::replace(&mut begun, true) {
                        self.client.activity.begin_head();
                    }
                    match self.read().await {
                        Ok(0) => return false,
                        Ok(_) => {}
                        Err(error) => {
                            tracing::debug!(peer = %self.client.peer, %error, "a client's connection broke");
                            return false;
                        }
                    }
                }
            }
        }
    }

    /// Reads what the client says. Nothing is the end: its own, or the proxy's while it is silent.
    async fn read(&mut self) -> io::Result<usize> {
        let Self { client, stream, inbox, .. } = self;
        let worker = &client.worker;
        poll_fn(|context| {
            let room = inbox.get_or_insert_with(|| worker.buffers.small());
            if let Poll::Ready(read) = room.poll_fill(stream, context) {
                return Poll::Ready(read);
            }
            if room.is_empty() {
                if let Some(unused) = inbox.take() {
                    worker.buffers.take(unused);
                }
                if worker.is_closing() {
                    return Poll::Ready(Ok(0));
                }
            }
            Poll::Pending
        })
        .await
    }
}
