//! An environment in the middle of a canary, for tests.

use serde_json::json;
use tidegate_engine::EnvironmentView;

/// `shop/production`, ten seconds into deployment 12, which gives `v2` of `api` a tenth.
pub(crate) fn view() -> EnvironmentView {
    let revision = |id: &str, version: &str, role: &str, share: u32, requests: u64, errors: f64| {
        json!({
            "id": id, "release": format!("r-{version}"), "version": version, "role": role,
            "share": share, "wanted": 2, "ready": 2, "exits": 0, "instances": [],
            "failure": null, "warm_until": null,
            "traffic": {
                "requests": requests, "error_rate": errors, "p50": 900, "p95": 12_400, "p99": 20_000,
            },
        })
    };
    let site = json!({
        "id": "web@9", "release": "r-v1", "version": "v1", "role": "stable", "share": 10_000,
        "wanted": 0, "ready": 1, "exits": 0, "instances": [], "failure": null,
        "warm_until": null, "traffic": null,
    });
    let old = json!({
        "id": "web@8", "release": "r-v0", "version": "v0", "role": "warm", "share": 0,
        "wanted": 0, "ready": 1, "exits": 0, "instances": [], "failure": null,
        "warm_until": 100_000 + 3_600_000, "traffic": null,
    });
    let step = |step: serde_json::Value, state: &str| json!({ "step": step, "state": state });
    let guard = |guard: &str, verdict: &str, evidence: &str| {
        json!({
            "guard": guard,
            "reading": { "guard": guard, "verdict": verdict, "evidence": evidence },
        })
    };
    let value = json!({
        "scope": "shop/production", "at": 100_000, "address": "127.0.0.1:8080", "epoch": 7,
        "confirmed": true,
        "components": [
            { "name": "api", "revisions": [
                revision("api@12", "v2", "candidate", 1_000, 120, 0.025),
                revision("api@9", "v1", "stable", 9_000, 1_080, 0.0),
            ] },
            { "name": "web", "revisions": [old, site] },
        ],
        "deployment": {
            "id": 12, "kind": "deploy", "actor": "ana", "requested_at": 90_000,
            "stage": "rolling", "release": "r-v2", "version": "v2",
            "rollouts": [{
                "component": "api", "stable": "api@9", "candidate": "api@12",
                "steps": [
                    step(json!({ "scale": { "instances": 2 } }), "done"),
                    step(json!({ "shift": { "share": 1_000 } }), "done"),
                    step(json!({ "bake": { "time": 10_000 } }), "running"),
                    step(json!({ "shift": { "share": 10_000 } }), "ahead"),
                ],
                "guards": [
                    guard("error_rate > 5%", "pass", "2.5 % of 120 requests failed"),
                    guard("p95 > 1s", "insufficient_evidence", "120 of 200 requests"),
                ],
            }],
            "unchanged": ["web"],
            "waiting": {
                "on": "api: the bake", "until": 107_000,
                "ends": "the time, a breached guard (goes back), or `tidegate skip production`",
            },
            "failure": null, "progress": null,
        },
        "latest": null, "release": "r-v1", "verified": [], "trouble": [],
    });
    serde_json::from_value(value).expect("it is a view")
}
