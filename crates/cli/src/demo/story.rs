//! What happens in the demo, one thing after the other.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tidegate_engine::EnvironmentView;
use tidegate_server::client::Client;
use tidegate_types::{Scope, Share};
use tokio::{
    process::Command,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    fault,
    place::Place,
    shop::{self, Version},
    talk,
    traffic::{self, Traffic},
    verdict::{self, Evidence, Figures},
};
use crate::{exit::Exit, fault::Fault, style::Style};

/// The version with the fault.
pub(super) const BAD: &Version = &shop::V3;

/// The visitors stay so long after the bad version went, to show that it answers nobody.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// A deployment that takes longer is stuck.
const LONGEST: Duration = Duration::from_mins(3);
/// Time between two looks at the environment.
const LOOK: Duration = Duration::from_millis(50);

/// Everything from `up` to the last visitor.
pub(super) async fn tell(place: &Place, style: Style, start: Instant) -> Result<Figures, Fault> {
    let heading = |text: &str| talk(&format!("\n{}", style.bold(text)));
    heading("A shop in a repository of its own: a site, an API with a data store, a worker");
    let prepared = place.make_repository().and_then(|()| place.commit(&shop::V1));
    prepared.map_err(|error| fault(format!("the repository could not be made: {error}")))?;
    expect(place, &["up"], Exit::Done).await?;

    heading("v1 opens the shop; visitors come as soon as it answers, and never stop");
    let scope: Scope = "shop/production"
        .parse()
        .map_err(|error| fault(format!("the scope cannot be read: {error}")))?;
    let client = Client::new(&place.home());
    let visitors = Visitors::wait(client.clone(), scope.clone(), start);
    deploy(place, &shop::V1, Exit::Done).await?;
    let (traffic, address) = visitors.opened().await?;

    heading("v2 comes by degrees: 10 %, 50 %, 100 %");
    commit(place, &shop::V2)?;
    deploy(place, &shop::V2, Exit::Done).await?;

    heading("v3 starts well, passes its checks, and fails 8 % of its requests");
    commit(place, BAD)?;
    deploy(place, BAD, Exit::RolledBack).await?;
    let over = start.elapsed();
    sleep(AFTERWARDS).await;

    let tally = traffic.end().await;
    let end = start.elapsed();
    let turn = turn(&client, &scope, start).await?;
    let view = client.environment(&scope).await.map_err(Fault::from)?;
    let evidence = Evidence {
        orders: orders(address).await?,
        serving: serving(&view),
        good: [shop::V1.name, shop::V2.name],
        bad: BAD.name,
        tally,
        decided: turn.decided,
        confirmed: turn.confirmed,
        over,
        end,
    };
    verdict::judge(&evidence).map_err(|faults| {
        let mut fault =
            fault("the demo did not show what it is there to show").because(faults.join("\n"));
        fault.log = evidence.tally.examples;
        fault
    })
}

fn commit(place: &Place, version: &Version) -> Result<(), Fault> {
    place
        .commit(version)
        .map_err(|error| fault(format!("{} could not be committed: {error}", version.name)))
}

async fn deploy(place: &Place, version: &Version, wanted: Exit) -> Result<(), Fault> {
    talk(&format!("$ tidegate deploy production --ref {}    # {}", version.name, version.subject));
    expect(place, &["deploy", "production", "--ref", version.name], wanted).await
}

/// Runs `tidegate` in sight of the user and insists on how it ends.
async fn expect(place: &Place, arguments: &[&str], wanted: Exit) -> Result<(), Fault> {
    let told = format!("`tidegate {}`", arguments.join(" "));
    let mut command = Command::from(place.tidegate(arguments));
    let mut child = command
        // All that it says is progress here: the table alone is the result.
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fault(format!("{told} could not be run: {error}")))?;
    let status = match timeout(LONGEST, child.wait()).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(fault(format!("{told} was lost: {error}"))),
        Err(_) => return Err(fault(format!("{told} did not end in {} s", LONGEST.as_secs()))),
    };
    let wanted = i32::from(u8::from(wanted));
    match status.code() {
        Some(code) if code == wanted => Ok(()),
        Some(code) => Err(fault(format!("{told} ended with exit code {code}, not {wanted}"))),
        None => Err(fault(format!("{told} was ended: {status}"))),
    }
}

