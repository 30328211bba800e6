//! Lines on the data plane's control socket.

use std::path::Path;

use tidegate_proxy::fuzzing::{Plane, stored};
use tidegate_types::{
    Gateway,
    data_plane::{ProxyTable, Refusal, Request, Response, Upstream},
};

use crate::{folder, state::kept};

/// So many lines are said in one conversation.
const MOST_LINES: usize = 16;

pub(crate) fn hold(bytes: &[u8]) {
    let lines: Vec<Vec<u8>> =
        bytes.split(|byte| *byte == b'\n').take(MOST_LINES).map(said).collect();
    folder::with(|home| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime can be made").block_on(converse(home, &lines));
    });
}

/// The line, with a free port of this machine in place of any address.
fn said(line: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => {
            kept(&request);
            let request = match request {
                Request::Publish(table) => {
                    let mut table = ProxyTable { gateway: Gateway::default(), ..table };
                    // Nor is anybody out there to be asked how it is.
                    for backend in table.routes.iter_mut().flat_map(|route| &mut route.backends) {
                        if let Upstream::Endpoints(endpoints) = &mut backend.upstream {
                            for endpoint in endpoints {
                                endpoint.check = None;
                            }
                        }
                    }
                    Request::Publish(table)
                }
                other => other,
            };
            serde_json::to_vec(&request).expect("a request can be written")
        }
        Err(_) => line.to_vec(),
    }
}

async fn converse(home: &Path, lines: &[Vec<u8>]) {
    let plane = Plane::start(home).await.expect("a data plane starts in an empty home");
    for line in lines {
        let before = in_force(&plane).await;
        let response = plane.reply(line).await.expect("nobody else is in charge");
        kept(&response);
        let after = in_force(&plane).await;
        match serde_json::from_slice::<Request>(line) {
            Err(_) => assert!(is_refused(&response), "what is no request is refused: {response:?}"),
            Ok(Request::Publish(table)) if is_refused(&response) => {
                assert_eq!(before, after, "a table that was refused changed something: {table:?}");
            }
            Ok(Request::Publish(table)) => {
                assert!(after.contains(&table), "a table that was taken is not in force");
                let former = before.iter().find(|former| former.scope == table.scope);
                let order = |table: &ProxyTable| (table.epoch, table.membership);
                assert!(former.is_none_or(|former| order(former) <= order(&table)), "went back");
                complete(&table);
            }
            Ok(Request::HandOver | Request::Inherit) => assert!(is_refused(&response)),
            Ok(_) => assert!(!is_refused(&response), "{response:?}"),
        }
        if !line.is_empty() && after != before {
            let on_disk = stored(home).expect("the file of the tables can be read");
            // Who ends serves nothing any more, and starts again with what there was.
            assert!(after.is_empty() || on_disk == after, "another table is stored");
        }
    }
    let left = in_force(&plane).await;
    drop(plane);
    if !left.is_empty() {
        let again = Plane::start(home).await.expect("a data plane starts again");
        assert_eq!(in_force(&again).await, left, "the next data plane serves other tables");
    }
}

async fn in_force(plane: &Plane) -> Vec<ProxyTable> {
    let line = serde_json::to_vec(&Request::Tables).expect("a request can be written");
    match plane.reply(&line).await {
        Some(Response::Tables(tables)) => tables.into_iter().map(|served| served.table).collect(),
        other => panic!("asked for tables, got {other:?}"),
    }
}

fn is_refused(response: &Response) -> bool {
    if let Response::Refused(refusal) = response {
        assert!(!matches!(refusal, Refusal::Address { .. }), "{refusal}");
        return true;
    }
    false
}

/// Whoever is routed to at all gets every request.
fn complete(table: &ProxyTable) {
    for route in &table.routes {
        let sum: u32 = route.backends.iter().map(|backend| backend.share.hundredths()).sum();
        assert!(route.backends.is_empty() || sum == 10_000, "{route:?}");
    }
}
