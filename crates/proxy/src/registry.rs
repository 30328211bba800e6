//! What the control thread knows: the tables in force and their listeners.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd as _, BorrowedFd},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidegate_types::{
    Epoch, Scope,
    data_plane::{
        HandedOver, HandedOverRedirect, ProxyTable, Refusal, Request, Response, ServedTable,
    },
};

use crate::{
    disk::{self, StoredTable},
    door::{Door, Opened},
    hand_over::{Charge, Link, Received},
    health::watch::Watch,
    limits::Limits,
    meters::Meters,
    redirect::{Ports, Redirect},
    served::{Opening, Served},
    store::{self, Store},
    table::{Admission, admit, check, invalid},
    tls::Termination,
    worker::{Command, Handle, Why},
};

/// All scopes.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Given up to a successor.
    charge: Option<Charge>,
    predecessor: Link,
    home: PathBuf,
    store: Store,
    /// The workers have been told to end, and some may have.
    ending: bool,
    workers: Vec<Handle>,
    scopes: BTreeMap<Scope, Served>,
    /// How connections are encrypted, where a table asks for it or did before.
    terminations: BTreeMap<Scope, Arc<Termination>>,
    meters: Arc<Mutex<Meters>>,
    watch: Arc<Mutex<Watch>>,
}

impl Registry {
    /// No scopes yet.
    pub(crate) fn new(home: PathBuf, workers: Vec<Handle>, limits: &Limits) -> Self {
        let meters = Meters::new(workers.len(), limits);
        Self {
            charge: None,
            predecessor: Link::default(),
            store: Store::new(home.clone()),
            home,
            ending: false,
            workers,
            scopes: BTreeMap::new(),
            terminations: BTreeMap::new(),
            meters: Arc::new(Mutex::new(meters)),
            watch: Arc::new(Mutex::new(Watch::new(limits))),
        }
    }

    /// Where what is counted can be read, with the scopes that are shown there.
    pub(crate) fn metrics(&self) -> BTreeMap<SocketAddr, Vec<Scope>> {
        let mut addresses: BTreeMap<_, Vec<Scope>> = BTreeMap::new();
        for (scope, served) in &self.scopes {
            if let Some(address) = served.table.gateway.metrics {
                addresses.entry(address).or_default().push(scope.clone());
            }
        }
        addresses
    }

    /// The counters, which can be read while a table is being published.
    pub(crate) fn meters(&self) -> Arc<Mutex<Meters>> {
        Arc::clone(&self.meters)
    }

    /// What is known of the instances, in the same way.
    pub(crate) fn watch(&self) -> Arc<Mutex<Watch>> {
        Arc::clone(&self.watch)
    }

    /// Serves what was stored. An address that cannot be bound is tried again by
    /// [`Self::bind_missing`].
    pub(crate) async fn restore(&mut self, stored: Vec<StoredTable<'static>>) {
        for StoredTable { table, address, redirect } in stored {
            let table = table.into_owned();
            if let Err(refusal) = check(&table) {
                tracing::error!(scope = %table.scope, %refusal, "a stored table is not served");
                continue;
            }
            if let Err(error) = self.restore_termination(&table).await {
                tracing::error!(scope = %table.scope, %error, "cannot listen without a certificate");
            }
            let redirect =
                table.gateway.tls.as_ref().and_then(|tls| redirect.or(tls.redirect_from));
            let redirect = redirect.map(Door::closed);
            let served = Served { table, door: Door::closed(address), redirect };
            let scope = served.table.scope.clone();
            if let Err(error) = self.install(&served.table, served.ports(), Vec::new()).await {
                tracing::error!(%scope, %error, "a stored table is not served");
                continue;
            }
            self.scopes.insert(scope, served);
        }
        self.bind_missing().await;
        for (scope, served) in &self.scopes {
            for Door { address, .. } in served.doors().filter(|door| door.listener.is_none()) {
                tracing::error!(%scope, %address, "cannot listen; trying again every second");
            }
        }
    }

