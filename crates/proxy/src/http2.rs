//! A client's connection that speaks HTTP/2.

use std::{convert::Infallible, pin::pin, rc::Rc, sync::Arc};

use hyper::{
    Request, body::Incoming, rt::Executor, server::conn::http2::Builder, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_local,
};

use crate::{connection::Client, forward, limits::Limits, worker::Listed};

/// What a client may send of one body before anybody reads it.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all bodies of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is kept of one answer for a client that reads slowly.
const SEND_BUFFER: usize = 64 * 1024;

/// Runs what a connection begins on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnThisThread;

impl<F: Future<Output: 'static> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// Answers the requests of a connection until it closes.
pub(crate) async fn serve<S>(listed: Listed, client: Rc<Client>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    client.activity.set_http2();
    let mut draining = client.worker.draining();
    let (peer, activity) = (client.peer, Arc::clone(&client.activity));
    let builder = builder(&client.scope.limits());
    let service = service_fn(move |request: Request<Incoming>| {
        let client = Rc::clone(&client);
        async move { Ok::<_, Infallible>(forward::answer(client, request).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => Some(outcome),
        _ = draining.wait_for(|draining| *draining) => None,
        () = activity.is_asked_to_end() => None,
    };
    let outcome = if let Some(outcome) = outcome {
        outcome
    } else {
        // The client is told to begin nothing new; what is under way is answered.
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = outcome {
        tracing::debug!(%peer, %error, "a client's connection broke");
    }
    drop(listed);
}

/// The library's own limits hold against streams that are reset as soon as they are opened and
/// against heads that never end; they are narrowed here where a connection costs memory.
fn builder(limits: &Limits) -> Builder<OnThisThread> {
    let mut builder = Builder::new(OnThisThread);
    builder
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}
