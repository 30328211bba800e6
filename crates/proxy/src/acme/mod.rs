//! Certificates that the proxy orders and renews by itself (ACME, RFC 8555).
//!
//! One task looks every second what is due and orders one certificate at a time, each for one host:
//! a host that does not lead here yet keeps no other one waiting for long. What was ordered is a file
//! in the home, and is served and read again like the files of the user. Nothing but the files and
//! the tables is needed, so certificates are renewed while no control plane runs; and only the proxy
//! in charge of the home orders.

mod challenges;
mod client;
mod folder;
mod order;
mod schedule;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidegate_types::Tls;
use tokio::time::{MissedTickBehavior, interval};

use self::schedule::{Quota, Tries};
pub(crate) use self::{challenges::Challenges, folder::Folder, schedule::Pause};
use crate::{
    control::Control,
    tls::{self, Termination, ValidUntil},
};

/// A task whose result could not be had, a disk that is full: looked at again after this long.
const LOOK_AGAIN: i64 = 60;

/// Orders what is due until a successor does.
pub(crate) async fn look_after(control: Arc<Control>, home: PathBuf, pause: Pause) {
    let mut succeeded = control.succeeded.subscribe();
    tokio::select! {
        biased;
        _ = succeeded.wait_for(|succeeded| *succeeded) => {}
        () = look(&control, &home, pause) => {}
    }
}

/// A certificate, by the folder of its authority and its host.
type Key = (Folder, String);

async fn look(control: &Control, home: &Path, pause: Pause) {
    let mut calendar: BTreeMap<Key, i64> = BTreeMap::new();
    let mut quotas: BTreeMap<Folder, Quota> = BTreeMap::new();
    let seed = RandomState::new();
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let wanted = wanted(control.registry.lock().await.ordering(), home);
        calendar.retain(|key, _| wanted.contains_key(key));
        // What was just named is looked at first, then whoever has waited the longest.
        let next = |key: &Key| calendar.get(key).copied().unwrap_or(i64::MIN);
        let due = wanted.into_iter().filter(|(key, by)| next(key) <= now() && !by.holds(&key.1));
        if let Some((key, termination)) = due.min_by_key(|(key, _)| next(key)) {
            let is_new = !calendar.contains_key(&key);
            let pacing = Pacing { pause, spread: spread(&seed, &key), is_new };
            let (folder, host) = &key;
            let quota = quotas.entry(folder.clone()).or_default();
            let next = order_if_due(folder, host, &termination, pacing, quota).await;
            calendar.insert(key, next);
            // There may be more.
            tick.reset_immediately();
        }
    }
}

fn wanted(terminations: Vec<Arc<Termination>>, home: &Path) -> BTreeMap<Key, Arc<Termination>> {
    let mut wanted = BTreeMap::new();
    for termination in terminations {
        if let Some(acme) = termination.acme() {
            let folder = Folder::new(home, acme);
            for host in &acme.hosts {
                wanted.insert((folder.clone(), host.clone()), Arc::clone(&termination));
            }
        }
    }
    wanted
}

#[derive(Debug, Clone, Copy)]
struct Pacing {
    pause: Pause,
    spread: f64,
    /// Nobody has looked at it since the proxy began, or since a table names it.
    is_new: bool,
}

/// Orders a certificate if its time has come, and says when to look again.
async fn order_if_due(
    folder: &Folder,
    host: &str,
    termination: &Termination,
    Pacing { pause, spread, is_new }: Pacing,
    quota: &mut Quota,
) -> i64 {
    let Some(acme) = termination.acme() else {
        return i64::MAX;
    };
    let scope = termination.scope();
    let kept = (folder.clone(), host.to_owned());
    let look = move || (kept.0.tries(&kept.1), kept.0.validity(&kept.1));
    let Ok((tries, there)) = tokio::task::spawn_blocking(look).await else {
        return now() + LOOK_AGAIN;
    };
    let next = tries.next(there.as_ref(), pause, spread);
    let is_asked_for = is_new && tries.may_hurry(now());
    if next > now() && !is_asked_for && !tries.is_of_the_future(now()) {
        return next;
    }
    if let Err(again) = quota.take(now()) {
        tracing::warn!(%scope, host, "the authority is given no more orders within this hour");
        return again;
    }
    let begun = tries.begin(now());
    // What cannot be noted would be tried again and again, and its outcome could not be kept.
    if let Err(error) = store(folder, host, &begun).await {
        tracing::error!(%scope, host, error, "no certificate is ordered");
        return now() + LOOK_AGAIN;
    }
    let proof = tries.proof(termination.redirects());
    tracing::info!(%scope, host, authority = acme.directory, "ordering a certificate");
    let challenges = termination.challenges();
    let ended = match order::order(acme, host, proof, folder, &challenges).await {
        Ok(()) => {
            tracing::info!(%scope, host, "the certificate is there");
            begun.succeeded(proof)
        }
        Err(error) => begun.failed(error.to_string(), error.has_had_enough()),
    };
    let kept = (folder.clone(), host.to_owned());
    let there = tokio::task::spawn_blocking(move || kept.0.validity(&kept.1)).await.ok().flatten();
    let next = ended.next(there.as_ref(), pause, spread);
    if let Some(reason) = ended.problem() {
        let until = there.as_ref().map_or("none", |there| there.until.text.as_str());
        let again_in = next.saturating_sub(now());
        tracing::error!(
            %scope, host, reason, again_in, valid_until = until,
            "the certificate could not be had; what is there stays in use"
        );
    }
    if let Err(error) = store(folder, host, &ended).await {
        tracing::error!(%scope, host, error, "it is not kept how the order ended");
    }
    next
}

async fn store(folder: &Folder, host: &str, tries: &Tries) -> Result<(), String> {
    let (folder, host, tries) = (folder.clone(), host.to_owned(), tries.clone());
    let stored = tokio::task::spawn_blocking(move || folder.store_tries(&host, &tries)).await;
    let stored = stored.map_err(|error| error.to_string())?;
    stored.map_err(|error| error.to_string())
}

/// From 0 to 1.
fn spread(seed: &RandomState, key: &Key) -> f64 {
    let part = u16::try_from(seed.hash_one(&key.1) & 0xffff).unwrap_or_default();
    f64::from(part) / f64::from(u16::MAX)
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// How it is with a certificate that the proxy orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The host.
    pub host: String,
    /// Until when what is there is valid; none when there is nothing.
    pub valid_until: Option<ValidUntil>,
    /// Why the last try to get one failed, if it did.
    pub problem: Option<String>,
}

/// How it is with the certificates that the proxy of a home orders, as far as its files tell. Those
/// for which there is one of the user's are left out, as none is ordered.
#[must_use]
pub fn ordered(home: &Path, tls: &Tls) -> Vec<Ordered> {
    let Some(acme) = &tls.acme else {
        return Vec::new();
    };
    let folder = Folder::new(home, acme);
    let is_held =
        |host: &str| tls.certificates.iter().any(|files| tls::is_for(files, host).unwrap_or(false));
    let hosts = acme.hosts.iter().filter(|host| !is_held(host)).map(|host| Ordered {
        host: host.clone(),
        valid_until: folder
            .validity(host)
            .map(|found| ValidUntil { seconds: found.until.seconds, text: found.until.text }),
        problem: folder.tries(host).problem().map(str::to_owned),
    });
    hosts.collect()
}
