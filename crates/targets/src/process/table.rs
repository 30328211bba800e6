//! From who gets which share to who is asked: a pure function of routes and endpoints.

use std::collections::BTreeMap;

use tidegate_types::{
    InstanceId, RevisionId, RouteTable,
    data_plane::{ProxyBackend, ProxyRoute, ProxyTable, Upstream},
};

/// Where the requests of each known revision go now.
pub(crate) type Upstreams = BTreeMap<RevisionId, Upstream>;

/// The proxy's table for these routes; an error names what is not known.
pub(crate) fn table_of(routes: &RouteTable, upstreams: &Upstreams) -> Result<ProxyTable, String> {
    let backend = |weighted: &tidegate_types::WeightedRevision| {
        let upstream = upstreams
            .get(&weighted.revision)
            .cloned()
            .ok_or_else(|| format!("revision {} is not known", weighted.revision))?;
        Ok(ProxyBackend {
            revision: weighted.revision.clone(),
            share: weighted.share,
            role: weighted.role.clone(),
            upstream,
        })
    };
    let routes_of_table = routes
        .routes
        .iter()
        .map(|entry| {
            Ok(ProxyRoute {
                rule: entry.rule.clone(),
                backends: entry.backends.iter().map(backend).collect::<Result<_, String>>()?,
            })
        })
        .collect::<Result<_, String>>()?;
    Ok(ProxyTable {
        scope: routes.scope.clone(),
        epoch: routes.epoch,
        membership: 0,
        gateway: routes.gateway.clone(),
        routes: routes_of_table,
    })
}

/// The same routes with who is there now. Revisions of which nothing is known stay as they are.
pub(crate) fn with_upstreams(table: &ProxyTable, upstreams: &Upstreams) -> ProxyTable {
    let mut table = table.clone();
    for backend in table.routes.iter_mut().flat_map(|route| &mut route.backends) {
        if let Some(upstream) = upstreams.get(&backend.revision) {
            backend.upstream = upstream.clone();
        }
    }
    table
}

/// Whether two tables say the same, whatever their membership.
pub(crate) fn same(one: &ProxyTable, other: &ProxyTable) -> bool {
    one.epoch == other.epoch && one.gateway == other.gateway && one.routes == other.routes
}

/// Whether requests may go to `instance` under `table`.
pub(crate) fn names(table: &ProxyTable, instance: &InstanceId) -> bool {
    table.routes.iter().flat_map(|route| &route.backends).any(|backend| match &backend.upstream {
        Upstream::Endpoints(endpoints) => {
            endpoints.iter().any(|endpoint| endpoint.instance == *instance)
        }
        Upstream::Files { .. } => false,
    })
}

#[cfg(test)]
mod tests {
    use tidegate_types::{
        Epoch, Gateway, RouteEntry, RouteRule, Share, WeightedRevision, data_plane::Endpoint,
    };

    use super::*;

    fn revision(text: &str) -> RevisionId {
        RevisionId::new(text)
    }

    fn routes() -> RouteTable {
        RouteTable {
            scope: "shop/production".parse().unwrap(),
            epoch: Epoch(7),
            gateway: Gateway::default(),
            routes: vec![RouteEntry {
                component: "api".parse().unwrap(),
                rule: RouteRule::everything(),
                backends: vec![
                    WeightedRevision {
                        revision: revision("api@1"),
                        share: Share::percent(90),
                        role: "stable".to_owned(),
                    },
                    WeightedRevision {
                        revision: revision("api@2"),
                        share: Share::percent(10),
                        role: "candidate".to_owned(),
                    },
                ],
            }],
        }
    }

    fn endpoint(revision: &str, number: u32) -> Endpoint {
        Endpoint {
            instance: InstanceId::of(&RevisionId::new(revision), number),
            address: ([127, 0, 0, 1], 4_000).into(),
            check: None,
            protocol: tidegate_types::Protocol::Http1,
            drain: None,
        }
    }

    #[test]
    fn shares_stay_and_endpoints_follow() {
        let mut upstreams =
            Upstreams::from([(revision("api@1"), Upstream::Endpoints(vec![endpoint("api@1", 1)]))]);
        let error = table_of(&routes(), &upstreams).unwrap_err();
        assert!(error.contains("api@2"), "{error}");
        upstreams.insert(revision("api@2"), Upstream::Endpoints(vec![]));
        let table = table_of(&routes(), &upstreams).unwrap();
        assert!(names(&table, &endpoint("api@1", 1).instance));
        let later =
            Upstreams::from([(revision("api@2"), Upstream::Endpoints(vec![endpoint("api@2", 3)]))]);
        let table_later = with_upstreams(&table, &later);
        assert!(!same(&table, &table_later));
        // What is not known any more is left alone.
        assert!(names(&table_later, &endpoint("api@1", 1).instance));
        assert!(names(&table_later, &endpoint("api@2", 3).instance));
        assert_eq!(table_later.routes[0].backends[1].share, Share::percent(10));
        let mut again = table_later.clone();
        again.membership += 1;
        assert!(same(&again, &table_later));
    }
}
