//! Which tables are taken.

use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use tidegate_types::{
    Acme, Listen, Sticky,
    data_plane::{ProxyTable, Question, Refusal, Upstream},
};

/// What to do with a table that is published.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It takes the place of the one in force.
    Replace,
    /// It is the one in force.
    Same,
}

/// Whether `new` may follow `current`.
pub(crate) fn admit(current: Option<&ProxyTable>, new: &ProxyTable) -> Result<Admission, Refusal> {
    check(new)?;
    let Some(current) = current else {
        return Ok(Admission::Replace);
    };
    let order = (new.epoch, new.membership).cmp(&(current.epoch, current.membership));
    match order {
        std::cmp::Ordering::Less => {
            Err(Refusal::Stale { epoch: current.epoch, membership: current.membership })
        }
        std::cmp::Ordering::Greater => Ok(Admission::Replace),
        std::cmp::Ordering::Equal if new == current => Ok(Admission::Same),
        std::cmp::Ordering::Equal => Err(invalid(format!(
            "a different table of {} with the same epoch {} and membership {} is in force",
            new.scope, new.epoch, new.membership
        ))),
    }
}

/// Whether a table is consistent in itself.
pub(crate) fn check(table: &ProxyTable) -> Result<(), Refusal> {
    if let Some(tls) = &table.gateway.tls {
        if let (Some(from), Listen::Address(to)) = (tls.redirect_from, table.gateway.listen)
            && from == to
            && to.port() != 0
        {
            return Err(invalid(format!("{}: {to} cannot lead to itself", table.scope)));
        }
        if let Some(acme) = &tls.acme {
            check_acme(acme).map_err(|reason| invalid(format!("{}: {reason}", table.scope)))?;
        } else if tls.certificates.is_empty() {
            return Err(invalid(format!("{}: tls names no certificate", table.scope)));
        }
        let mut paths = tls.certificates.iter().flat_map(|files| [&files.certificate, &files.key]);
        if let Some(path) = paths.find(|path| !path.is_absolute()) {
            return Err(invalid(format!(
                "{}: tls: the file {} is not an absolute path",
                table.scope,
                path.display()
            )));
        }
    }
    if let Some(log) = &table.gateway.access_log
        && !log.path.is_absolute()
    {
        return Err(invalid(format!(
            "the access log {} is not an absolute path",
            log.path.display()
        )));
    }
    let mut rules = BTreeSet::new();
    for route in &table.routes {
        let name = format!("route {}{}", route.rule.host.as_deref().unwrap_or(""), route.rule.path);
        if !route.rule.path.starts_with('/') {
            return Err(invalid(format!("{name}: the path does not start with `/`")));
        }
        if !rules.insert((
            route.rule.host.as_deref().map(str::to_ascii_lowercase),
            route.rule.path.trim_end_matches('/'),
        )) {
            return Err(invalid(format!("{name} is there twice")));
        }
        if let Some(Sticky::Header(header)) = &route.rule.handling.sticky
            && header.parse::<http::HeaderName>().is_err()
        {
            return Err(invalid(format!("{name}: `{header}` is not the name of a header")));
        }
        let shares: u64 =
            route.backends.iter().map(|backend| u64::from(backend.share.hundredths())).sum();
        if !route.backends.is_empty() && shares != 10_000 {
            return Err(invalid(format!(
                "{name}: the shares add up to {shares} hundredths of a percent instead of 10000"
            )));
        }
        let mut revisions = BTreeSet::new();
        for backend in &route.backends {
            if !revisions.insert(&backend.revision) {
                return Err(invalid(format!(
                    "{name}: revision {} is there twice",
                    backend.revision
                )));
            }
            let endpoints = match &backend.upstream {
                Upstream::Endpoints(endpoints) => endpoints.as_slice(),
                Upstream::Files { .. } => &[],
            };
            for endpoint in endpoints {
                let question = endpoint.check.as_ref().map(|check| &check.question);
                if let Some(Question::Http { path }) = question
                    && (!path.starts_with('/') || path.parse::<PathAndQuery>().is_err())
                {
                    return Err(invalid(format!(
                        "{name}: `{}` is asked by `{path}`, which is no path",
                        endpoint.instance
                    )));
                }
            }
            if let Upstream::Files { root, others, .. } = &backend.upstream {
                let mut roots = others.iter().map(|other| &other.root).chain([root]);
                if let Some(root) = roots.find(|root| !root.is_absolute()) {
                    return Err(invalid(format!(
                        "{name}: the folder {} is not an absolute path",
                        root.display()
                    )));
                }
            }
        }
    }
    Ok(())
}

