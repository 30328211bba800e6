//! Who answers a request: its route, a revision by share, an instance by load, and who is asked next
//! when that one does not answer.

use std::{rc::Rc, sync::Arc, time::Instant};

use tidegate_types::Outcome;

use crate::{
    access_log::Entry as LogEntry,
    answer::Own,
    backend::{Backend, Destination},
    clock,
    connection::Client,
    endpoint::{Endpoint, LocalRoute, LocalTable},
    files::Site,
    gate::{Entry, Place as Waiting, Slot},
    head,
    meter::NotAnswered,
    pick, routing,
    ticket::Ticket,
    visitor::Visitor,
};

/// How often a request that may be repeated is sent again after an endpoint broke off.
pub(crate) const RESENDS: u8 = 2;

/// The role of the revision that answers without a share when nobody who has one can be asked.
const STAND_IN: &str = "stable";

/// Why no revision's answer is given.
pub(crate) enum Refused {
    Own(Own),
    Malformed(String),
}

impl Refused {
    /// Counts a request that no revision answered.
    pub(crate) fn note(&self, client: &Client) {
        let nobody = match self {
            Self::Own(Own::NoRoute) => NotAnswered::NoRoute,
            Self::Own(Own::NoSuchRevision) => NotAnswered::NoSuchRevision,
            Self::Own(Own::NobodyReady) => NotAnswered::NobodyReady,
            Self::Own(Own::GatewayFull | Own::GatewayTimeout) => NotAnswered::Overloaded,
            Self::Own(Own::Maintenance) => NotAnswered::Maintenance,
            Self::Malformed(_) => NotAnswered::Malformed,
            Self::Own(_) => return,
        };
        if let Some(unanswered) = &client.scope.table().unanswered {
            unanswered.add(client.worker.index, nobody);
        }
    }
}

impl From<Own> for Refused {
    fn from(own: Own) -> Self {
        Self::Own(own)
    }
}

/// A place in the scope, where their number is limited.
pub(crate) async fn enter(client: &Client) -> Result<Option<Slot>, Own> {
    let mut waiting: Option<Waiting> = None;
    loop {
        let table = client.scope.table();
        let Some(gate) = &table.gate else {
            return Ok(None);
        };
        match gate.enter_whole(waiting.filter(|waiting| waiting.is_at(gate))) {
            Entry::In((), slot) => return Ok(Some(slot)),
            Entry::Full => return Err(Own::GatewayFull),
            Entry::Waits(place) => {
                drop(table);
                waiting = Some(Box::pin(place.turn()).await.ok_or(Own::GatewayTimeout)?);
            }
        }
    }
}

/// Who is asked next.
pub(crate) enum Target {
    Endpoint(Rc<Endpoint>, Ticket),
    Files(Rc<Backend>, Arc<Site>),
}

impl Target {
    /// It is not asked after all.
    pub(crate) fn discard(self) {
        if let Self::Endpoint(_, ticket) = self {
            ticket.discard();
        }
    }
}

/// What is found by who looks for somebody.
enum Found {
    Target(Target),
    /// All are busy, and it waits for this revision.
    Line(Waiting, Rc<Backend>),
}

/// Looks for somebody who answers a request.
pub(crate) struct Search<'a> {
    pub(crate) client: &'a Rc<Client>,
    pub(crate) entry: Option<&'a Rc<LogEntry>>,
    started: Instant,
    /// Without its port.
    host: &'a str,
    path: &'a str,
    /// By the header.
    asked_for: Option<&'a str>,
    /// Where visitors stay with a revision, and it is known who this is.
    pub(crate) visitor: Option<Visitor>,
    /// The revision that was picked first: a request is tried at all of its endpoints.
    pub(crate) staying_with: Option<Rc<Backend>>,
    pub(crate) tried: Vec<Rc<Endpoint>>,
    /// Revisions none of whose endpoints could be reached.
    failed: Vec<Rc<Backend>>,
    /// Somebody took the request and did not answer it.
    pub(crate) broke_off: bool,
    /// What became of the last attempt.
    pub(crate) fault: Outcome,
}

