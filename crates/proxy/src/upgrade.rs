//! Connections that become something else, as for a `WebSocket`.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use crate::{answer::Ticket, connection::Busy, worker::Upgraded};

/// Carries bytes both ways until both sides have ended. The request stays in flight until then;
/// it is counted when it was answered, since how long a `WebSocket` lives is no latency.
pub(crate) fn carry(
    client: OnUpgrade,
    endpoint: OnUpgrade,
    mut ticket: Ticket,
    upgraded: Upgraded,
    busy: Busy,
) {
    ticket.count();
    spawn_local(async move {
        let outcome = async {
            let (client, endpoint) = tokio::try_join!(client, endpoint)?;
            let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
            tokio::io::copy_bidirectional(&mut client, &mut endpoint).await?;
            Ok::<_, Box<dyn std::error::Error>>(())
        };
        if let Err(error) = outcome.await {
            tracing::debug!(error, "an upgraded connection broke");
        }
        drop((ticket, upgraded, busy));
    });
}
