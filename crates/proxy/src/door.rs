//! Where clients come in: the sockets of a scope.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// What is done with those who come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Their requests are answered by the routes.
    Serve,
    /// They come in plain text and are sent to the door where it is encrypted.
    Redirect,
}

/// Something for each purpose.
#[derive(Debug, Default)]
pub(crate) struct Doors<T> {
    pub(crate) serve: T,
    pub(crate) redirect: T,
}

impl<T> Doors<T> {
    pub(crate) fn of(&self, purpose: Purpose) -> &T {
        match purpose {
            Purpose::Serve => &self.serve,
            Purpose::Redirect => &self.redirect,
        }
    }
}

/// Listening sockets that are to be used from now on, where there is another one than before.
pub(crate) type Opened = Doors<Option<TcpListener>>;

impl Opened {
    pub(crate) fn is_empty(&self) -> bool {
        self.serve.is_none() && self.redirect.is_none()
    }

    /// The same sockets once more.
    pub(crate) fn copy(&self) -> io::Result<Self> {
        let copy = |listener: &Option<TcpListener>| {
            listener.as_ref().map(TcpListener::try_clone).transpose()
        };
        Ok(Self { serve: copy(&self.serve)?, redirect: copy(&self.redirect)? })
    }
}

/// A place to come in.
#[derive(Debug)]
pub(crate) struct Door {
    /// An automatic port stays the same.
    pub(crate) address: SocketAddr,
    /// Held here too, so that the socket stays open whatever the workers do. None when the
    /// address could not be bound after a restart.
    pub(crate) listener: Option<TcpListener>,
}

impl Door {
    /// One that is not open.
    pub(crate) fn closed(address: SocketAddr) -> Self {
        Self { address, listener: None }
    }

    /// Whether it is open there already.
    pub(crate) fn is_open_at(&self, address: SocketAddr) -> bool {
        self.listener.is_some() && self.address == address
    }

    /// What was open before, if it is to be there. What is open elsewhere is closed.
    pub(crate) fn moved(before: Option<Self>, address: SocketAddr) -> Self {
        let same = before.filter(|door| door.address == address);
        same.unwrap_or_else(|| Self::closed(address))
    }

    /// Holds a socket that is new.
    pub(crate) fn hold(&mut self, opened: Option<TcpListener>) {
        self.listener = opened.or(self.listener.take());
    }

    /// Where it is, if it is open.
    pub(crate) fn open_address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(|_| self.address)
    }
}

/// Opens a listener.
///
/// Without `SO_REUSEPORT`: with it, a second proxy would silently take a part of the connections of
/// an address that is taken.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