impl<'a> Search<'a> {
    /// Nobody was asked yet. The host is with or without its port.
    pub(crate) fn new(
        client: &'a Rc<Client>,
        entry: Option<&'a Rc<LogEntry>>,
        started: Instant,
        host: &'a str,
        path: &'a str,
        asked_for: Option<&'a str>,
    ) -> Self {
        Self {
            client,
            entry,
            started,
            host: head::without_port(host),
            path,
            asked_for,
            visitor: None,
            staying_with: None,
            tried: Vec::new(),
            failed: Vec::new(),
            broke_off: false,
            fault: Outcome::EndpointConnect,
        }
    }

    pub(crate) fn route<'t>(&self, table: &'t LocalTable) -> Option<&'t LocalRoute> {
        table.routes.iter().find(|route| routing::matches(&route.rule, self.host, self.path))
    }

    /// Who is asked next. Where the number of requests is limited it may have to wait.
    pub(crate) async fn next(&mut self) -> Result<Target, Refused> {
        let mut waiting = None;
        loop {
            match self.look(waiting)? {
                Found::Target(target) => return Ok(target),
                Found::Line(place, backend) => match Box::pin(place.turn()).await {
                    None => return Err(self.turned_away(backend, Own::QueueTimeout)),
                    place => waiting = place,
                },
            }
        }
    }

    /// Who can be asked at once. Follows the table in force at this moment, and counts the request
    /// in flight before anything else can run on this worker: when a publisher is told that its
    /// table is in force, whoever still goes to an endpoint that it does not name is seen.
    fn look(&mut self, mut waiting: Option<Waiting>) -> Result<Found, Refused> {
        let table = self.client.scope.table();
        let route = self.route(&table).ok_or(Own::NoRoute)?;
        let random = &self.client.worker.random;
        loop {
            let backend = self.backend(route)?;
            if let Destination::Files(site) = &backend.destination {
                return Ok(Found::Target(Target::Files(Rc::clone(&backend), Arc::clone(site))));
            }
            let found = match &backend.gate {
                None => backend.endpoint(&self.tried, random).map(|endpoint| (endpoint, None)),
                Some(gate) => {
                    // Where it waits may have been the line of a revision that has left.
                    let place = waiting.take().filter(|waiting| waiting.is_at(gate));
                    let look = |limit| backend.endpoint_with_room(&self.tried, random, limit);
                    match gate.enter(place, look) {
                        Entry::In(endpoint, slot) => endpoint.map(|found| (found, Some(slot))),
                        // A revision that is full does not spill its requests over to another: the
                        // shares are what they are.
                        Entry::Full => return Err(self.turned_away(backend, Own::QueueFull)),
                        Entry::Waits(place) => {
                            self.staying_with = Some(Rc::clone(&backend));
                            return Ok(Found::Line(place, backend));
                        }
                    }
                }
            };
            if let Some((endpoint, slot)) = found {
                self.staying_with = Some(Rc::clone(&backend));
                let ticket = Ticket::new(
                    &self.client.worker,
                    backend,
                    Some(Rc::clone(&endpoint)),
                    self.started,
                    self.entry,
                );
                return Ok(Found::Target(Target::Endpoint(endpoint, ticket.at(slot))));
            }
            // Its failure is counted even when another revision answers in its place.
            Ticket::new(&self.client.worker, Rc::clone(&backend), None, self.started, self.entry)
                .fail(self.fault);
            self.staying_with = None;
            self.failed.push(backend);
        }
    }

    /// The revision has no room for it, which is a failure of its own.
    fn turned_away(&self, backend: Rc<Backend>, own: Own) -> Refused {
        Ticket::new(&self.client.worker, backend, None, self.started, self.entry)
            .fail(Outcome::ProxyOverloaded);
        own.into()
    }

    fn backend(&self, route: &LocalRoute) -> Result<Rc<Backend>, Refused> {
        let has_failed = |backend: &Backend| {
            self.failed.iter().any(|failed| failed.revision == backend.revision)
        };
        if let Some(name) = self.asked_for {
            let named = route
                .backends
                .iter()
                .find(|backend| backend.revision.as_str() == name || backend.role == name);
            match named {
                Some(backend) if backend.is_ready() && !has_failed(backend) => {
                    return Ok(Rc::clone(backend));
                }
                Some(_) => return Err(self.nobody()),
                // A component that has no candidate answers as usual when a candidate is asked
                // for; a certain revision is that one or none.
                None if name.contains('@') => return Err(Own::NoSuchRevision.into()),
                None => {}
            }
        }
        if let Some(former) = &self.staying_with {
            let same = |backend: &&Rc<Backend>| backend.revision == former.revision;
            if let Some(backend) = route.backends.iter().find(same)
                && backend.is_ready()
            {
                return Ok(Rc::clone(backend));
            }
        }
        let ready = |backend: &Backend| backend.is_ready() && !has_failed(backend);
        let backends = route.backends.iter();
        let worker = &self.client.worker;
        let index = if let Some((visitors, visitor)) = route.visitors.as_ref().zip(self.visitor) {
            let place = visitors.place(visitor, worker.visitors);
            let choices = backends.map(|backend| backend.choice(ready(backend)));
            pick::revision_for(choices, place)
        } else {
            let choices = backends.map(|backend| (backend.share, ready(backend)));
            pick::revision(choices, worker.random.next())
        };
        if let Some(index) = index {
            return Ok(Rc::clone(&route.backends[index]));
        }
        // The share went to others, and none of them is there: who served before answers rather
        // than nobody. What is new and has no share yet never does.
        let former = |backend: &&Rc<Backend>| backend.role == STAND_IN && ready(backend);
        route.backends.iter().find(former).map(Rc::clone).ok_or_else(|| self.nobody())
    }

    /// How long a connection takes is only of interest to whoever writes it down.
    pub(crate) async fn timed<F: Future>(&self, connecting: F) -> F::Output {
        let Some(entry) = self.entry else {
            return connecting.await;
        };
        let begun = Instant::now();
        let connected = connecting.await;
        entry.connected(begun.elapsed());
        connected
    }

    /// It is tried elsewhere.
    pub(crate) fn discard(&self, ticket: Ticket) {
        if let Some(entry) = self.entry {
            entry.retried();
        }
        ticket.discard();
    }

    /// No connection could be made. An error when the request may not be tried elsewhere.
    pub(crate) fn not_connected(
        &mut self,
        error: &std::io::Error,
        ticket: &mut Ticket,
    ) -> Result<(), Refused> {
        tracing::debug!(%error, "an endpoint refused a connection");
        let is_late = error.kind() == std::io::ErrorKind::TimedOut;
        self.fault =
            if is_late { Outcome::EndpointConnectTimeout } else { Outcome::EndpointConnect };
        // Who refuses has no work with it. Who is too busy to accept has.
        if is_late && !self.may_repeat(ticket) {
            ticket.fail(self.fault);
            return Err(self.nobody());
        }
        Ok(())
    }

    /// There is nobody left to ask. Whoever reads that nobody was ready may send it again.
    pub(crate) fn nobody(&self) -> Refused {
        if self.broke_off { Own::BadGateway.into() } else { Own::NobodyReady.into() }
    }

    /// Whether a request that may have been work for somebody may be sent again.
    pub(crate) fn may_repeat(&self, ticket: &Ticket) -> bool {
        let second = clock::millis() / 1_000;
        ticket.backend().budget.allows(second, self.client.worker.limits.retries())
    }
}
