//! Connections that become something else, as for a `WebSocket`.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use crate::{connection::Busy, ticket::Ticket, worker::Upgraded};

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
        let outcome = async {
            let (client, endpoint) = tokio::try_join!(client, endpoint)?;
            let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
            let carried = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await?;
            Ok::<_, Box<dyn std::error::Error>>(carried)
        };
        match outcome.await {
            Ok((received, sent)) => ticket.carried(received, sent),
            Err(error) => tracing::debug!(error, "an upgraded connection broke"),
        }
        drop((ticket, upgraded, busy));
    });
}
