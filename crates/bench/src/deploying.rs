//! From `deploy` to all of the traffic.
//!
//! The two commits were built before, and nothing is kept warm: each deployment looks its release up,
//! makes a plan, starts a process, waits until it is ready and moves the traffic.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use tidegate_server::{api::EventRow, client::Client};
use tidegate_types::DeploymentId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use crate::{
    Failure,
    clock::{self, Offset},
    figure::{Figures, Goal},
    place::{PATIENCE, Place},
    project::{Project, START_DELAY, ended, serving, until_in},
    statistics::Sorted,
};

const ROUNDS: usize = 15;
/// Between two rounds, so that the instances of the last one are gone.
const REST: Duration = Duration::from_millis(300);

/// The moments of one deployment.
struct Round {
    /// From the request until the proxy had confirmed 100 %, by the journal.
    total: Duration,
    /// The same as a client sees it that watches the environment.
    watched: Duration,
    /// From the request until the first event of [`PARTS`], from there until the second, and so on.
    parts: Vec<Duration>,
}

/// The events that end the parts, by kind and place among those of that kind, each with what it
/// ends.
const PARTS: [(&str, usize, &str); 4] = [
    ("requested", 0, "… of that: request sent → accepted"),
    ("planned", 0, "… → release found, plan made"),
    ("step_done", 0, "… → instance ready, the app's own time included"),
    ("step_done", 1, "… → 100 % confirmed by the proxy"),
];

pub(crate) async fn measure(
    place: &Place,
    project: &Project,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let client = place.client();
    // Both commits are built now.
    project.deploy(&client, &project.switching, &project.commits[1]).await?;
    let own = own_times(place).await?;
    let own_median = Duration::from_secs_f64(Sorted::millis(own.clone()).median() / 1_000.0);
    let offset = Offset::find(&client).await?;
    let mut rounds = Vec::new();
    for number in 0..ROUNDS {
        sleep(REST).await;
        rounds.push(round(&client, project, &project.commits[number % 2], offset).await?);
    }
    let total = Sorted::millis(rounds.iter().map(|round| round.total));
    let watched = Sorted::millis(rounds.iter().map(|round| round.watched));
    let share = Sorted::millis(rounds.iter().map(|round| round.total.saturating_sub(own_median)));
    let mut add = |what: &str, goal, measured: &Sorted| {
        figures.add(what, goal, "ms", measured.median(), measured.p95());
    };
    add(
        "deploy → 100 %, blue-green, built before: Tidegate's own share",
        Goal::AtMost(150.0),
        &share,
    );
    add("… with the app's own time: request sent → 100 % confirmed", Goal::None, &total);
    for (index, (_, _, what)) in PARTS.iter().enumerate() {
        let part = rounds.iter().filter_map(|round| round.parts.get(index)).copied();
        add(what, Goal::None, &Sorted::millis(part));
    }
    add("… → seen by a client that watches (told every 100 ms)", Goal::None, &watched);
    let what = format!("… the app's own time: started by hand, delay {START_DELAY} ms");
    add(&what, Goal::None, &Sorted::millis(own));
    Ok(())
}

async fn round(
    client: &Client,
    project: &Project,
    commit: &str,
    offset: Offset,
) -> Result<Round, Failure> {
    let scope = &project.switching;
    let before = client.environment(scope).await?;
    let before = serving(&before).map(|revision| revision.id.clone());
    let mut views = client.watch(scope).await?;
    let begun = clock::now();
    let id = client.deploy(project.request(scope, commit)).await?;
    until_in(&mut views, scope, "all of the traffic on the new revision", |view| {
        serving(view).is_some_and(|revision| Some(&revision.id) != before.as_ref())
    })
    .await?;
    let watched = clock::now().saturating_sub(begun);
    drop(views);
    ended(client, scope, id).await?;
    let moments = moments(client, id, offset).await?;
    let mut parts = Vec::new();
    let mut last = begun;
    for moment in &moments {
        parts.push(moment.saturating_sub(last));
        last = *moment;
    }
    Ok(Round { total: last.saturating_sub(begun), watched, parts })
}

/// When the events of [`PARTS`] happened.
async fn moments(
    client: &Client,
    id: DeploymentId,
    offset: Offset,
) -> Result<Vec<Duration>, Failure> {
    let events: Vec<EventRow> = client.events(id, 0).await?;
    let moment = |(kind, index, _): &(&str, usize, &str)| {
        let event = events.iter().filter(|event| event.kind == *kind).nth(*index);
        let event = event.ok_or_else(|| format!("deployment {id} has no event `{kind}`"))?;
        Ok(offset.latest(event.at))
    };
    PARTS.iter().map(moment).collect()
}

/// The time that the app needs without Tidegate: from its start, by the same shell, until it answers.
async fn own_times(place: &Place) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(own_start(place).await?);
    }
    Ok(times)
}

async fn own_start(place: &Place) -> Result<Duration, Failure> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let line = format!("exec {} serve start_delay={START_DELAY}", place.app().display());
    let begun = clock::now();
    let mut child = Command::new("/bin/sh")
        .args(["-c", &line])
        .env("PORT", port.to_string())
        // By this it is found when we are interrupted.
        .current_dir(place.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let mut answered = Err("the app does not start".into());
    while clock::now().saturating_sub(begun) < PATIENCE {
        if answers(port).await {
            answered = Ok(clock::now().saturating_sub(begun));
            break;
        }
        sleep(Duration::from_micros(200)).await;
    }
    child.kill()?;
    child.wait()?;
    answered
}

async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
    };
    ask.await.unwrap_or(false)
}
