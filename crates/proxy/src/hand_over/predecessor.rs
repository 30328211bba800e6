//! The side that gives its place up.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Instant,
};

use tidegate_types::data_plane::{Inheritance, Request, Response};
use tokio::{sync::Notify, time::timeout};

use super::{PATIENCE, sockets};
use crate::{
    control::{Control, Conversation, text},
    table::invalid,
    worker::Threads,
};

/// The end of a proxy that has a successor.
#[derive(Debug, Default)]
pub(crate) struct Parting {
    /// Nothing is in flight any more: the next word to the successor is the last.
    over: AtomicBool,
    /// The successor has heard the last word, or has ended.
    parted: Notify,
}

/// Gives a successor what it needs, and then follows it until this proxy ends.
pub(crate) async fn give_way(control: &Control, mut conversation: Conversation) {
    // Held, so that no table changes meanwhile.
    let mut registry = control.registry.lock().await;
    let Some((scopes, files)) = registry.hand_over() else {
        return;
    };
    let given = async {
        let line = text(&Response::HandedOver(scopes))?;
        sockets::send(conversation.stream(), &line, &files).await?;
        Ok::<_, std::io::Error>(conversation.line().await.is_some_and(inherits))
    };
    // Whoever goes away before it serves leaves everything as it was.
    if !matches!(timeout(PATIENCE, given).await, Ok(Ok(true))) {
        tracing::warn!("another proxy wanted to take over, and did not");
        return;
    }
    control.ending.store(true, Relaxed);
    registry.succeed().await;
    control.succeeded.send_replace(true);
    drop(registry);
    tracing::info!("another proxy serves; this one ends with what is in flight");
    control.end.notify_one();
    follow(control, conversation).await;
    control.parting.parted.notify_one();
}

/// Does what the successor says, until it has heard the last word or says nothing more.
async fn follow(control: &Control, mut conversation: Conversation) {
    let mut response = Response::Inherited(control.lock_meters().hand_on(Instant::now()));
    while conversation.say(&response).await.is_ok() {
        let Some(line) = conversation.line().await else {
            return;
        };
        // Looked at before anything is read.
        let over = control.parting.over.load(SeqCst);
        response = match serde_json::from_slice(line) {
            Ok(Request::Inherit) => {
                let traffic = control.lock_meters().read_all();
                Response::Inherited(Inheritance { traffic, ledger: None })
            }
            Ok(Request::Publish(table)) => control.registry.lock().await.follow(table).await,
            Ok(Request::Remove(scope)) => control.registry.lock().await.forget(&scope).await,
            Ok(Request::Shutdown) => {
                control.registry.lock().await.drain().await;
                Response::Done
            }
            Ok(_) => Response::Refused(invalid("ask the proxy that is in charge".to_owned())),
            Err(error) => Response::Refused(invalid(format!("not a request: {error}"))),
        };
        if over && matches!(response, Response::Inherited(_)) {
            let _ = conversation.say(&response).await;
            return;
        }
    }
}

fn inherits(line: &[u8]) -> bool {
    matches!(serde_json::from_slice(line), Ok(Request::Inherit))
}

impl Parting {
    /// Lasts as long as what is in flight, here and in predecessors. `told` returns when somebody
    /// wants it to end sooner.
    pub(crate) async fn outlast(
        control: &Arc<Control>,
        threads: &Threads,
        told: impl Future<Output = ()>,
    ) {
        let parting = &control.parting;
        let (left, is_alone) = tokio::select! {
            () = nothing_left(control, threads) => (false, false),
            () = parting.parted.notified() => (true, true),
            () = told => (true, false),
        };
        if left {
            control.registry.lock().await.drain().await;
            nothing_left(control, threads).await;
        }
        if !is_alone {
            parting.over.store(true, SeqCst);
            // The successor asks many times a second.
            let _ = timeout(PATIENCE, parting.parted.notified()).await;
        }
    }
}

/// Returns when nothing is in flight any more, here and in predecessors.
pub(crate) async fn nothing_left(control: &Control, threads: &Threads) {
    threads.all_ended().await;
    let predecessor = control.registry.lock().await.predecessor();
    predecessor.ended().await;
}
