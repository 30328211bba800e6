//! Listens where environments want their figures to be read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tidegate_types::Scope;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

use super::text;
use crate::control::Control;

/// How often it is looked what is wanted.
const LOOK: Duration = Duration::from_millis(500);

/// So many connections are served at a time, at all addresses together.
const CONNECTIONS: usize = 16;

/// No connection lasts longer.
const LONGEST: Duration = Duration::from_secs(30);

/// Listens at every address that a table names, and shows there what is counted in all scopes that
/// name it. An address that cannot be had is tried again and again: that nobody can read figures is
/// no reason to serve nobody.
pub(crate) async fn serve(control: Arc<Control>) {
    let mut open: HashMap<SocketAddr, Accepting> = HashMap::new();
    let mut failing: BTreeSet<SocketAddr> = BTreeSet::new();
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut succeeded = control.succeeded.subscribe();
    loop {
        tokio::select! {
            biased;
            // Its successor shows the figures of both.
            _ = succeeded.wait_for(|succeeded| *succeeded) => return,
            _ = tick.tick() => {}
        }
        let wanted = control.registry.lock().await.metrics();
        open.retain(|address, _| wanted.contains_key(address));
        failing.retain(|address| wanted.contains_key(address));
        for address in wanted.into_keys() {
            if open.contains_key(&address) {
                continue;
            }
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    tracing::info!(%address, "metrics can be read");
                    failing.remove(&address);
                    let (control, connections) = (Arc::clone(&control), Arc::clone(&connections));
                    let accepting = accept(control, listener, address, connections);
                    open.insert(address, Accepting(tokio::spawn(accepting)));
                }
                Err(error) => {
                    if failing.insert(address) {
                        tracing::error!(%address, %error, "metrics cannot be read; trying again");
                    }
                }
            }
        }
    }
}

/// Closes its listener when dropped.
struct Accepting(JoinHandle<()>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(
    control: Arc<Control>,
    listener: TcpListener,
    address: SocketAddr,
    connections: Arc<Semaphore>,
) {
    loop {
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(LONGEST, converse(control, stream, address)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%address, %error, "cannot accept whoever reads metrics");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(control: Arc<Control>, stream: TcpStream, address: SocketAddr) {
    let service = service_fn(move |request: Request<Incoming>| {
        let control = Arc::clone(&control);
        async move { Ok::<_, Infallible>(answer(&control, &request, address).await) }
    });
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(16 * 1024);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection that read metrics broke");
    }
}

async fn answer(
    control: &Control,
    request: &Request<Incoming>,
    address: SocketAddr,
) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "The metrics are at /metrics.\n".to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let shown = control.registry.lock().await.metrics().remove(&address).unwrap_or_default();
    plain(StatusCode::OK, read(control, &shown))
}

fn read(control: &Control, scopes: &[Scope]) -> String {
    let meters = control.lock_meters();
    let readings: BTreeMap<_, _> =
        scopes.iter().map(|scope| (scope.clone(), meters.reading(scope))).collect();
    let run = meters.run();
    // Whoever publishes a table waits for the meters: they are not held while text is made.
    drop(meters);
    text::write(run, &readings)
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
