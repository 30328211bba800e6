//! One request: from the client's head to an endpoint's answer.

use std::{future::poll_fn, pin::pin, rc::Rc, time::Instant};

use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header::CONNECTION};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade},
};
use tidegate_types::{Outcome, RouteRule};

use crate::{
    access_log::Entry as LogEntry,
    answer::{AnswerBody, AnswerKind, EndpointBody, Own, Running},
    connection::{Busy, Client},
    door::Purpose,
    endpoint::Connection,
    endpoint_http2::{Refusal, refusal},
    format::Format,
    head::{self, Passage},
    origin::{Announcement, Origin},
    pick::Random,
    plain, redirect,
    request_body::{RequestBody, Source},
    routing::{self, Stripped},
    search::{RESENDS, Refused, Search, Target, enter},
    ticket::Ticket,
    translate, visitor, websocket,
};

/// Answers a request.
pub(crate) async fn answer(client: Rc<Client>, request: Request<Incoming>) -> Response<AnswerBody> {
    let busy = Busy::new(&client.activity);
    if client.purpose == Purpose::Redirect {
        return finish(&client, redirect::answer(&client, &request), busy, None);
    }
    let format = Format::of(&request);
    let (origin, sink) = {
        let table = client.scope.table();
        let trusted = table.ingress.trusted();
        let origin = Origin::of(request.headers(), client.peer.ip(), client.secure, trusted);
        (origin, table.access_log.clone())
    };
    let entry = sink.map(|sink| {
        let started = Instant::now();
        LogEntry::new(&sink, &request, origin.client, started, &client.worker.random)
    });
    // What is moved from hand to hand until it is first polled is small, and the rest never moves.
    let exchange = Box::pin(exchange(&client, &origin, entry.as_ref(), request));
    let refused = match exchange.await {
        Ok(response) => return finish(&client, response, busy, entry),
        Err(refused) => refused,
    };
    refused.note(&client);
    let (own, detail) = match refused {
        Refused::Own(Own::Maintenance) => {
            let table = client.scope.table();
            let maintenance = table.ingress.maintenance.as_ref();
            (Own::Maintenance, maintenance.and_then(|maintenance| maintenance.message.clone()))
        }
        Refused::Own(own) => (own, None),
        Refused::Malformed(detail) => (Own::BadRequest, Some(detail)),
    };
    let response = own.answer(format, detail.as_deref());
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
    if client.is_http2() {
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

async fn exchange(
    client: &Rc<Client>,
    origin: &Origin,
    entry: Option<&Rc<LogEntry>>,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerKind>, Refused> {
    let started = Instant::now();
    if client.is_http2() {
        head::join_cookies(request.headers_mut());
    }
    if let Some(fault) = client.activity.fault() {
        return Err(Refused::Malformed(fault.to_string()));
    }
    let host = head::check(request.method(), request.version(), request.uri(), request.headers())
        .map_err(|malformed| Refused::Malformed(malformed.to_string()))?;
    if client.scope.table().ingress.maintenance.is_some() {
        return Err(Own::Maintenance.into());
    }
    let place_in_scope = enter(client).await?;
    // Shares what it is made of with the request, which is about to be changed.
    let asked = request.uri().clone();
    let asked_for = request.headers().get(head::REVISION).cloned();
    let mut search = Search::new(
        client,
        entry,
        started,
        host.to_str().unwrap_or_default(),
        asked.path(),
        asked_for.as_ref().and_then(|name| name.to_str().ok()),
    );
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
            visitors.cookie(visitor, worker.visitors, origin.secure)
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
    let announcement = client.announcements.of(origin, &host, client.secure);
    let place = Place { uri, host: host.clone(), announcement, websocket };
    let outgoing = outgoing(request, place, &worker.random);
    if let Some(entry) = entry {
        entry.sent_as(outgoing.headers());
    }
    if let (Some(mirror), false) = (&route.mirror, websocket) {
        mirror.send(worker, search.staying_with.as_ref(), &outgoing);
    }
    drop(table);
    let is_plain = outgoing.body().is_empty() && !websocket && outgoing.method().is_idempotent();
    let target = match target {
        Target::Endpoint(endpoint, ticket) if is_plain && !endpoint.speaks_http2() => {
            match plain::send(&mut search, (endpoint, ticket), &outgoing).await {
                Ok(answer) => {
                    let answer = answer.map(|body| AnswerKind::Plain(body.within(place_in_scope)));
                    return Ok(introduced(answer));
                }
                Err(target) => target?,
            }
        }
        target => target,
    };
    let sent = Box::pin(search.send(target, outgoing, websocket));
    let (endpoint_answer, ticket, connection) = sent.await?;
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
        Stripped::Whole(same)
            if same.len() == whole.as_str().len() && same.starts_with(['/', '*']) =>
        {
            return Ok(match request.uri().authority() {
                None => request.uri().clone(),
                // Behind a host that a fragment follows it may stand for nothing at all.
                Some(_) if whole.as_str() == "/" => Uri::from_static("/"),
                Some(_) => Uri::from(whole.clone()),
            });
        }
        Stripped::Whole(path) => path.to_owned(),
        Stripped::WithSlash(rest) => format!("/{rest}"),
    };
    // A host with nothing behind it but a query or a fragment.
    let target = if target.starts_with(['/', '*']) { target } else { format!("/{target}") };
    target.parse().map_err(|_| "the path without the route's prefix is no path".to_owned())
}

/// Where a request goes and where it comes from.
pub(crate) struct Place {
    pub(crate) uri: Uri,
    pub(crate) host: HeaderValue,
    pub(crate) announcement: Announcement,
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
    let passage = Passage {
        host: place.host,
        announcement: place.announcement,
        websocket: place.websocket,
        chunked: body.size_hint().exact().is_none(),
    };
    head::to_endpoint(&mut parts.headers, passage, || {
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
    if !head::is_plainly_encoded(answer.headers()) || !head::has_one_length(answer.headers_mut()) {
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
        let upgraded = client.worker.upgraded(ticket.endpoint());
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

impl Search<'_> {
    /// Sends the request until somebody answers it or it may not be sent again.
    #[expect(clippy::too_many_lines, reason = "one loop over all that a connection can say")]
    async fn send(
        &mut self,
        first: Target,
        mut request: Request<RequestBody>,
        websocket: bool,
    ) -> Result<(Response<Incoming>, Ticket, Connection), Refused> {
        let limits = &*self.client.scope.limits();
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
                None => self.timed(endpoint.connect(limits)).await,
            };
            let mut connection = match connected {
                Ok(connection) => connection,
                Err(error) => {
                    self.not_connected(&error, &mut ticket)?;
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
