//! The other end of the API.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    marker::PhantomData,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tidegate_engine::{DeploymentRequest, EnvironmentView, Verb};
use tidegate_types::{DeploymentId, LogLine, ProjectName, Scope};
use tokio::{net::UnixStream, time::timeout};

use crate::{
    Problem,
    api::{
        Back, Begun, DeploymentDetail, DeploymentRow, EventRow, Health, Planned, Requested,
        Shutdown, Word,
    },
    socket_of,
};

/// A control plane that takes longer than this to answer does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A plan may need a build.
const PATIENCE_FOR_BUILDS: Duration = Duration::from_hours(2);

/// Asks the control plane of a home. Cheap to clone; each call has its own connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// A call that was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers. A call that broke in the middle may have taken effect.
    #[error("the control plane does not answer at {}: {reason}", socket.display())]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// The control plane said no.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The answer is not one that this version reads.
    #[error("the control plane's answer cannot be read: {reason}; is it of another version?")]
    Answer {
        /// Why.
        reason: String,
    },
}

impl Client {
    /// A client of the control plane of `home`.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        Self { socket: socket_of(home) }
    }

    /// Where the control plane listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How the control plane is.
    pub async fn health(&self) -> Result<Health, Error> {
        self.get("/health").await
    }

    /// Begins a deployment.
    pub async fn deploy(&self, request: DeploymentRequest) -> Result<DeploymentId, Error> {
        let begun: Begun =
            self.post("/api/v1/deployments", &Requested { request }, PATIENCE).await?;
        Ok(begun.id)
    }

    /// What a deployment would do.
    pub async fn plan(&self, request: DeploymentRequest) -> Result<Planned, Error> {
        self.post("/api/v1/plans", &Requested { request }, PATIENCE_FOR_BUILDS).await
    }

    /// The environments of a project, or all.
    pub async fn environments(
        &self,
        project: Option<&ProjectName>,
    ) -> Result<Vec<EnvironmentView>, Error> {
        match project {
            None => self.get("/api/v1/environments").await,
            Some(project) => self.get(&format!("/api/v1/environments?project={project}")).await,
        }
    }

    /// One environment.
    pub async fn environment(&self, scope: &Scope) -> Result<EnvironmentView, Error> {
        self.get(&format!("/api/v1/environments/{scope}")).await
    }

    /// One environment as it changes, its present state first.
    pub async fn watch(&self, scope: &Scope) -> Result<Lines<EnvironmentView>, Error> {
        self.lines(&format!("/api/v1/environments/{scope}/watch")).await
    }

    /// Says a word to the deployment under way.
    pub async fn command(&self, scope: &Scope, verb: Verb, word: &Word) -> Result<(), Error> {
        let path = format!("/api/v1/environments/{scope}/{}", verb.name());
        self.send(Method::POST, &path, Some(word), PATIENCE).await.map(|_| ())
    }

    /// Begins to go back to an earlier release.
    pub async fn rollback(&self, scope: &Scope, back: &Back) -> Result<DeploymentId, Error> {
        let path = format!("/api/v1/environments/{scope}/rollback");
        let begun: Begun = self.post(&path, back, PATIENCE).await?;
        Ok(begun.id)
    }

    /// Deployments, the latest first.
    pub async fn deployments(
        &self,
        scope: Option<&Scope>,
        before: Option<DeploymentId>,
        limit: usize,
    ) -> Result<Vec<DeploymentRow>, Error> {
        let mut path = format!("/api/v1/deployments?limit={limit}");
        if let Some(Scope { project, environment }) = scope {
            path = format!("{path}&project={project}&environment={environment}");
        }
        if let Some(before) = before {
            path = format!("{path}&before={before}");
        }
        self.get(&path).await
    }

    /// One deployment.
    pub async fn deployment(&self, id: DeploymentId) -> Result<DeploymentDetail, Error> {
        self.get(&format!("/api/v1/deployments/{id}")).await
    }

    /// Events of a deployment so far.
    pub async fn events(&self, id: DeploymentId, after: u64) -> Result<Vec<EventRow>, Error> {
        self.get(&format!("/api/v1/deployments/{id}/events?after={after}")).await
    }

    /// Events of a deployment as they happen, until its end.
    pub async fn follow(&self, id: DeploymentId, after: u64) -> Result<Lines<EventRow>, Error> {
        self.lines(&format!("/api/v1/deployments/{id}/events?after={after}&follow=true")).await
    }

    /// The last lines of output of the revisions that fit.
    pub async fn logs(&self, scope: &Scope, wanted: &Wanted<'_>) -> Result<Vec<LogLine>, Error> {
        let mut path = format!("/api/v1/environments/{scope}/logs?lines={}", wanted.lines);
        let parameters = [("component", wanted.component), ("release", wanted.release)];
        for (name, value) in parameters {
            if let Some(value) = value {
                path = format!("{path}&{name}={}", escape(value));
            }
        }
        self.get(&path).await
    }

    /// Ends the control plane, or everything.
    pub async fn shutdown(&self, everything: bool) -> Result<(), Error> {
        let body = Shutdown { everything };
        self.send(Method::POST, "/api/v1/shutdown", Some(&body), PATIENCE).await.map(|_| ())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let bytes = self.send(Method::GET, path, None::<&()>, PATIENCE).await?;
        read(&bytes)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<T, Error> {
        let bytes = self.send(Method::POST, path, Some(body), patience).await?;
        read(&bytes)
    }

    async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        patience: Duration,
    ) -> Result<Bytes, Error> {
        let exchange = async {
            let (status, body) = self.open(method, path, body).await?;
            let bytes = body.collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
            if status.is_success() { Ok(bytes) } else { Err(refusal(status, &bytes)) }
        };
        timeout(patience, exchange).await.unwrap_or_else(|_| {
            Err(self.unreachable(&format!("no answer within {} s", patience.as_secs())))
        })
    }

    async fn lines<T: DeserializeOwned>(&self, path: &str) -> Result<Lines<T>, Error> {
        let (status, body) = timeout(PATIENCE, self.open(Method::GET, path, None::<&()>))
            .await
            .unwrap_or_else(|_| Err(self.unreachable(&"no answer in time")))?;
        if !status.is_success() {
            let bytes = body.collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
            return Err(refusal(status, &bytes));
        }
        Ok(Lines {
            socket: self.socket.clone(),
            body,
            buffer: Vec::new(),
            ready: VecDeque::new(),
            value: PhantomData,
        })
    }

    async fn open<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(StatusCode, Incoming), Error> {
        let connection =
            UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(connection))
            .await
            .map_err(|error| self.unreachable(&error))?;
        tokio::spawn(connection);
        let body = match body {
            None => Bytes::new(),
            Some(body) => serde_json::to_vec(body)
                .map_err(|error| Error::Answer { reason: error.to_string() })?
                .into(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "tidegate")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| Error::Answer { reason: error.to_string() })?;
        let response =
            sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        Ok((response.status(), response.into_body()))
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::Unreachable { socket: self.socket.clone(), reason: reason.to_string() }
    }
}

/// Which lines of output are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of this component; of all when absent.
    pub component: Option<&'a str>,
    /// Of this release, by id or version; of all when absent.
    pub release: Option<&'a str>,
    /// So many of each instance.
    pub lines: usize,
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Answer { reason: error.to_string() })
}

fn refusal(status: StatusCode, bytes: &[u8]) -> Error {
    match serde_json::from_slice(bytes) {
        Ok(problem) => Error::Problem(Box::new(problem)),
        Err(_) => Error::Answer { reason: format!("status {status} without a problem") },
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// An answer that goes on: one value a line.
#[derive(Debug)]
pub struct Lines<T> {
    socket: PathBuf,
    body: Incoming,
    buffer: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next value; none when the control plane ended the answer. Nothing is lost when the call
    /// is cancelled.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            while let Some(line) = self.ready.pop_front() {
                // An empty line only says that the other side is there.
                if !line.is_empty() {
                    return read(&line).map(Some);
                }
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| Error::Unreachable {
                socket: self.socket.clone(),
                reason: error.to_string(),
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.buffer.extend_from_slice(&data);
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.ready.push_back(line);
            }
        }
    }
}
