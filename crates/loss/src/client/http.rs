//! HTTP, of both versions.

use std::{error::Error as _, time::Duration, time::Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;

use super::{Kind, told};
use crate::{
    book::{Answer, Fault},
    content::{CLIENT, EVENTS, POSTED, VERSIONS, content, event},
    door::{self, Doors, HOST, Stream},
    paced::Paced,
};

/// How much a slow reader has the operating system keep for it.
const SMALL_BUFFER: u32 = 16 * 1024;

/// A slow reader rests after so many bytes.
const SIP: usize = 64 * 1024;

/// For so long.
const REST: Duration = Duration::from_millis(15);

/// A long answer.
const LONG: usize = 1024 * 1024;

/// How often a request is begun anew that was certainly not taken.
const ATTEMPTS: u32 = 5;

/// What is asked.
pub(super) struct Ask {
    kind: Kind,
    number: u64,
}

impl Ask {
    pub(super) fn of(kind: Kind, number: u64) -> Self {
        Self { kind, number }
    }

    fn request(&self, version: Version) -> Result<Request<Paced>, Fault> {
        let Self { kind, number } = *self;
        let (method, path) = match kind {
            Kind::Post => (Method::POST, format!("/post/{number}")),
            Kind::SlowReader => (Method::GET, format!("/get/{number}/{LONG}")),
            Kind::Events => (Method::GET, format!("/events/{number}")),
            _ => (Method::GET, format!("/get/{number}")),
        };
        let body = if kind == Kind::Post {
            let body = Bytes::from(content(CLIENT, number, POSTED));
            let parts = body.chunks(4 * 1024).map(|part| body.slice_ref(part)).collect();
            // By turns with a length and in chunks.
            Paced::parts(parts, Duration::from_millis(8), number.is_multiple_of(2))
        } else {
            super::nothing()
        };
        let mut request = Request::builder().method(method);
        request = if version == Version::HTTP_2 {
            let scheme = if kind == Kind::Http2Tls { "https" } else { "http" };
            request.uri(format!("{scheme}://{HOST}{path}"))
        } else {
            request.uri(path).header(header::HOST, HOST)
        };
        if kind == Kind::NewConnection {
            request = request.header(header::CONNECTION, "close");
        }
        request.body(body).map_err(|error| Fault::unanswered(error.to_string()))
    }

    fn expected(&self, version: usize) -> Vec<u8> {
        let Self { kind, number } = *self;
        let version = VERSIONS[version];
        match kind {
            Kind::SlowReader => content(version, number, LONG),
            Kind::Events => {
                (0..EVENTS).flat_map(|index| event(version, number, index).into_bytes()).collect()
            }
            _ => content(version, number, 512),
        }
    }
}

/// A connection that is open, for the next request.
enum Sender {
    One(http1::SendRequest<Paced>),
    Two(http2::SendRequest<Paced>),
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Two(sender) => sender.is_closed(),
        }
    }
}

/// A request that was not answered.
enum Unanswered {
    /// It was not sent, or the proxy says that it was not looked at: sent again, nothing is lost.
    Untouched(String),
    Lost(String),
}

impl Sender {
    async fn send(&mut self, request: Request<Paced>) -> Result<Response<Incoming>, Unanswered> {
        let sent = match self {
            Self::One(sender) => sender.try_send_request(request).await,
            Self::Two(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut error| {
            let untouched = error.take_message().is_some() || was_refused(error.error());
            let why = words(error.error());
            if untouched { Unanswered::Untouched(why) } else { Unanswered::Lost(why) }
        })
    }
}

/// Whether a proxy that speaks HTTP/2 said that it did not look at the request.
fn was_refused(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_remote()
            && ((cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR))
                || cause.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// What went wrong, with its causes.
fn words(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", words(cause)),
        None => error.to_string(),
    }
}

/// A place for one connection, which is opened anew when it has ended.
pub(crate) struct Line {
    kind: Kind,
    pub(super) doors: Doors,
    open: Mutex<Option<Sender>>,
}

impl Line {
    pub(super) fn new(kind: Kind, doors: Doors) -> Self {
        Self { kind, doors, open: Mutex::new(None) }
    }

