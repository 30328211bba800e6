//! A WebSocket, as far as a proxy can tell.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
};

use super::told;
use crate::{
    book::{Answer, Fault},
    content::{MESSAGES, VERSIONS, message},
    door::{self, HOST},
};

/// Between two messages.
const PAUSE: Duration = Duration::from_millis(30);

/// The two kinds of frames that are used here, each a whole message.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// Opens a connection, says what there is to say, hears it again, and closes it properly.
pub(super) async fn converse(address: SocketAddr, number: u64) -> Result<Answer, Fault> {
    let unanswered = |error: std::io::Error| Fault::unanswered(error.to_string());
    let stream = door::connect(address, None)
        .await
        .map_err(|error| Fault::unanswered(format!("cannot connect: {error}")))?;
    let mut stream = BufStream::new(stream);
    let request = format!(
        "GET /socket/{number} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(unanswered)?;
    stream.flush().await.map_err(unanswered)?;
    let (status, headers) = head(&mut stream).await.map_err(unanswered)?;
    let at = Instant::now();
    if !status.contains(" 101 ") {
        return Err(Fault::unanswered(status));
    }
    let Some((version, instance)) = told(&headers) else {
        return Err(Fault::unanswered("an answer of nobody"));
    };
    let broken = |why: String| Fault { begun: Some(instance), why };
    let broke_off = |error: std::io::Error| broken(format!("broke off: {error}"));
    for index in 0..MESSAGES {
        let said = message(number, index);
        let (kind, heard) = say(&mut stream, TEXT, &said).await.map_err(broke_off)?;
        let wanted = format!("{} {said}", VERSIONS[version]);
        if (kind, heard.as_slice()) != (TEXT, wanted.as_bytes()) {
            return Err(broken("a wrong message".to_owned()));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let (kind, _) = say(&mut stream, CLOSE, "").await.map_err(broke_off)?;
    if kind == CLOSE {
        Ok(Answer { version, instance, head: at })
    } else {
        Err(broken("not closed properly".to_owned()))
    }
}

async fn head(stream: &mut BufStream<TcpStream>) -> std::io::Result<(String, HeaderMap)> {
    let (mut status, mut headers) = (String::new(), HeaderMap::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if status.is_empty() {
            line.clone_into(&mut status);
        } else if let Some((name, value)) = line.split_once(':') {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(std::io::Error::other)?;
            let value = HeaderValue::from_str(value.trim()).map_err(std::io::Error::other)?;
            headers.append(name, value);
        } else {
            return Ok((status, headers));
        }
    }
}

/// Says one thing and hears one. The mask is all zeros, which is as good as any other.
async fn say(
    stream: &mut BufStream<TcpStream>,
    kind: u8,
    text: &str,
) -> std::io::Result<(u8, Vec<u8>)> {
    let length = u8::try_from(text.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[kind, 0x80 | length, 0, 0, 0, 0]).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let mut answer = vec![0; usize::from(head[1])];
    stream.read_exact(&mut answer).await?;
    Ok((head[0], answer))
}