    /// Serves what a predecessor gives: all of it, or there is no taking over.
    pub(crate) async fn take_over(&mut self, scopes: Vec<Received>) -> Result<(), String> {
        for Received { table, door, redirect } in scopes {
            let scope = table.scope.clone();
            let failed = |reason: &dyn std::fmt::Display| format!("{scope}: {reason}");
            check(&table).map_err(|refusal| failed(&refusal))?;
            let readable = self.restore_termination(&table).await;
            let served = Served { table, door, redirect };
            if served.doors().any(|door| door.listener.is_some()) {
                readable.map_err(|reason| failed(&reason))?;
            }
            let opened = self.copies(&served.copy().map_err(|error| failed(&error))?);
            let opened = opened.map_err(|error| failed(&error))?;
            self.install(&served.table, served.ports(), opened)
                .await
                .map_err(|reason| failed(&reason))?;
            self.scopes.insert(scope, served);
        }
        Ok(())
    }

    /// From here on this proxy is in charge, and a predecessor is told of all that changes.
    pub(crate) fn put_in_charge(&mut self, charge: Charge, predecessor: Link) {
        self.charge = Some(charge);
        self.predecessor = predecessor;
    }

    /// All that a successor needs; none when this proxy is not in charge.
    pub(crate) fn hand_over(&self) -> Option<(Vec<HandedOver>, Vec<BorrowedFd<'_>>)> {
        let charge = self.charge.as_ref().filter(|_| !self.ending)?;
        let scopes = self.scopes.values().map(|served| HandedOver {
            table: served.table.clone(),
            address: served.door.address,
            listens: served.door.listener.is_some(),
            redirect: served.redirect.as_ref().map(|door| HandedOverRedirect {
                address: door.address,
                listens: door.listener.is_some(),
            }),
        });
        let doors = self.scopes.values().flat_map(Served::doors);
        let listeners = doors.filter_map(|door| door.listener.as_ref());
        let sockets = charge.sockets().into_iter().chain(listeners.map(TcpListener::as_fd));
        Some((scopes.collect(), sockets.collect()))
    }

    /// A successor is in charge: closes whatever it has now, and lets what is in flight end in its
    /// own time. The tables stay: what is in flight follows those that the successor tells of.
    pub(crate) async fn succeed(&mut self) {
        self.end(Why::Succeeded).await;
        // The successor stores what it was given.
        self.store.give_up();
        self.scopes.values_mut().for_each(Served::close);
        self.charge = None;
    }

    /// Takes a table from the successor.
    pub(crate) async fn follow(&mut self, table: ProxyTable) -> Response {
        if let Err(refusal) = check(&table) {
            return Response::Refused(refusal);
        }
        // A scope that was not served here has no connections here.
        let Some(served) = self.scopes.get(&table.scope) else {
            return Response::Done;
        };
        if let Err(reason) = self.install(&table, served.ports(), Vec::new()).await {
            return Response::Refused(invalid(reason));
        }
        if let Some(served) = self.scopes.get_mut(&table.scope) {
            served.table = table;
        }
        Response::Done
    }

    /// Ends being in charge; what is returned keeps others out until it is dropped.
    pub(crate) fn leave(&mut self) -> Option<Charge> {
        self.charge.take()
    }

    /// How the predecessor is spoken to.
    pub(crate) fn predecessor(&self) -> Link {
        self.predecessor.clone()
    }

    /// Tries to bind what could not be bound before.
    pub(crate) async fn bind_missing(&mut self) {
        let is_closed = |served: &Served| served.doors().any(|door| door.listener.is_none());
        let closed = self.scopes.iter().filter(|(_, served)| is_closed(served));
        let closed: Vec<Scope> = closed.map(|(scope, _)| scope.clone()).collect();
        for scope in closed {
            if let Some(table) = self.scopes.get(&scope).map(|served| served.table.clone())
                && let Err(error) = self.restore_termination(&table).await
            {
                // Nothing is to be said in plain text in its place.
                tracing::debug!(%scope, %error, "cannot listen without a certificate");
                continue;
            }
            let Some(served) = self.scopes.get(&scope) else {
                continue;
            };
            let opened = served.bind_missing();
            if opened.is_empty() {
                continue;
            }
            // They are opened again while they cannot be shared.
            let Ok(copies) = self.copies(&opened) else {
                continue;
            };
            if let Err(error) = self.install(&served.table, served.ports(), copies).await {
                tracing::error!(%scope, %error, "cannot listen");
            }
            if let Some(served) = self.scopes.get_mut(&scope) {
                served.open(opened);
            }
        }
    }

    /// Stores the tables in force, if the file may hold others.
    pub(crate) async fn store_missing(&mut self) {
        if self.store.is_behind() {
            self.store_in_force().await;
        }
    }

