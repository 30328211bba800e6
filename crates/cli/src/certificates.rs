//! How it is with certificates: those of the user, and those that the proxy orders.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use tidegate_engine::EnvironmentView;
use tidegate_proxy::{Ordered, client::Client as ProxyClient};
use tidegate_types::{CertificateFiles, Tls};

use crate::teardown;

/// A certificate that ends in fewer seconds, two weeks, is worth a warning.
const EXPIRES_SOON: i64 = 14 * 24 * 60 * 60;

/// What was found out about one, as a sentence without a full stop.
#[derive(Debug)]
pub(crate) enum State {
    Good(String),
    /// It is used, and somebody should know.
    Doubtful(String),
    /// Clients cannot connect, or are about to be warned.
    Bad(String),
}

/// Of files as this user may read them; the proxy runs as the same.
pub(crate) fn of_files(files: &CertificateFiles) -> State {
    let certificate = files.certificate.display();
    match tidegate_proxy::examine(files) {
        Ok(until) if until.seconds > now().saturating_add(EXPIRES_SOON) => {
            State::Good(format!("{certificate} is valid until {}", until.text))
        }
        Ok(until) => State::Doubtful(format!("{certificate} is valid only until {}", until.text)),
        Err(error) => State::Bad(error),
    }
}

/// Of those that the proxy orders, as its files tell.
pub(crate) fn of_orders(home: &Path, tls: &Tls) -> Vec<State> {
    let ordered = tidegate_proxy::ordered(&teardown::proxy_folder(home), tls);
    ordered.into_iter().map(|ordered| of_order(ordered, now())).collect()
}

fn of_order(Ordered { host, valid_until, problem }: Ordered, now: i64) -> State {
    let because = problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    match valid_until {
        Some(until) if until.seconds <= now => {
            State::Bad(format!("the certificate of {host} ended at {}{because}", until.text))
        }
        Some(until) if problem.is_some() => State::Doubtful(format!(
            "the certificate of {host} is valid until {}, and could not be renewed{because}",
            until.text
        )),
        Some(until) => {
            State::Good(format!("the certificate of {host} is valid until {}", until.text))
        }
        None if problem.is_some() => {
            State::Bad(format!("there is no certificate for {host}{because}"))
        }
        None => State::Doubtful(format!("there is no certificate for {host} yet")),
    }
}

/// Adds what is wrong with ordered certificates to the trouble of the environments that serve.
pub(crate) async fn add_trouble(home: &Path, views: &mut [EnvironmentView]) {
    if !views.iter().any(|view| view.secure) {
        return;
    }
    // A proxy that does not answer is trouble that is told already.
    let Ok(tables) = ProxyClient::new(teardown::proxy_socket(home)).tables().await else {
        return;
    };
    for view in views {
        let served = tables.iter().find(|served| served.table.scope == view.scope);
        let Some(tls) = served.and_then(|served| served.table.gateway.tls.as_ref()) else {
            continue;
        };
        let found = of_orders(home, tls).into_iter().filter_map(|state| match state {
            State::Good(_) => None,
            State::Doubtful(what) | State::Bad(what) => Some(what),
        });
        view.trouble.extend(found);
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tidegate_proxy::ValidUntil;

    use super::*;

    #[test]
    fn what_does_not_work_is_told_with_its_reason() {
        let told = |until: Option<i64>, problem: Option<&str>| {
            let valid_until =
                until.map(|seconds| ValidUntil { seconds, text: format!("{seconds} s") });
            let problem = problem.map(str::to_owned);
            let ordered = Ordered { host: "shop.test".to_owned(), valid_until, problem };
            match of_order(ordered, 100) {
                State::Good(what) => format!("+ {what}"),
                State::Doubtful(what) => format!("? {what}"),
                State::Bad(what) => format!("- {what}"),
            }
        };
        assert_eq!(told(Some(101), None), "+ the certificate of shop.test is valid until 101 s");
        assert_eq!(
            told(Some(101), Some("no")),
            "? the certificate of shop.test is valid until 101 s, and could not be renewed: no"
        );
        assert_eq!(
            told(Some(100), Some("no")),
            "- the certificate of shop.test ended at 100 s: no"
        );
        assert_eq!(told(None, Some("no")), "- there is no certificate for shop.test: no");
        assert_eq!(told(None, None), "? there is no certificate for shop.test yet");
    }
}
