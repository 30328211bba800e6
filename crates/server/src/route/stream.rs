//! Answers that go on: one JSON value a line.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use futures_util::stream::{self, Stream};
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;
use tidegate_engine::EnvironmentView;
use tidegate_types::DeploymentId;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{State, api::EventRow};

/// No two lines come faster than this; what changed in between is in the later one.
const THROTTLE: Duration = Duration::from_millis(100);
/// An empty line after so long without another, so that a client that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that are read at once.
const PAGE: usize = 200;

type Views = watch::Receiver<Arc<EnvironmentView>>;

pub(super) fn lines<S>(stream: S) -> Response
where
    S: Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
{
    let mut response = Body::from_stream(stream).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

fn line(value: &impl Serialize, bytes: &mut Vec<u8>) {
    if serde_json::to_writer(&mut *bytes, value).is_ok() {
        bytes.push(b'\n');
    }
}

enum Next {
    Change,
    Heartbeat,
    End,
}

/// Waits for a change that is worth a line.
async fn next(views: &mut Views, state: &State, before: Instant) -> Next {
    let mut ended = pin!(state.ended());
    tokio::select! {
        () = sleep_until(before + THROTTLE) => {}
        _ = &mut ended => return Next::End,
    }
    tokio::select! {
        changed = views.changed() => if changed.is_err() { Next::End } else { Next::Change },
        () = sleep(HEARTBEAT) => Next::Heartbeat,
        _ = &mut ended => Next::End,
    }
}

/// The environment now, and again whenever it changed.
pub(super) fn views(
    state: State,
    views: Views,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold((state, views, None), async |(state, mut views, before)| {
        let beat = match before {
            None => Next::Change,
            Some(before) => next(&mut views, &state, before).await,
        };
        let mut bytes = Vec::new();
        match beat {
            Next::End => return None,
            Next::Heartbeat => bytes.push(b'\n'),
            Next::Change => {
                let view = Arc::clone(&views.borrow_and_update());
                line(&*view, &mut bytes);
            }
        }
        Some((Ok(bytes.into()), (state, views, Some(Instant::now()))))
    })
}

/// The events of a deployment after `after`, until it has ended.
pub(super) fn events(
    state: State,
    views: Views,
    id: DeploymentId,
    after: u64,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    struct Reading {
        id: DeploymentId,
        state: State,
        views: Views,
        after: u64,
        over: bool,
    }
    let reading = Reading { id, state, views, after, over: false };
    stream::unfold(reading, async |mut reading| {
        let id = reading.id;
        let mut wait = false;
        loop {
            if reading.over {
                return None;
            }
            if wait {
                // Events are stored before the view shows what they led to.
                match next(&mut reading.views, &reading.state, Instant::now() - THROTTLE).await {
                    Next::End => return None,
                    Next::Heartbeat => return Some((Ok(Bytes::from_static(b"\n")), reading)),
                    Next::Change => {
                        reading.views.borrow_and_update();
                    }
                }
            }
            let store = reading.state.engine.store();
            // Asked before the events are read: what ends in between is read the next time.
            let over = match store.deployment(id).await {
                Ok(Some(detail)) => detail.deployment.ended_at.is_some(),
                Ok(None) => true,
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends early");
                    return None;
                }
            };
            let events = match store.deployment_events(id, reading.after, PAGE).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends early");
                    return None;
                }
            };
            reading.over = over && events.len() < PAGE;
            let mut bytes = Vec::new();
            for event in events {
                reading.after = event.seq;
                line(&EventRow::from(event), &mut bytes);
            }
            if !bytes.is_empty() {
                return Some((Ok(bytes.into()), reading));
            }
            wait = true;
        }
    })
}
