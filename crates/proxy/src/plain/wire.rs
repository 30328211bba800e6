//! Connections to an endpoint on which plain requests go, one at a time.

use std::{
    cell::RefCell,
    net::SocketAddr,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream};

use crate::limits::Limits;

/// A worker's unused connections to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    /// The one used last is used next, so that those not needed grow old and are closed.
    idle: RefCell<Vec<(TcpStream, Instant)>>,
}

impl Wires {
    /// One on which nothing has come, not even its end, since it was used.
    pub(crate) fn take(&self) -> Option<TcpStream> {
        loop {
            let (wire, _) = self.idle.borrow_mut().pop()?;
            if is_silent(&wire) {
                return Some(wire);
            }
        }
    }

    /// Keeps one for the next request.
    pub(crate) fn keep(&self, wire: TcpStream, limits: &Limits) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < limits.upstream_idle_connections {
            idle.push((wire, Instant::now()));
        }
    }

    /// Closes what has not been used for longer than `longest`, or was closed.
    pub(crate) fn close_idle(&self, now: Instant, longest: Duration) {
        self.idle
            .borrow_mut()
            .retain(|(wire, since)| now.duration_since(*since) < longest && is_silent(wire));
    }
}

/// Opens a connection.
pub(crate) async fn open(address: SocketAddr, limits: &Limits) -> std::io::Result<TcpStream> {
    match tokio::time::timeout(limits.connect, TcpStream::connect(address)).await {
        Ok(connected) => {
            let wire = connected?;
            wire.set_nodelay(true)?;
            Ok(wire)
        }
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// Whether nothing has come in, not even an end. The operating system is asked only when it has
/// said that something happened.
fn is_silent(wire: &TcpStream) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    match wire.poll_read_ready(&mut context) {
        Poll::Pending => true,
        Poll::Ready(Err(_)) => false,
        Poll::Ready(Ok(())) => {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            let mut byte = [0_u8; 1];
            let peeked = wire.try_io(Interest::READABLE, || {
                recv(wire, &mut byte[..], flags).map(|_| ()).map_err(Into::into)
            });
            matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        }
    }
}
