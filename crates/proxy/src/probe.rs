//! Asking an instance once, from outside, whether it is fit for requests.

use std::net::SocketAddr;

use tidegate_types::{Duration, data_plane::Question};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The head of an answer may be this long before its status is known.
const LONGEST_HEAD: usize = 16 * 1024;

/// Asks. An error says what came instead of a good answer, as a sentence without an end.
pub async fn ask(question: &Question, address: SocketAddr, limit: Duration) -> Result<(), String> {
    let answer = async {
        match question {
            Question::Http { path } => http(path, address).await,
            Question::Tcp => tcp(address).await,
        }
    };
    tokio::time::timeout(limit.into(), answer).await.unwrap_or_else(|_| {
        let nothing = match question {
            Question::Http { path } => format!("GET {path} did not answer"),
            Question::Tcp => "the port did not accept a connection".to_owned(),
        };
        Err(format!("{nothing} within {limit}"))
    })
}

async fn tcp(address: SocketAddr) -> Result<(), String> {
    TcpStream::connect(address)
        .await
        .map(drop)
        .map_err(|error| format!("port {}: {}", address.port(), plain(&error)))
}

async fn http(path: &str, address: SocketAddr) -> Result<(), String> {
    let status =
        status_of(path, address).await.map_err(|error| format!("GET {path}: {}", plain(&error)))?;
    match status {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("GET {path} answered {status}")),
        None => Err(format!("GET {path} was not answered with HTTP")),
    }
}

async fn status_of(path: &str, address: SocketAddr) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: tidegate\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(1024);
    while head.len() < LONGEST_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
        match read_head(&head) {
            Head::Incomplete => {}
            Head::Status(status) => return Ok(Some(status)),
            Head::NotHttp => break,
        }
    }
    Ok(None)
}

/// What is known of an answer whose head is being read.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// More is to come.
    Incomplete,
    /// The status of the answer that is not merely informational.
    Status(u16),
    /// It is something else.
    NotHttp,
}

/// Reads as much of a head as there is.
#[must_use]
pub fn read_head(mut head: &[u8]) -> Head {
    loop {
        let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
            return Head::Incomplete;
        };
        let line = std::str::from_utf8(&head[..end]).unwrap_or_default();
        let status = line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|status| status.parse::<u16>().ok());
        match status {
            Some(100..=199) if status != Some(101) => {
                let Some(next) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                    return Head::Incomplete;
                };
                head = &head[next + 4..];
            }
            Some(status) => return Head::Status(status),
            None => return Head::NotHttp,
        }
    }
}

/// The operating system's words without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_the_final_answer() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\n", Head::Status(200)),
            ("HTTP/1.0 404\r\n", Head::Status(404)),
            ("HTTP/1.1 20", Head::Incomplete),
            ("SSH-2.0-x\r\n", Head::NotHttp),
            ("HTTP/1.1 103 Hints\r\nLink: x\r\n", Head::Incomplete),
            ("HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 503 No\r\n", Head::Status(503)),
        ] {
            assert_eq!(read_head(head.as_bytes()), expected, "{head}");
        }
    }
}
