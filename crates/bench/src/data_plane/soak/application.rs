//! What the proxy asks: answers requests with 1 KB, and says what a WebSocket said.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use crate::Failure;

/// An instance; it ends, with its connections, when it is dropped.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) address: SocketAddr,
    task: AbortHandle,
}

impl Instance {
    pub(super) async fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            // With this task they end, too.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, task: task.abort_handle() })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let body = "x".repeat(1_024);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut head = Vec::with_capacity(2_048);
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        if head.windows(9).any(|word| word.eq_ignore_ascii_case(b"websocket")) {
            return echo(stream).await;
        }
        stream.write_all(answer.as_bytes()).await?;
        head.clear();
    }
}

/// One small frame after another, without its mask.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    // Nobody here looks at the key.
    stream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Accept: x\r\n\r\n",
        )
        .await?;
    loop {
        let mut head = [0; 6];
        stream.read_exact(&mut head).await?;
        let length = head[1] & 0x7f;
        let mut payload = vec![0; usize::from(length)];
        stream.read_exact(&mut payload).await?;
        stream.write_all(&[&[head[0], length], payload.as_slice()].concat()).await?;
    }
}
