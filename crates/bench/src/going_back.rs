//! From the decision to go back until nobody is sent to the bad revision any more.
//!
//! Half of the traffic is on the candidate when somebody says `abort`: the same way back that a
//! breached guard takes, begun at a moment that is known. What is looked for is the last request
//! that was *sent* after that moment and that the candidate answered. With 500 requests a second,
//! half of them to the candidate, that moment is known to about 4 ms; the proxy's confirmation, which
//! the journal tells, bounds it from above.

use std::{collections::BTreeMap, time::Duration};

use tidegate_engine::Verb;
use tidegate_server::{api::Word, client::Client};
use tidegate_types::Share;
use tokio::time::sleep;

use crate::{
    Failure,
    clock::{self, Offset},
    figure::{Figures, Goal},
    place::{PATIENCE, Place},
    project::{Project, bakes, ended, until},
    statistics::Sorted,
    traffic::Traffic,
};

const ROUNDS: usize = 15;
/// What the candidate has to have answered before it is aborted.
const ANSWERS: usize = 50;
/// Requests that were sent before the end of the deployment are answered by then.
const AFTER: Duration = Duration::from_millis(300);
/// What the candidate says it is.
const CANDIDATE: &str = "bad";

/// What one abort did.
struct Round {
    /// From the word to the last request sent that the candidate answered.
    since_sent: Duration,
    /// From the decision to that request.
    since_decided: Duration,
    /// From the decision to the proxy's confirmation that nothing goes to the candidate.
    confirmed: Duration,
    lost: usize,
}

pub(crate) async fn measure(
    place: &Place,
    project: &Project,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let client = place.client();
    project.deploy_to_watching(&client).await?;
    let offset = Offset::find(&client).await?;
    let view = client.environment(&project.watching).await?;
    let address = view.address.ok_or("the environment has no address")?.parse()?;
    let traffic = Traffic::begin(address);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(round(&client, project, &traffic, offset).await?);
    }
    let sent = Sorted::millis(rounds.iter().map(|round| round.since_sent));
    let decided = Sorted::millis(rounds.iter().map(|round| round.since_decided));
    let lost: usize = rounds.iter().map(|round| round.lost).sum();
    let confirmed = Sorted::millis(rounds.iter().map(|round| round.confirmed));
    let mut add = |what: &str, goal, measured: &Sorted| {
        figures.add(what, goal, "ms", measured.median(), measured.p95());
    };
    add("decision to roll back → last request to the bad revision", Goal::AtMost(20.0), &decided);
    add("… → proxy confirmed that it gets none (upper bound)", Goal::AtMost(20.0), &confirmed);
    add("… `abort` sent → last request to the bad revision", Goal::AtMost(20.0), &sent);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    figures.add(
        &format!("… requests lost in {ROUNDS} such deployments, 500 requests/s"),
        Goal::AtMost(0.0),
        "",
        lost as f64,
        f64::NAN,
    );
    Ok(())
}

async fn round(
    client: &Client,
    project: &Project,
    traffic: &Traffic,
    offset: Offset,
) -> Result<Round, Failure> {
    let scope = &project.watching;
    let mut lost = lost(&traffic.take());
    let id = client.deploy(project.request(scope, &project.commits[1])).await?;
    until(client, scope, "the bake with half of the traffic", |view| {
        let half = |revision: &tidegate_engine::RevisionView| {
            revision.role == "candidate" && revision.share == Some(Share::percent(50))
        };
        view.confirmed
            && bakes(view)
            && view.components.iter().flat_map(|component| &component.revisions).any(half)
    })
    .await?;
    let begun = clock::now();
    while traffic.answered_by(CANDIDATE) < ANSWERS {
        if clock::now().saturating_sub(begun) > PATIENCE {
            return Err(silent(client, project, traffic).await?.into());
        }
        sleep(Duration::from_millis(5)).await;
    }
    let sent = clock::now();
    let word = Word { deployment: Some(id), place: None, message: None, actor: "bench".to_owned() };
    client.command(scope, Verb::Abort, &word).await?;
    ended(client, scope, id).await?;
    sleep(AFTER).await;
    let events = client.events(id, 0).await?;
    let at = |kind: &str| {
        let event = events.iter().find(|event| event.kind == kind);
        event.map(|event| event.at).ok_or_else(|| format!("there is no event `{kind}`"))
    };
    let decided = offset.earliest(at("failed")?);
    let confirmed = offset.latest(at("ended")?);
    let visits = traffic.take();
    lost += self::lost(&visits);
    let latest = visits
        .iter()
        .filter(|visit| visit.version.as_deref() == Some(CANDIDATE))
        .map(|visit| visit.begun)
        .max()
        .ok_or("the candidate answered nothing")?;
    if visits.iter().all(|visit| visit.begun <= latest) {
        return Err("the candidate still answers after the rollback".into());
    }
    Ok(Round {
        since_sent: latest.saturating_sub(sent),
        since_decided: latest.saturating_sub(decided),
        confirmed: confirmed.saturating_sub(decided),
        lost,
    })
}

/// What there is to see when nobody is sent to the candidate.
async fn silent(client: &Client, project: &Project, traffic: &Traffic) -> Result<String, Failure> {
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for visit in traffic.take() {
        let who = visit.version.unwrap_or_else(|| "nobody".to_owned());
        *answers.entry(who).or_default() += 1;
    }
    let view = client.environment(&project.watching).await?;
    let view = serde_json::to_string(&view)?;
    Ok(format!("the candidate answered too little: {answers:?}; the environment: {view}"))
}

fn lost(visits: &[crate::traffic::Visit]) -> usize {
    visits.iter().filter(|visit| visit.version.is_none()).count()
}
