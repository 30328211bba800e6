//! Connections that were upgraded to a `WebSocket`: what they carry, and how they end when they have
//! to.
//!
//! A `WebSocket` may live for days. When its instance leaves, or the proxy ends, its client is told
//! by a frame that the other side is going away, and connects again. Such a frame can only stand
//! between two others, so that the heads of frames are followed in both directions.

mod frames;
mod way;

use std::{future::poll_fn, io, task::Poll};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_local,
    time::timeout,
};

use crate::{connection::Busy, ticket::Ticket, upgraded::End, worker::Upgraded};

use frames::Sender;
use way::Way;

/// Carries bytes both ways until both sides have ended. The request stays in flight until then;
/// it is counted when it was answered, since how long a `WebSocket` lives is no latency.
pub(crate) fn carry(
    client: OnUpgrade,
    endpoint: OnUpgrade,
    mut ticket: Ticket,
    upgraded: Upgraded,
    busy: Busy,
) {
    ticket.complete();
    ticket.count();
    spawn_local(async move {
        match tokio::try_join!(client, endpoint) {
            Ok((client, endpoint)) => {
                let sides = (TokioIo::new(client), TokioIo::new(endpoint));
                let mut conversation = Conversation::new(sides.0, sides.1, upgraded.random());
                let outcome = conversation.carry(upgraded.end()).await;
                if let Err(error) = outcome {
                    tracing::debug!(%error, "an upgraded connection broke");
                }
                let (received, sent) = conversation.carried();
                ticket.carried(received, sent);
            }
            Err(error) => tracing::debug!(%error, "an upgraded connection broke"),
        }
        drop((ticket, upgraded, busy));
    });
}

/// Both directions.
struct Conversation<C, E> {
    client: C,
    endpoint: E,
    to_client: Way,
    to_endpoint: Way,
    random: u64,
}

impl<C, E> Conversation<C, E>
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    fn new(client: C, endpoint: E, random: u64) -> Self {
        let (to_client, to_endpoint) = (Way::of(Sender::Endpoint), Way::of(Sender::Client));
        Self { client, endpoint, to_client, to_endpoint, random }
    }

    /// What came from the client and what went to it, in bytes.
    fn carried(&self) -> (u64, u64) {
        (self.to_endpoint.carried(), self.to_client.carried())
    }

    /// Carries both ways until both sides have ended, or until it is to end.
    ///
    /// Then the client is told first. What it says until it has heard that goes on to the endpoint,
    /// and so does its answer, by which the endpoint knows. A client that does not answer in time
    /// is answered for, and whoever does not end after that is cut off.
    async fn carry(&mut self, end: &End) -> io::Result<()> {
        let farewell = tokio::select! {
            biased;
            outcome = self.both() => return outcome,
            farewell = end.told() => farewell,
        };
        self.to_client.end();
        self.to_endpoint.end_with_sender();
        if let Ok(Ok(())) = timeout(farewell / 2, self.both()).await {
            return Ok(());
        }
        self.to_endpoint.end();
        match timeout(farewell / 2, self.both()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn both(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            let Self { client, endpoint, random, .. } = self;
            let to_endpoint = self.to_endpoint.poll(context, client, endpoint, *random)?;
            let to_client = self.to_client.poll(context, endpoint, client, *random)?;
            if to_client.is_ready() && to_endpoint.is_ready() {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests;