fn check_acme(acme: &Acme) -> Result<(), String> {
    if acme.hosts.is_empty() {
        return Err("acme names no host".to_owned());
    }
    // They become names of files.
    let is_host = |host: &str| {
        let is_label = |label: &str| !label.is_empty() && !label.starts_with('-');
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        host.len() <= 253 && host.bytes().all(is_plain) && host.split('.').all(is_label)
    };
    if let Some(host) = acme.hosts.iter().find(|host| !is_host(host)) {
        return Err(format!("acme: `{host}` is not a host in lower case"));
    }
    if !acme.directory.starts_with("https://") {
        return Err(format!("acme: the directory `{}` is not an https:// address", acme.directory));
    }
    match &acme.root {
        Some(root) if !root.is_absolute() => {
            Err(format!("acme: the file {} is not an absolute path", root.display()))
        }
        _ => Ok(()),
    }
}

/// A refusal with a reason.
pub(crate) fn invalid(reason: String) -> Refusal {
    Refusal::Invalid { reason }
}

#[cfg(test)]
mod tests {
    use tidegate_types::{
        Duration, Epoch, Gateway, InstanceId, RevisionId, RouteRule, Share,
        data_plane::{Check, Endpoint, OtherFiles, ProxyBackend, ProxyRoute},
    };

    use super::*;

    fn table(epoch: u64, membership: u64, shares: &[u32]) -> ProxyTable {
        ProxyTable {
            scope: "shop/production".parse().unwrap(),
            epoch: Epoch(epoch),
            membership,
            gateway: Gateway::default(),
            routes: vec![ProxyRoute {
                rule: RouteRule::everything(),
                backends: shares
                    .iter()
                    .enumerate()
                    .map(|(index, percent)| ProxyBackend {
                        revision: RevisionId::new(format!("api@{index}")),
                        share: Share::percent(*percent),
                        role: "stable".into(),
                        upstream: Upstream::Endpoints(vec![]),
                    })
                    .collect(),
            }],
        }
    }

    #[test]
    fn the_order_of_tables_is_kept() {
        let current = table(3, 5, &[100]);
        let admitted = |new: &ProxyTable| admit(Some(&current), new);
        assert_eq!(admitted(&table(4, 0, &[100])), Ok(Admission::Replace));
        assert_eq!(admitted(&table(3, 6, &[100])), Ok(Admission::Replace));
        assert_eq!(admitted(&table(3, 5, &[100])), Ok(Admission::Same));
        let stale = Err(Refusal::Stale { epoch: Epoch(3), membership: 5 });
        assert_eq!(admitted(&table(3, 4, &[100])), stale);
        assert_eq!(admitted(&table(2, 9, &[100])), stale);
        assert!(matches!(admitted(&table(3, 5, &[50, 50])), Err(Refusal::Invalid { .. })));
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(admit(None, &table(1, 1, &[])), Ok(Admission::Replace));
        assert_eq!(admit(None, &table(1, 1, &[90, 10])), Ok(Admission::Replace));
        let mut twice = table(1, 1, &[100]);
        twice.routes.push(twice.routes[0].clone());
        let mut relative = table(1, 1, &[100]);
        relative.routes[0].rule.path = "api".into();
        let mut header = table(1, 1, &[100]);
        header.routes[0].rule.handling.sticky = Some(Sticky::Header("x user".into()));
        let mut folder = table(1, 1, &[100]);
        folder.routes[0].backends[0].upstream =
            Upstream::Files { root: "dist".into(), single_page: false, others: vec![] };
        let mut other = table(1, 1, &[100]);
        other.routes[0].backends[0].upstream = Upstream::Files {
            root: "/dist".into(),
            single_page: false,
            others: vec![OtherFiles { revision: RevisionId::new("api@9"), root: "old".into() }],
        };
        let asked = |path: &str| {
            let mut asked = table(1, 1, &[100]);
            asked.routes[0].backends[0].upstream = Upstream::Endpoints(vec![Endpoint {
                instance: InstanceId::new("api@0.1"),
                address: ([127, 0, 0, 1], 1).into(),
                protocol: tidegate_types::Protocol::Http1,
                drain: None,
                check: Some(Check {
                    question: Question::Http { path: path.into() },
                    interval: Duration::from_secs(1),
                    timeout: Duration::from_secs(1),
                    failures: 1,
                    successes: 1,
                }),
            }]);
            asked
        };
        assert_eq!(admit(None, &asked("/health?all=1")), Ok(Admission::Replace));
        let mut same_revision = table(1, 1, &[90, 10]);
        same_revision.routes[0].backends[1].revision = RevisionId::new("api@0");
        for bad in [
            table(1, 1, &[90, 9]),
            table(1, 1, &[0]),
            table(1, 1, &[90, 20]),
            twice,
            relative,
            header,
            folder,
            other,
            asked("health"),
            asked("/health HTTP/1.1\r\nX: y"),
            same_revision,
        ] {
            let refused = admit(None, &bad);
            assert!(matches!(refused, Err(Refusal::Invalid { .. })), "{bad:?}");
        }
    }
}
