//! Deployments as a table.

use tidegate_server::api::DeploymentRow;
use tidegate_types::{DeploymentKind, Timestamp};

use super::{
    table::{cut, table},
    time,
};
use crate::style::Style;

/// One line for each deployment, the latest first.
pub(crate) fn render(
    rows: &[DeploymentRow],
    width: usize,
    now: Timestamp,
    style: Style,
) -> Vec<String> {
    if rows.is_empty() {
        return vec!["nothing was deployed yet".to_owned()];
    }
    let heads = ["ID", "WHEN", "VERSION", "KIND", "OUTCOME", "BY", "TOOK", "WHY"];
    let mut cells = vec![heads.map(|head| style.dim(head)).to_vec()];
    cells.extend(rows.iter().map(|row| cells_of(row, now, style)));
    table(&cells).into_iter().map(|line| cut(&line, width)).collect()
}

fn cells_of(row: &DeploymentRow, now: Timestamp, style: Style) -> Vec<String> {
    let kind = match row.kind {
        DeploymentKind::Deploy => "deploy",
        DeploymentKind::Rollback => "rollback",
    };
    let status = row.status.replace('_', " ");
    let status = match row.status.as_str() {
        "succeeded" => style.green(&status),
        "failed" | "degraded" => style.red(&status),
        "rolled_back" | "refused" => style.yellow(&status),
        _ => style.cyan(&status),
    };
    let why = row.failure.as_ref().map(|failure| failure.what.clone());
    let why = why.or_else(|| row.refused.clone()).or_else(|| row.reason.clone());
    vec![
        row.id.to_string(),
        time::ago(row.requested_at, now),
        row.version.clone().unwrap_or_else(|| "-".to_owned()),
        kind.to_owned(),
        status,
        row.actor.clone(),
        time::length(row.ended_at.unwrap_or(now).since(row.requested_at)),
        why.unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_deployment_says_how_it_ended_and_why() {
        let row = |id: u64, status: &str, reason: Option<&str>, failure: serde_json::Value| {
            let row = json!({
                "id": id, "scope": "shop/production", "kind": "deploy", "status": status,
                "release": "r-1", "version": format!("v{id}"), "actor": "ana", "reason": reason,
                "failure": failure, "refused": null, "requested_at": id * 60_000,
                "ended_at": id * 60_000 + 4_200,
            });
            serde_json::from_value::<DeploymentRow>(row).expect("it is a row")
        };
        let failure = json!({
            "code": "guard", "component": "api", "what": "error_rate > 5% is breached",
            "evidence": null, "instance": null, "log": [], "mend": null,
        });
        let rows = [
            row(3, "rolled_back", None, failure),
            row(2, "succeeded", Some("gift cards"), json!(null)),
        ];
        let now = Timestamp::from_millis(240_000);
        insta::assert_snapshot!(render(&rows, 100, now, Style::plain()).join("\n"), @r"
        ID  WHEN    VERSION  KIND    OUTCOME      BY   TOOK  WHY
        3   1m ago  v3       deploy  rolled back  ana  4.2s  error_rate > 5% is breached
        2   2m ago  v2       deploy  succeeded    ana  4.2s  gift cards
        ");
        assert_eq!(render(&[], 100, now, Style::plain()), ["nothing was deployed yet"]);
    }
}
