//! One request: from the client's head to an endpoint's answer.

use std::{future::poll_fn, net::IpAddr, pin::pin, rc::Rc, sync::Arc, time::Instant};

use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header::CONNECTION};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade},
};
use tidegate_types::{Outcome, RouteRule};

use crate::{
    access_log::Entry as LogEntry,
    answer::{AnswerBody, AnswerKind, EndpointBody, Own, Running, wants_json},
    backend::{Backend, Destination},
    clock,
    connection::{Busy, Client},
    endpoint::{Connection, Endpoint, LocalRoute, LocalTable},
    endpoint_http2::{Refusal, refusal},
    files::Site,
    gate::{Entry, Place as Waiting, Slot},
    head::{self, Origin},
    meter::NotAnswered,
    pick::{self, Random},
    request_body::{RequestBody, Source},
    routing::{self, Stripped},
    ticket::Ticket,
    translate, upgrade as websocket,
    visitor::{self, Visitor},
};

/// How often a request that may be repeated is sent again after an endpoint broke off.
const RESENDS: u8 = 2;

/// The role of the revision that answers without a share when nobody who has one can be asked.
const STAND_IN: &str = "stable";

/// Answers a request.
pub(crate) async fn answer(client: Rc<Client>, request: Request<Incoming>) -> Response<AnswerBody> {
    let busy = Busy::new(&client.activity);
    let json = wants_json(&request);
    let sink = client.scope.table().access_log.clone();
    let entry =
        sink.map(|sink| LogEntry::new(&sink, &request, client.peer.ip(), &client.worker.random));
    let (own, detail) = match exchange(&client, entry.as_ref(), request).await {
        Ok(response) => return finish(&client, response, busy, entry),
        Err(Refused::Own(own)) => (own, None),
        Err(Refused::Malformed(detail)) => (Own::BadRequest, Some(detail)),
    };
    let nobody = match own {
        Own::NoRoute => Some(NotAnswered::NoRoute),
        Own::NoSuchRevision => Some(NotAnswered::NoSuchRevision),
        Own::NobodyReady => Some(NotAnswered::NobodyReady),
        Own::GatewayFull | Own::GatewayTimeout => Some(NotAnswered::Overloaded),
        _ => detail.is_some().then_some(NotAnswered::Malformed),
    };
    if let (Some(nobody), Some(unanswered)) = (nobody, &client.scope.table().unanswered) {
        unanswered.add(client.worker.index, nobody);
    }
    let response = own.answer(json, detail.as_deref());
    if let Some(entry) = &entry {
        let bytes = response.body().length();
        entry.answered_by_us(own.reason(), bytes);
    }
    finish(&client, response, busy, entry)
}

