//! A scope that is served, and where it is reached.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tidegate_types::{
    Listen, Scope,
    data_plane::{ProxyTable, Refusal},
};

use crate::{
    door::{self, Door, Opened},
    redirect::Ports,
};

/// A scope that is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) table: ProxyTable,
    /// Where the scope is to be reached.
    pub(crate) door: Door,
    /// Where those come in who are sent there.
    pub(crate) redirect: Option<Door>,
}

impl Served {
    /// Where those come in, and are sent, who come in plain text.
    pub(crate) fn ports(&self) -> Option<Ports> {
        let from = self.redirect.as_ref()?.address.port();
        Some(Ports { from, to: self.door.address.port() })
    }

    /// The sockets once more.
    pub(crate) fn copy(&self) -> std::io::Result<Opened> {
        let copy = |door: &Door| door.listener.as_ref().map(TcpListener::try_clone).transpose();
        let redirect = self.redirect.as_ref().map(copy).transpose()?;
        Ok(Opened { serve: copy(&self.door)?, redirect: redirect.flatten() })
    }

    /// All of them.
    pub(crate) fn doors(&self) -> impl Iterator<Item = &Door> {
        std::iter::once(&self.door).chain(&self.redirect)
    }

    /// Binds what could not be bound before.
    pub(crate) fn bind_missing(&self) -> Opened {
        let bind = |door: &Door| bind_if_closed(&self.table.scope, door);
        Opened { serve: bind(&self.door), redirect: self.redirect.as_ref().and_then(bind) }
    }

    /// Holds sockets that are new.
    pub(crate) fn open(&mut self, opened: Opened) {
        self.door.hold(opened.serve);
        if let Some(redirect) = &mut self.redirect {
            redirect.hold(opened.redirect);
        }
    }

    /// Lets go of all sockets.
    pub(crate) fn close(&mut self) {
        self.door.listener = None;
        if let Some(redirect) = &mut self.redirect {
            redirect.listener = None;
        }
    }
}

/// Where a table wants the doors of a scope, with the sockets that are new.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) opened: Opened,
    pub(crate) address: SocketAddr,
    redirect: Option<SocketAddr>,
}

impl Opening {
    /// Opens what is not open there yet.
    pub(crate) fn of(current: Option<&Served>, table: &ProxyTable) -> Result<Self, Refusal> {
        let wanted = wanted_address(current, table.gateway.listen);
        let wanted_redirect = wanted_redirect(current, table);
        let new = |door: Option<&Door>, address| {
            if door.is_some_and(|door| door.is_open_at(address)) {
                return Ok(None);
            }
            let opened = open(current, address);
            opened
                .map(Some)
                .map_err(|error| Refusal::Address { address, reason: error.to_string() })
        };
        let serve = new(current.map(|served| &served.door), wanted)?;
        let door = current.and_then(|served| served.redirect.as_ref());
        let redirect = wanted_redirect.map(|address| new(door, address)).transpose()?.flatten();
        // An automatic port is known once it is open.
        let at = |opened: &Option<TcpListener>, wanted| {
            let opened = opened.as_ref().and_then(|listener| listener.local_addr().ok());
            opened.unwrap_or(wanted)
        };
        Ok(Self {
            address: at(&serve, wanted),
            redirect: wanted_redirect.map(|wanted| at(&redirect, wanted)),
            opened: Opened { serve, redirect },
        })
    }

    /// Where those come in, and are sent, who come in plain text.
    pub(crate) fn ports(&self) -> Option<Ports> {
        Some(Ports { from: self.redirect?.port(), to: self.address.port() })
    }

    /// The scope from now on.
    pub(crate) fn served(self, table: ProxyTable, before: Option<Served>) -> Served {
        let (door, redirect) = before.map(|served| (served.door, served.redirect)).unzip();
        let mut served = Served {
            table,
            door: Door::moved(door, self.address),
            redirect: self.redirect.map(|address| Door::moved(redirect.flatten(), address)),
        };
        served.open(self.opened);
        served
    }
}

/// An automatic port stays what it was.
fn wanted_address(current: Option<&Served>, listen: Listen) -> SocketAddr {
    match (listen, current) {
        (Listen::Address(address), _) if address.port() != 0 => address,
        (listen, Some(served)) if served.table.gateway.listen == listen => served.door.address,
        (Listen::Address(address), _) => address,
        (Listen::Automatic, _) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

/// The same for those who come in plain text.
fn wanted_redirect(current: Option<&Served>, table: &ProxyTable) -> Option<SocketAddr> {
    let asked = |table: &ProxyTable| table.gateway.tls.as_ref()?.redirect_from;
    let wanted = asked(table)?;
    let same = current.filter(|served| wanted.port() == 0 && asked(&served.table) == Some(wanted));
    let same = same.and_then(|served| served.redirect.as_ref());
    Some(same.map_or(wanted, |door| door.address))
}

/// A socket at this address: another one to the door of the scope that has it now, or a new one. So
/// an address can become that of the other door, as when an environment is encrypted that was not.
fn open(current: Option<&Served>, address: SocketAddr) -> std::io::Result<TcpListener> {
    let mut doors = current.into_iter().flat_map(Served::doors);
    match doors.find(|door| door.address == address).and_then(|door| door.listener.as_ref()) {
        Some(listener) => listener.try_clone(),
        None => door::bind(address),
    }
}

fn bind_if_closed(scope: &Scope, door: &Door) -> Option<TcpListener> {
    if door.listener.is_some() {
        return None;
    }
    let address = door.address;
    match door::bind(address) {
        Ok(listener) => {
            tracing::info!(%scope, %address, "listening");
            Some(listener)
        }
        Err(error) => {
            tracing::debug!(%scope, %address, %error, "cannot listen");
            None
        }
    }
}