    /// A connection, and whether it is a new one.
    async fn take(&self) -> Result<(Sender, bool), String> {
        let mut open = self.open.lock().await;
        match open.take() {
            Some(Sender::Two(sender)) if !sender.is_closed() => {
                *open = Some(Sender::Two(sender.clone()));
                return Ok((Sender::Two(sender), false));
            }
            Some(sender) if !sender.is_closed() => return Ok((sender, false)),
            _ => {}
        }
        let sender = self.connect().await?;
        if let Sender::Two(sender) = &sender {
            *open = Some(Sender::Two(sender.clone()));
        }
        Ok((sender, true))
    }

    /// For the next request, if it can be used for one.
    async fn give_back(&self, sender: Sender) {
        if let Sender::One(mut sender) = sender
            && sender.ready().await.is_ok()
        {
            *self.open.lock().await = Some(Sender::One(sender));
        }
    }

    async fn connect(&self) -> Result<Sender, String> {
        let cannot = |error: std::io::Error| format!("cannot connect: {error}");
        let (address, is_http2) = match self.kind {
            Kind::Http2 => (self.doors.http2, true),
            Kind::Http2Tls => (self.doors.tls, true),
            _ => (self.doors.plain, false),
        };
        let buffer = (self.kind == Kind::SlowReader).then_some(SMALL_BUFFER);
        let stream = door::connect(address, buffer).await.map_err(cannot)?;
        let stream: Box<dyn Stream> = if self.kind == Kind::Http2Tls {
            door::encrypt(stream, &self.doors.trust).await.map_err(cannot)?
        } else {
            Box::new(stream)
        };
        let cannot = |error: hyper::Error| format!("cannot connect: {}", words(&error));
        // How a connection ends is told to whoever waits for an answer on it.
        if is_http2 {
            let builder = http2::Builder::new(TokioExecutor::new());
            let (sender, connection) =
                builder.handshake(TokioIo::new(stream)).await.map_err(cannot)?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(Sender::Two(sender))
        } else {
            let (sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(cannot)?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(Sender::One(sender))
        }
    }

    /// Asks, and reads the answer to its end.
    pub(super) async fn exchange(&self, ask: &Ask) -> Result<Answer, Fault> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (mut sender, is_new) = self.take().await.map_err(Fault::unanswered)?;
            let version = match sender {
                Sender::One(_) => Version::HTTP_11,
                Sender::Two(_) => Version::HTTP_2,
            };
            match sender.send(ask.request(version)?).await {
                Ok(response) => {
                    let answer = read(ask, response).await?;
                    self.give_back(sender).await;
                    return Ok(answer);
                }
                // A kept connection that has ended is no loss as long as nothing was sent on it, nor
                // is one whose end was announced. One of HTTP/1 that was just opened is: the proxy
                // took it and threw it away.
                Err(Unanswered::Untouched(_))
                    if (!is_new || version == Version::HTTP_2) && attempts < ATTEMPTS => {}
                Err(Unanswered::Untouched(why)) => {
                    return Err(Fault::unanswered(format!(
                        "a new connection was of no use: {why}"
                    )));
                }
                Err(Unanswered::Lost(why)) => return Err(Fault::unanswered(why)),
            }
        }
    }
}

async fn read(ask: &Ask, response: Response<Incoming>) -> Result<Answer, Fault> {
    let head = Instant::now();
    let (parts, mut body) = response.into_parts();
    if parts.status != StatusCode::OK {
        let reason = parts.headers.get("tidegate-reason").and_then(|reason| reason.to_str().ok());
        let status = parts.status.as_u16();
        return Err(Fault::unanswered(format!("{status} {}", reason.unwrap_or_default())));
    }
    let Some((version, instance)) = told(&parts.headers) else {
        return Err(Fault::unanswered("an answer of nobody"));
    };
    let broken = |why: String| Fault { begun: Some(instance), why };
    let (mut bytes, mut since_rest) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(format!("broke off: {}", words(&error))))?;
        let Ok(data) = frame.into_data() else { continue };
        since_rest += data.len();
        bytes.extend_from_slice(&data);
        if ask.kind == Kind::SlowReader && since_rest >= SIP {
            since_rest = 0;
            tokio::time::sleep(REST).await;
        }
    }
    if bytes == ask.expected(version) {
        Ok(Answer { version, instance, head })
    } else {
        Err(broken(format!("a wrong body of {} bytes", bytes.len())))
    }
}