    /// The folder whose files are to outlast a loss of power, unless they do.
    pub(crate) fn take_unsynced(&mut self) -> Option<PathBuf> {
        self.store.take_unsynced()
    }

    /// Puts a table in force, also when it cannot be stored: a rollback has to take the traffic from
    /// a bad version on a full disk too. A proxy that starts from an older file is published the
    /// newer table again.
    pub(crate) async fn publish(&mut self, table: ProxyTable) -> Response {
        match self.try_publish(table).await {
            Ok((epoch, membership, address)) => Response::Published { epoch, membership, address },
            Err(refusal) => Response::Refused(refusal),
        }
    }

    async fn try_publish(
        &mut self,
        table: ProxyTable,
    ) -> Result<(Epoch, u64, SocketAddr), Refusal> {
        let current = self.scopes.get(&table.scope);
        let admission = admit(current.map(|served| &served.table), &table)?;
        let order = (table.epoch, table.membership);
        let termination = self.termination(&table).await?;
        let current = self.scopes.get(&table.scope);
        let opening = Opening::of(current, &table)?;
        let address = opening.address;
        if opening.opened.is_empty() && admission == Admission::Same {
            self.store_missing().await;
            return Ok((order.0, order.1, address));
        }
        let no_copy = |error| invalid(format!("a listener cannot be shared: {error}"));
        let copies = self.copies(&opening.opened).map_err(no_copy)?;
        if let Some(termination) = termination {
            self.terminations.insert(table.scope.clone(), termination);
        }
        let installed = self.install(&table, opening.ports(), copies).await;
        let scope = table.scope.clone();
        let former = self.scopes.remove(&scope);
        self.scopes.insert(scope, opening.served(table, former));
        self.store_in_force().await;
        installed.map_err(invalid)?;
        Ok((order.0, order.1, address))
    }

    /// How the connections of a new table are to be encrypted. The one in use stays when the table
    /// names the same files: a change of shares is not refused since a certificate ran out in the
    /// meantime.
    async fn termination(&self, table: &ProxyTable) -> Result<Option<Arc<Termination>>, Refusal> {
        let Some(wanted) = table.gateway.tls.clone() else {
            return Ok(None);
        };
        let before = self.terminations.get(&table.scope).cloned();
        if before.as_ref().is_some_and(|before| before.is_of(&wanted)) {
            return Ok(before);
        }
        let (home, scope) = (self.home.clone(), table.scope.clone());
        let read = move || Termination::new(&home, &scope, wanted, before.as_deref());
        match blocking(read).await {
            Ok(Ok(termination)) => Ok(Some(Arc::new(termination))),
            Ok(Err(error)) => Err(invalid(format!("{}: tls: {error}", table.scope))),
            Err(reason) => Err(invalid(reason)),
        }
    }

    /// Reads the certificates of a table that was stored, unless they have been read.
    async fn restore_termination(&mut self, table: &ProxyTable) -> Result<(), String> {
        let Some(wanted) = table.gateway.tls.clone() else {
            return Ok(());
        };
        if self.terminations.contains_key(&table.scope) {
            return Ok(());
        }
        let (home, scope) = (self.home.clone(), table.scope.clone());
        let read = move || Termination::restored(&home, &scope, wanted);
        let termination = blocking(read).await?.map_err(|error| error.to_string())?;
        self.terminations.insert(table.scope.clone(), Arc::new(termination));
        Ok(())
    }

    /// Everything that has certificates to look after.
    pub(crate) fn terminations(&self) -> Vec<Arc<Termination>> {
        self.terminations.values().map(Arc::clone).collect()
    }

    /// What has certificates to order.
    pub(crate) fn ordering(&self) -> Vec<Arc<Termination>> {
        let orders = |served: &Served| {
            served.table.gateway.tls.as_ref().is_some_and(|tls| tls.acme.is_some())
        };
        let scopes = self.scopes.iter().filter(|(_, served)| orders(served));
        scopes.filter_map(|(scope, _)| self.terminations.get(scope).cloned()).collect()
    }

    /// Forgets a scope. One that cannot be forgotten on disk is kept: nobody would take it away
    /// again from a proxy that starts with it.
    pub(crate) async fn remove(&mut self, scope: &Scope) -> Response {
        if !self.scopes.contains_key(scope) {
            return Response::Done;
        }
        let kept = self.stored(|other| other != scope);
        if let Err(reason) = self.store.write(kept).await {
            return Response::Refused(invalid(reason));
        }
        self.forget(scope).await
    }

