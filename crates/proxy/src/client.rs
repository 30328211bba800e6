//! The control plane's end of the control socket.

use std::{path::PathBuf, sync::Mutex, sync::PoisonError, time::Duration};

use tidegate_types::{
    Buckets, Epoch, Mark, Scope,
    data_plane::{Health, ProxyTable, Refusal, Request, Response, ServedTable, Traffic},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

/// How long one call may take, connecting included.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Talks to a running proxy. Calls may be made from many tasks at once; each is idempotent, so a
/// connection that turned out closed is replaced and the call made again.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    /// Connections that are not in use.
    idle: Mutex<Vec<BufReader<UnixStream>>>,
}

/// A table that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Of the table.
    pub epoch: Epoch,
    /// Of the table.
    pub membership: u64,
    /// Where the scope listens.
    pub address: std::net::SocketAddr,
}

/// A call that was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No proxy listens there, or the connection broke. A call that broke in the middle may have
    /// taken effect.
    #[error("the proxy cannot be reached at {}: {reason}", socket.display())]
    Unreachable {
        /// The control socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
    /// No answer in time: the call may have taken effect.
    #[error("the proxy at {} did not answer within {} s", socket.display(), CALL_TIMEOUT.as_secs())]
    Timeout {
        /// The control socket.
        socket: PathBuf,
    },
    /// Refused: nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Client {
    /// A client of the proxy whose control socket this is. Connects with the first call.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), idle: Mutex::default() }
    }

    /// Puts a table in force; returns when every new request follows it.
    pub async fn publish(&self, table: &ProxyTable) -> Result<Published, ClientError> {
        match self.call(&Request::Publish(table.clone())).await? {
            Response::Published { epoch, membership, address } => {
                Ok(Published { epoch, membership, address })
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// Makes the proxy forget a scope and close its listener.
    pub async fn remove(&self, scope: &Scope) -> Result<(), ClientError> {
        self.done(&Request::Remove(scope.clone())).await
    }

    /// The tables in force.
    pub async fn tables(&self) -> Result<Vec<ServedTable>, ClientError> {
        match self.call(&Request::Tables).await? {
            Response::Tables(tables) => Ok(tables),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The counters of a scope.
    pub async fn traffic(&self, scope: &Scope) -> Result<Traffic, ClientError> {
        match self.call(&Request::Traffic(scope.clone())).await? {
            Response::Traffic(traffic) => Ok(traffic),
            other => Err(self.unexpected(&other)),
        }
    }

    /// How the instances of a scope are, and who waits for them.
    pub async fn health(&self, scope: &Scope) -> Result<Health, ClientError> {
        match self.call(&Request::Health(scope.clone())).await? {
            Response::Health(health) => Ok(health),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Names the executable from which the proxy runs, as [`crate::build_of`] does.
    pub async fn build(&self) -> Result<String, ClientError> {
        match self.call(&Request::Build).await? {
            Response::Build(build) => Ok(build),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The buckets of a scope that were closed after the one that was read last.
    pub async fn buckets(
        &self,
        scope: &Scope,
        after: Option<Mark>,
    ) -> Result<Buckets, ClientError> {
        match self.call(&Request::Buckets { scope: scope.clone(), after }).await? {
            Response::Buckets(buckets) => Ok(buckets),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Tells the proxy to end. It no longer accepts connections when this returns, and ends on
    /// its own when what is in flight has been answered.
    pub async fn shutdown(&self) -> Result<(), ClientError> {
        self.done(&Request::Shutdown).await
    }

    async fn done(&self, request: &Request) -> Result<(), ClientError> {
        match self.call(request).await? {
            Response::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn call(&self, request: &Request) -> Result<Response, ClientError> {
        let answered = tokio::time::timeout(CALL_TIMEOUT, self.exchange(request)).await;
        match answered {
            Err(_) => Err(ClientError::Timeout { socket: self.socket.clone() }),
            Ok(Err(reason)) => Err(self.unreachable(&reason)),
            Ok(Ok(Response::Refused(refusal))) => Err(ClientError::Refused(refusal)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    async fn exchange(&self, request: &Request) -> std::io::Result<Response> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        // The proxy may have been restarted since this connection was used.
        while let Some(connection) = self.take_idle() {
            if let Ok(response) = self.exchange_on(connection, &line).await {
                return Ok(response);
            }
        }
        let connection = UnixStream::connect(&self.socket).await?;
        self.exchange_on(BufReader::new(connection), &line).await
    }

    async fn exchange_on(
        &self,
        mut connection: BufReader<UnixStream>,
        line: &[u8],
    ) -> std::io::Result<Response> {
        connection.write_all(line).await?;
        let mut answer = Vec::new();
        connection.read_until(b'\n', &mut answer).await?;
        if answer.last() != Some(&b'\n') {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "the connection was closed before the answer",
            ));
        }
        let response = serde_json::from_slice(&answer)?;
        self.idle_connections().push(connection);
        Ok(response)
    }

    fn take_idle(&self) -> Option<BufReader<UnixStream>> {
        self.idle_connections().pop()
    }

    fn idle_connections(&self) -> std::sync::MutexGuard<'_, Vec<BufReader<UnixStream>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreachable { socket: self.socket.clone(), reason: reason.to_string() }
    }

    fn unexpected(&self, response: &Response) -> ClientError {
        self.unreachable(&format!("it answered something else: {response:?}"))
    }
}