fn finish(
    client: &Client,
    response: Response<AnswerKind>,
    busy: Busy,
    entry: Option<Rc<LogEntry>>,
) -> Response<AnswerBody> {
    if let Some(entry) = &entry {
        entry.answered(response.status());
    }
    let mut response = response.map(|kind| AnswerBody::new(kind, busy, entry));
    if client.http2 {
        // There, a connection is closed with a message of its own.
        response.headers_mut().remove(CONNECTION);
        if client.worker.is_last_answer(&client.scope) {
            client.activity.ask_to_end();
        }
    } else if client.worker.is_last_answer(&client.scope)
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Why no revision's answer is given.
enum Refused {
    Own(Own),
    Malformed(String),
}

impl From<Own> for Refused {
    fn from(own: Own) -> Self {
        Self::Own(own)
    }
}

async fn exchange(
    client: &Rc<Client>,
    entry: Option<&Rc<LogEntry>>,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerKind>, Refused> {
    let started = Instant::now();
    if client.http2 {
        head::join_cookies(request.headers_mut());
    }
    if let Some(fault) = client.activity.fault() {
        return Err(Refused::Malformed(fault.to_string()));
    }
    let host = head::check(request.method(), request.version(), request.uri(), request.headers())
        .map_err(|malformed| Refused::Malformed(malformed.to_string()))?;
    let place_in_scope = enter(client).await?;
    // Shares what it is made of with the request, which is about to be changed.
    let asked = request.uri().clone();
    let asked_for = request.headers().get(head::REVISION).cloned();
    let mut search = Search {
        client,
        entry,
        started,
        host: &host,
        path: asked.path(),
        asked_for: asked_for.as_ref().and_then(|name| name.to_str().ok()),
        visitor: None,
        staying_with: None,
        tried: Vec::new(),
        failed: Vec::new(),
        broke_off: false,
        fault: Outcome::EndpointConnect,
    };
    let table = client.scope.table();
    let route = search.route(&table).ok_or(Own::NoRoute)?;
    let uri = stripped(&route.rule, &request).map_err(Refused::Malformed)?;
    let worker = &client.worker;
    let new = || worker.random.next();
    search.visitor = route
        .visitors
        .as_ref()
        .and_then(|visitors| visitors.who(request.headers(), worker.visitors, new));
    let cookie =
        route.visitors.as_ref().zip(search.visitor).and_then(|(visitors, visitor)| {
            visitors.cookie(visitor, worker.visitors, client.secure)
        });
    let introduced = |mut answer: Response<AnswerKind>| {
        if let Some(cookie) = cookie {
            visitor::introduce(answer.headers_mut(), cookie);
        }
        answer
    };
    let target = match search.next().await? {
        Target::Files(backend, site) => {
            let ticket = Ticket::new(worker, backend, None, started, entry).within(place_in_scope);
            return Ok(introduced(site.answer(&request, &uri, ticket)));
        }
        target @ Target::Endpoint(..) => target,
    };
    if table.gives_cookies {
        visitor::remove_cookie(request.headers_mut());
    }
    let websocket = head::is_websocket(request.method(), request.version(), request.headers());
    let client_upgrade = websocket.then(|| upgrade::on(&mut request));
    let peer = client.peer.ip();
    let place = Place { uri, host: host.clone(), peer, secure: client.secure, websocket };
    let outgoing = outgoing(request, place, &worker.random);
    if let Some(entry) = entry {
        entry.sent_as(outgoing.headers());
    }
    if let (Some(mirror), false) = (&route.mirror, websocket) {
        mirror.send(worker, search.staying_with.as_ref(), &outgoing);
    }
    drop(table);
    let (endpoint_answer, ticket, connection) = search.send(target, outgoing, websocket).await?;
    let ticket = ticket.within(place_in_scope);
    respond(client, endpoint_answer, ticket, connection, client_upgrade).map(introduced)
}

/// The target of the request to the backend.
pub(crate) fn stripped<B>(rule: &RouteRule, request: &Request<B>) -> Result<Uri, String> {
    let Some(whole) = request.uri().path_and_query() else {
        return Ok(Uri::from_static("/"));
    };
    let target = match routing::upstream_path(rule, whole.as_str()) {
        // What names a host, too, as all of HTTP/2 does, is not parsed again to lose it.
        Stripped::Whole(same) if same.len() == whole.as_str().len() => {
            return Ok(match request.uri().authority() {
                None => request.uri().clone(),
                Some(_) => Uri::from(whole.clone()),
            });
        }
        Stripped::Whole(path) => path.to_owned(),
        Stripped::WithSlash(rest) => format!("/{rest}"),
    };
    target.parse().map_err(|_| "the path without the route's prefix is no path".to_owned())
}

/// Where a request goes and where it comes from.
pub(crate) struct Place {
    pub(crate) uri: Uri,
    pub(crate) host: HeaderValue,
    pub(crate) peer: IpAddr,
    pub(crate) secure: bool,
    pub(crate) websocket: bool,
}

/// The request as an endpoint gets it.
pub(crate) fn outgoing(
    request: Request<Incoming>,
    place: Place,
    random: &Random,
) -> Request<RequestBody> {
    let (mut parts, incoming) = request.into_parts();
    let body =
        if incoming.is_end_stream() { RequestBody::empty() } else { RequestBody::new(incoming) };
    let origin = Origin {
        peer: place.peer,
        host: place.host,
        secure: place.secure,
        websocket: place.websocket,
        chunked: body.size_hint().exact().is_none(),
    };
    head::to_endpoint(&mut parts.headers, origin, || {
        u128::from(random.next()) << 64 | u128::from(random.next())
    });
    parts.uri = place.uri;
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Request::from_parts(parts, body)
}

/// Makes an endpoint's answer the one that the client gets; `websocket` says whether the request
/// asked for one.
pub(crate) fn to_client<B>(answer: &mut Response<B>, websocket: bool) -> Result<(), Own> {
    let switching = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !websocket {
        // Nobody asked for it.
        return Err(Own::BadGateway);
    }
    if !head::is_plainly_encoded(answer.headers()) {
        return Err(Own::BadGateway);
    }
    head::to_client(answer.headers_mut(), switching);
    *answer.version_mut() = Version::HTTP_11;
    Ok(())
}

fn respond(
    client: &Rc<Client>,
    mut answer: Response<Incoming>,
    mut ticket: Ticket,
    connection: Connection,
    client_upgrade: Option<OnUpgrade>,
) -> Result<Response<AnswerKind>, Refused> {
    if let Err(own) = to_client(&mut answer, client_upgrade.is_some()) {
        ticket.fail(Outcome::EndpointMalformed);
        return Err(own.into());
    }
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client_upgrade) = client_upgrade
    {
        let upgraded = client.worker.upgraded();
        let busy = Busy::new(&client.activity);
        let endpoint_upgrade = upgrade::on(&mut answer);
        ticket.did_well();
        websocket::carry(client_upgrade, endpoint_upgrade, ticket, upgraded, busy);
        return Ok(answer.map(|_| AnswerKind::Fixed(None)));
    }
    let grpc = connection.is_http2() && translate::is_grpc(answer.headers());
    let said = if grpc { translate::grpc_failed(answer.headers()) } else { Some(false) };
    if said == Some(true) {
        ticket.said_failed();
    }
    // What says how it went already, says nothing at its end.
    let ends_with_status = said.is_none();
    let worker = Rc::clone(&client.worker);
    Ok(answer.map(|incoming| {
        let running = Running { ticket, connection, ends_with_status };
        AnswerKind::Endpoint(EndpointBody::new(incoming, running, worker))
    }))
}

/// A place in the scope, where their number is limited.
async fn enter(client: &Client) -> Result<Option<Slot>, Own> {
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
                waiting = Some(place.turn().await.ok_or(Own::GatewayTimeout)?);
            }
        }
    }
}