    /// Forgets a scope, here and in predecessors.
    pub(crate) async fn forget(&mut self, scope: &Scope) -> Response {
        let told = self.tell(|done| Command::Remove { scope: scope.clone(), done }).await;
        self.predecessor.tell(|| Request::Remove(scope.clone())).await;
        self.scopes.remove(scope);
        self.terminations.remove(scope);
        self.lock_watch().forget(scope);
        match told {
            Ok(()) => Response::Done,
            Err(reason) => Response::Refused(invalid(reason)),
        }
    }

    /// The tables in force.
    pub(crate) fn tables(&self) -> Vec<ServedTable> {
        self.scopes
            .values()
            .map(|served| ServedTable {
                table: served.table.clone(),
                address: served.door.open_address(),
                redirect: served.redirect.as_ref().and_then(Door::open_address),
            })
            .collect()
    }

    /// Closes the listeners and lets what is in flight end; returns when the listeners are closed.
    pub(crate) async fn drain(&mut self) {
        self.end(Why::Told).await;
        self.predecessor.tell(|| Request::Shutdown).await;
        self.store_missing().await;
        if let Some(home) = self.take_unsynced() {
            store::sync(home).await;
        }
        // Nothing is in force from here on, and that is not to be stored.
        self.store.give_up();
        self.scopes.clear();
    }

    async fn end(&mut self, why: Why) {
        self.ending = true;
        if let Err(reason) = self.tell(|done| Command::Drain { why, done }).await {
            tracing::error!(reason, "a worker cannot be told to end");
        }
    }

    /// Gives the table to every worker. When they have answered, every new request follows it and
    /// every request that followed the former one is counted as in flight: a worker reads its
    /// table and counts the request in flight without a pause in which it could take the table.
    async fn install(
        &self,
        table: &ProxyTable,
        ports: Option<Ports>,
        mut opened: Vec<Opened>,
    ) -> Result<(), String> {
        let mut live = {
            let mut watch = self.lock_watch();
            self.lock_meters().compile(table, watch.follow(table))
        };
        if table.gateway.tls.is_some()
            && let Some(termination) = self.terminations.get(&table.scope)
        {
            live.tls = Some(termination.config());
            live.redirect = ports
                .map(|ports| Arc::new(Redirect { ports, challenges: termination.challenges() }));
        }
        let live = Arc::new(live);
        self.tell(|done| Command::Table {
            scope: table.scope.clone(),
            table: Arc::clone(&live),
            opened: opened.pop().unwrap_or_default(),
            done,
        })
        .await?;
        // Who was woken by its new limits before its worker followed it has looked in vain.
        live.wake_waiting();
        self.predecessor.tell(|| Request::Publish(table.clone())).await;
        Ok(())
    }

    async fn tell(
        &self,
        mut command: impl FnMut(tokio::sync::oneshot::Sender<()>) -> Command,
    ) -> Result<(), String> {
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = tokio::sync::oneshot::channel();
            // A worker that has gone shows as an answer that never comes.
            worker.send(command(done));
            answers.push(answer);
        }
        for answer in answers {
            if answer.await.is_err() && !self.ending {
                return Err("a worker of the proxy has ended".to_owned());
            }
        }
        Ok(())
    }

    /// What each worker is given.
    fn copies(&self, opened: &Opened) -> std::io::Result<Vec<Opened>> {
        self.workers.iter().map(|_| opened.copy()).collect()
    }

    /// A failure is kept in mind by the store, and tried again by [`Self::store_missing`].
    pub(crate) async fn store_in_force(&mut self) {
        let tables = self.stored(|_| true);
        let _logged = self.store.write(tables).await;
    }

    /// The tables that are to be kept, as they are stored.
    fn stored(&self, keep: impl Fn(&Scope) -> bool) -> Vec<u8> {
        let tables = self
            .scopes
            .values()
            .filter(|served| keep(&served.table.scope))
            .map(|served| StoredTable {
                table: Cow::Borrowed(&served.table),
                address: served.door.address,
                redirect: served.redirect.as_ref().map(|door| door.address),
            })
            .collect();
        // They came as such a text, and every one of them can be written as one.
        disk::text(tables).unwrap_or_default()
    }

    fn lock_watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads files beside the control thread, which goes on meanwhile.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| format!("certificates cannot be read: {error}"))
}