/// Visitors who wait for the shop to open.
struct Visitors {
    task: JoinHandle<Result<(Traffic, SocketAddr), String>>,
}

impl Visitors {
    /// They come when all of the API's traffic goes to a version, and look at the site when that
    /// is there, too.
    fn wait(client: Client, scope: Scope, start: Instant) -> Self {
        let task = tokio::spawn(async move {
            let address = until_open(&client, &scope, "api").await;
            let address = address
                .parse()
                .map_err(|error| format!("`{address}` is not an address: {error}"))?;
            let traffic = Traffic::begin(address, start);
            until_open(&client, &scope, "web").await;
            traffic.open_site();
            Ok((traffic, address))
        });
        Self { task }
    }

    /// The visitors, once they came.
    async fn opened(mut self) -> Result<(Traffic, SocketAddr), Fault> {
        match timeout(Duration::from_secs(5), &mut self.task).await {
            Ok(Ok(Ok(opened))) => Ok(opened),
            Ok(Ok(Err(why))) => Err(fault(why)),
            Ok(Err(error)) => Err(fault(format!("the visitors were lost: {error}"))),
            Err(_) => Err(fault("v1 is deployed, and not all of the shop answers")),
        }
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the environment is reached, once all traffic of `component` goes to one revision.
async fn until_open(client: &Client, scope: &Scope, component: &str) -> String {
    loop {
        // Until the deployment begins the environment is unknown.
        if let Ok(view) = client.environment(scope).await
            && view.confirmed
            && version_at_all(&view, component).is_some()
            && let Some(address) = view.address
        {
            return address;
        }
        sleep(LOOK).await;
    }
}

/// The version of `component` that gets all of its traffic.
fn version_at_all<'a>(view: &'a EnvironmentView, component: &str) -> Option<&'a str> {
    view.components
        .iter()
        .filter(|known| known.name.as_str() == component)
        .flat_map(|known| &known.revisions)
        .find(|revision| revision.share == Some(Share::ALL))
        .map(|revision| revision.version.as_str())
}

fn serving(view: &EnvironmentView) -> String {
    match version_at_all(view, "api") {
        Some(version) if view.confirmed => version.to_owned(),
        _ => "no single version".to_owned(),
    }
}

/// How the latest deployment went back, in times that count from the start of the demo.
struct Turn {
    /// When it was decided.
    decided: Duration,
    /// When it was over. The journal says so only after the data plane did.
    confirmed: Duration,
}

async fn turn(client: &Client, scope: &Scope, start: Instant) -> Result<Turn, Fault> {
    let latest = client.deployments(Some(scope), None, 1).await?;
    let latest = latest.first().ok_or_else(|| fault("the history is empty"))?;
    let events = client.events(latest.id, 0).await?;
    let at = |kind: &str| {
        let event = events.iter().find(|event| event.kind == kind);
        event.map(|event| event.at.as_millis()).ok_or_else(|| {
            fault(format!("the journal of deployment {} has no event `{kind}`", latest.id))
        })
    };
    let (failed, ended) = (at("failed")?, at("ended")?);
    // The journal has the engine's time, the visitors have ours: the quickest of some looks tells
    // how much one is ahead of the other.
    let mut quickest: Option<(Duration, i64)> = None;
    for _ in 0..9 {
        let asked = start.elapsed();
        let now = client.health().await?.now.as_millis();
        let answered = start.elapsed();
        let took = answered.saturating_sub(asked);
        if quickest.is_none_or(|(best, _)| took < best) {
            quickest = Some((took, now - millis(asked + took / 2)));
        }
    }
    let (_, ahead) = quickest.unwrap_or_default();
    let ours = |at: i64| Duration::from_millis(u64::try_from(at - ahead).unwrap_or(0));
    Ok(Turn { decided: ours(failed), confirmed: ours(ended) })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How many orders the shop knows of.
async fn orders(address: SocketAddr) -> Result<u64, Fault> {
    let unclear = |why: String| fault(format!("the shop does not tell its orders: {why}"));
    let body = traffic::get(address, "/api/orders/count")
        .await
        .map_err(|error| unclear(error.to_string()))?;
    let value: serde_json::Value =
        serde_json::from_slice(&body).map_err(|error| unclear(error.to_string()))?;
    value["count"].as_u64().ok_or_else(|| unclear(format!("it answered {value}")))
}
