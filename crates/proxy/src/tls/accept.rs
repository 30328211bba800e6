//! From a client's first byte to an encrypted connection.

use std::{rc::Rc, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{HTTP2, QUESTION};
use crate::{connection::Client, http2, plain, worker::Listed};

/// The first byte of a handshake; those of requests in plain text are letters.
const HANDSHAKE: u8 = 0x16;

/// What a client is told that speaks HTTP where TLS is spoken. Such a client may not be trusted to
/// say where it wanted to go, so that it is told in words and not redirected.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 88\r\n\
    cache-control: no-store\r\n\
    server: tidegate\r\n\
    tidegate-reason: https-only\r\n\
    connection: close\r\n\
    \r\n\
    Tidegate: 400 (https-only): this address speaks HTTPS; ask again with https:// instead.\n";

/// How long the answer in plain text waits for the client to have read it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers the requests of one encrypted connection until it closes.
pub(crate) async fn serve(
    listed: Listed,
    client: Client,
    stream: TcpStream,
    config: Arc<ServerConfig>,
) {
    let mut closing = client.worker.closing();
    let limit = client.worker.limits.handshake;
    let accepted = tokio::select! {
        biased;
        accepted = tokio::time::timeout(limit, accept(stream, config)) => accepted,
        _ = closing.wait_for(|closing| *closing) => return,
    };
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(peer = %client.peer, %error, "a client's handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(peer = %client.peer, "a client's handshake took too long");
            return;
        }
    };
    client.activity.rest();
    match stream.get_ref().1.alpn_protocol() {
        Some(HTTP2) => http2::serve(listed, Rc::new(client), stream).await,
        // It has seen what it wanted to see.
        Some(QUESTION) => {}
        _ => plain::serve(listed, client, stream).await,
    }
}

async fn accept(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1
        && first[0] != HANDSHAKE
        && first[0].is_ascii_alphabetic()
    {
        refuse(&mut stream).await;
        return Err(std::io::Error::other("it is not encrypted"));
    }
    TlsAcceptor::from(config).accept(stream).await
}

/// Answers in plain text. What the client has sent is read, as far as it is there: closing a socket
/// with unread bytes resets it, and the answer would be lost.
async fn refuse(stream: &mut TcpStream) {
    let farewell = async {
        stream.write_all(PLAIN.as_bytes()).await?;
        stream.shutdown().await?;
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // Whoever does not listen is not told.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_in_plain_text_is_as_long_as_it_says() {
        let (head, body) = PLAIN.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