/// Who is asked next.
enum Target {
    Endpoint(Rc<Endpoint>, Ticket),
    Files(Rc<Backend>, Arc<Site>),
}

/// What is found by who looks for somebody.
enum Found {
    Target(Target),
    /// All are busy, and it waits for this revision.
    Line(Waiting, Rc<Backend>),
}

/// Looks for somebody who answers a request.
struct Search<'a> {
    client: &'a Rc<Client>,
    entry: Option<&'a Rc<LogEntry>>,
    started: Instant,
    host: &'a HeaderValue,
    path: &'a str,
    /// By the header.
    asked_for: Option<&'a str>,
    /// Where visitors stay with a revision, and it is known who this is.
    visitor: Option<Visitor>,
    /// The revision that was picked first: a request is tried at all of its endpoints.
    staying_with: Option<Rc<Backend>>,
    tried: Vec<Rc<Endpoint>>,
    /// Revisions none of whose endpoints could be reached.
    failed: Vec<Rc<Backend>>,
    /// Somebody took the request and did not answer it.
    broke_off: bool,
    /// What became of the last attempt.
    fault: Outcome,
}

impl Search<'_> {
    fn route<'t>(&self, table: &'t LocalTable) -> Option<&'t LocalRoute> {
        let host = head::without_port(self.host.to_str().unwrap_or_default());
        table.routes.iter().find(|route| routing::matches(&route.rule, host, self.path))
    }

    /// Who is asked next. Where the number of requests is limited it may have to wait.
    async fn next(&mut self) -> Result<Target, Refused> {
        let mut waiting = None;
        loop {
            match self.look(waiting)? {
                Found::Target(target) => return Ok(target),
                Found::Line(place, backend) => match place.turn().await {
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

    /// Opens a connection. How long that takes is only of interest to whoever writes it down.
    async fn connect(&self, endpoint: &Endpoint) -> std::io::Result<Connection> {
        let limits = &self.client.worker.limits;
        let Some(entry) = self.entry else {
            return endpoint.connect(limits).await;
        };
        let begun = Instant::now();
        let connected = endpoint.connect(limits).await;
        entry.connected(begun.elapsed());
        connected
    }

    /// It is tried elsewhere.
    fn discard(&self, ticket: Ticket) {
        if let Some(entry) = self.entry {
            entry.retried();
        }
        ticket.discard();
    }

    /// There is nobody left to ask. Whoever reads that nobody was ready may send it again.
    fn nobody(&self) -> Refused {
        if self.broke_off { Own::BadGateway.into() } else { Own::NobodyReady.into() }
    }

    /// Sends the request until somebody answers it or it may not be sent again.
    #[expect(clippy::too_many_lines, reason = "one loop over all that a connection can say")]
    async fn send(
        &mut self,
        first: Target,
        mut request: Request<RequestBody>,
        websocket: bool,
    ) -> Result<(Response<Incoming>, Ticket, Connection), Refused> {
        let limits = &self.client.worker.limits;
        let source = request.body().source();
        let repeatable = source.is_none() && !websocket && request.method().is_idempotent();
        let mut resends = if repeatable { RESENDS } else { 0 };
        let mut refusals = RESENDS;
        let mut only_new = websocket;
        let mut target = first;
        if let Target::Endpoint(_, ticket) = &target {
            ticket.backend().budget.request();
        }
        loop {
            let (endpoint, mut ticket) = match target {
                Target::Endpoint(endpoint, ticket) => (endpoint, ticket),
                // The other revision is a folder; the request was meant for a program.
                Target::Files(..) => return Err(Own::BadGateway.into()),
            };
            let http2 = endpoint.speaks_http2();
            let idle = if only_new && !http2 { None } else { endpoint.take_idle(!repeatable) };
            let is_new = idle.is_none();
            let connected = match idle {
                Some(connection) => Ok(connection),
                None => self.connect(&endpoint).await,
            };
            let mut connection = match connected {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(%error, "an endpoint refused a connection");
                    self.fault = match error.kind() {
                        std::io::ErrorKind::TimedOut => Outcome::EndpointConnectTimeout,
                        _ => Outcome::EndpointConnect,
                    };
                    // Who refuses has no work with it. Who is too busy to accept has.
                    if error.kind() == std::io::ErrorKind::TimedOut && !self.may_repeat(&ticket) {
                        ticket.fail(self.fault);
                        return Err(self.nobody());
                    }
                    self.discard(ticket);
                    self.tried.push(endpoint);
                    target = self.next().await?;
                    continue;
                }
            };
            if source.is_some() || websocket {
                // The body, and whatever follows an upgrade, comes in also while nobody reads the
                // answer.
                connection.detach();
            }
            ticket.reads(source.as_ref());
            let copy = (resends > 0 || http2).then(|| copy_of(&request));
            if http2 {
                if let Some(source) = &source {
                    source.keep();
                }
                if let Err(malformed) = translate::to_http2(&mut request) {
                    ticket.discard();
                    return Err(Refused::Malformed(malformed.to_owned()));
                }
            }
            match transmit(&mut connection, request, source.as_deref(), limits.answer_head).await {
                Sent::Answered(response) => {
                    if let Some(source) = source {
                        source.stop_keeping();
                    }
                    ticket.backend().has_answered(&endpoint, response.status(), limits);
                    ticket.answered(response.status());
                    return Ok((response, ticket, connection));
                }
                Sent::Unsent(unsent) => {
                    connection.leave();
                    // As it was before it was made one of HTTP/2: the next may speak HTTP/1.
                    request = match copy {
                        Some(copy) => copy.map(|_| unsent.into_body()),
                        None => unsent,
                    };
                    only_new = true;
                }
                Sent::Refused(refusal) => {
                    self.fault = Outcome::EndpointReset;
                    // Who ends has no work with it. Who is too busy to take it has.
                    let may_repeat = match refusal {
                        Refusal::Connection => {
                            connection.leave();
                            refusals > 0
                        }
                        Refusal::Request => refusals > 0 && self.may_repeat(&ticket),
                    };
                    let again = || once_more(copy, source.as_ref());
                    let Some(copy) = may_repeat.then(again).flatten() else {
                        ticket.fail(Outcome::EndpointReset);
                        return Err(Own::NobodyReady.into());
                    };
                    refusals -= 1;
                    request = copy;
                    self.discard(ticket);
                    // By the same one too: it said so of this request, or of this connection.
                    target = self.next().await?;
                    continue;
                }
                Sent::Broken(_) if source.as_ref().is_some_and(|source| source.has_failed()) => {
                    ticket.fail(Outcome::ClientReset);
                    return Err(Own::BadRequest.into());
                }
                Sent::Broken(error) => {
                    self.fault = if error.is_parse() {
                        Outcome::EndpointMalformed
                    } else {
                        Outcome::EndpointReset
                    };
                    // A connection that was kept may have been closed before, unless that was
                    // looked at.
                    if (is_new || !repeatable) && connection.counts_as_failure(&error) {
                        ticket.backend().has_failed(&endpoint, limits);
                    }
                    let Some(copy) = copy.filter(|_| resends > 0 && self.may_repeat(&ticket))
                    else {
                        ticket.fail(self.fault);
                        return Err(Own::BadGateway.into());
                    };
                    resends -= 1;
                    self.broke_off |= is_new;
                    request = copy;
                    only_new = true;
                }
                Sent::TimedOut if source.as_ref().is_some_and(|source| source.is_waiting()) => {
                    ticket.fail(Outcome::ClientTimeout);
                    return Err(Own::Unfinished.into());
                }
                Sent::TimedOut => {
                    // The others on it may wait for the same reason in vain.
                    connection.leave();
                    ticket.backend().has_failed(&endpoint, limits);
                    ticket.fail(Outcome::EndpointTimeout);
                    return Err(Own::Timeout.into());
                }
            }
            self.discard(ticket);
            if is_new {
                self.tried.push(endpoint);
            }
            target = self.next().await?;
        }
    }

    /// Whether a request that may have been work for somebody may be sent again.
    fn may_repeat(&self, ticket: &Ticket) -> bool {
        let second = clock::millis() / 1_000;
        ticket.backend().budget.allows(second, self.client.worker.limits.retries())
    }
}

/// A request of which nothing was processed, with its body from the beginning.
fn once_more(
    copy: Option<Request<RequestBody>>,
    source: Option<&Rc<Source>>,
) -> Option<Request<RequestBody>> {
    let body = source.map_or_else(|| Some(RequestBody::empty()), Source::again)?;
    copy.map(|copy| copy.map(|_| body))
}

/// A request without a body, once more.
pub(crate) fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// What became of a request on a connection.
enum Sent {
    Answered(Response<Incoming>),
    /// Not a byte of it was sent.
    Unsent(Request<RequestBody>),
    /// The endpoint said that it did not process it.
    Refused(Refusal),
    /// The connection broke before there was an answer, what came was none, or the endpoint broke
    /// off this request.
    Broken(hyper::Error),
    TimedOut,
}

async fn transmit(
    connection: &mut Connection,
    request: Request<RequestBody>,
    body: Option<&Source>,
    limit: std::time::Duration,
) -> Sent {
    let http2 = connection.is_http2();
    let mut answer = pin!(connection.send(request));
    let mut answer = pin!(poll_fn(|context| {
        connection.drive(context);
        answer.as_mut().poll(context)
    }));
    let mut deadline = tokio::time::Instant::now() + limit;
    loop {
        match tokio::time::timeout_at(deadline, answer.as_mut()).await {
            Ok(Ok(response)) => return Sent::Answered(response),
            Ok(Err(mut error)) => {
                return match error.take_message() {
                    Some(request) => Sent::Unsent(request),
                    None => match refusal(error.error()).filter(|_| http2) {
                        Some(refusal) => Sent::Refused(refusal),
                        None => Sent::Broken(error.into_error()),
                    },
                };
            }
            // A body that is still coming in moves the deadline.
            Err(_) => match body.map(|body| body.last() + limit) {
                Some(later) if later > Instant::now() => deadline = later.into(),
                _ => return Sent::TimedOut,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::TRANSFER_ENCODING;

    use super::*;

    #[test]
    fn an_answer_that_is_encoded_otherwise_is_none() {
        for (encodings, wanted) in [
            (vec![], Ok(())),
            (vec!["chunked"], Ok(())),
            (vec!["gzip, chunked"], Err(Own::BadGateway)),
            (vec!["chunked", "chunked"], Err(Own::BadGateway)),
        ] {
            let mut answer = Response::new(());
            for encoding in &encodings {
                answer.headers_mut().append(TRANSFER_ENCODING, HeaderValue::from_static(encoding));
            }
            assert_eq!(to_client(&mut answer, false), wanted, "{encodings:?}");
        }
    }
}
