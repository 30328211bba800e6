//! A client's side of one connection, as cheap as can be: what it costs is not to be measured.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{Failure, data_plane::ground::PATIENCE};

/// A connection that asks the same all the time.
#[derive(Debug)]
pub(super) struct Asking {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Asking {
    pub(super) async fn connect(
        address: SocketAddr,
        path: &str,
        cookie: &str,
    ) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request =
            format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n");
        Ok(Self { stream, request: request.into_bytes(), buffer: vec![0; 16 * 1024] })
    }

    /// Asks and reads the whole answer; one that does not come is an error.
    pub(super) async fn ask(&mut self) -> Result<(), Failure> {
        timeout(PATIENCE, self.exchange()).await?
    }

    async fn exchange(&mut self) -> Result<(), Failure> {
        self.stream.write_all(&self.request).await?;
        let mut filled = 0;
        let (head, length) = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err("the connection was closed".into());
            }
            filled += read;
            if let Some(end) = find(&self.buffer[..filled], b"\r\n\r\n") {
                break (end + 4, length(&self.buffer[..end])?);
            }
        };
        let mut left = (head + length).saturating_sub(filled);
        while left > 0 {
            let most = left.min(self.buffer.len());
            let read = self.stream.read(&mut self.buffer[..most]).await?;
            if read == 0 {
                return Err("the answer broke off".into());
            }
            left -= read;
        }
        Ok(())
    }
}

/// The length of the body of a good answer.
fn length(head: &[u8]) -> Result<usize, Failure> {
    let head = std::str::from_utf8(head)?;
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    if !first.starts_with("HTTP/1.1 200") {
        return Err(format!("answered `{first}`").into());
    }
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok(value.trim().parse()?);
        }
    }
    Err("an answer without a length".into())
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}
