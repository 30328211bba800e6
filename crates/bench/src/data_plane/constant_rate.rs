//! How long answers take at a constant rate, whether the proxy keeps up or not.
//!
//! A client that waits for one answer before it asks again asks less often just when answers are
//! slow, and leaves out what it should have seen. This one asks when it is time; when all of its
//! connections are waiting, the request waits, and that counts.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    process::Command,
    sync::{Mutex, mpsc},
    time::{MissedTickBehavior, interval},
};

use crate::{
    Failure,
    data_plane::{
        Field,
        asking::Asking,
        figure::{Bounds, Figures},
        ground::Side,
        load::{Load, Protocol},
        rounds::{Rounds, shuffled},
    },
    say,
    statistics::Sorted,
};

/// The word by which this program is called again, to be the client.
pub(crate) const WORD: &str = "constant-rate";

const CONNECTIONS: u32 = 64;
const PATH: &str = "1k";
const SPAN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 15;
const NGINX: usize = 1;
/// Of what nginx can do at most.
const SHARE: f64 = 0.6;
const BOUNDS: Bounds = Bounds { least: 1.0, aim: 0.8 };
/// A timer may be late by that, which is the timer's and not the proxy's.
const TIMER: Duration = Duration::from_millis(2);

pub(super) async fn measure(field: &Field, figures: &mut Figures) -> Result<(), Failure> {
    let load = Load { by: Protocol::Http1, connections: CONNECTIONS, path: PATH };
    let span = Duration::from_secs(2);
    let mut most = Vec::new();
    for _ in 0..3 {
        let nginx = &field.subjects[NGINX];
        let requests = field.clients.run(&field.ground, nginx, load, span).await?;
        most.push(requests / span.as_secs_f64());
    }
    let rate = (Sorted::new(most).median() * SHARE).round();
    say(&format!("latency: {rate} requests a second"));
    let mut tails = Rounds::default();
    let mut middles = Rounds::default();
    for _ in 0..ROUNDS {
        let mut tail = vec![f64::NAN; field.subjects.len()];
        let mut middle = tail.clone();
        for index in shuffled(field.subjects.len()) {
            let (p50, p99) = ask(field, field.subjects[index].plain, rate).await?;
            middle[index] = p50;
            tail[index] = p99;
        }
        tails.push(tail);
        middles.push(middle);
    }
    let what = format!("p99 at {rate} requests/s (60 % of nginx's maximum): Tidegate / nginx");
    figures.ratio(&what, Some(BOUNDS), tails.ratio(0, NGINX));
    figures.ratio("… the median", None, middles.ratio(0, NGINX));
    let each = field.subjects.iter().enumerate().map(|(index, subject)| {
        format!("{} {:.0}/{:.0}", subject.name, middles.median(index), tails.median(index))
    });
    let each: Vec<String> = each.collect();
    figures.text("… µs, median/p99, medians of the rounds", &each.join(", "));
    Ok(())
}

/// Median and p99 in microseconds, as a process of its own sees them.
async fn ask(field: &Field, address: SocketAddr, rate: f64) -> Result<(f64, f64), Failure> {
    let own = std::env::current_exe()?;
    let mut command = Command::from(field.ground.command(Side::World, &own));
    command
        .arg(WORD)
        .arg(address.to_string())
        .arg(rate.to_string())
        .arg(&field.cookie)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = command.output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match figures.as_slice() {
        [p50, p99] if output.status.success() => Ok((*p50, *p99)),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

/// The client: what it is to print.
pub(crate) async fn client(arguments: &[String]) -> Result<String, Failure> {
    let [address, rate, cookie] = arguments else { return Err("address, rate, cookie".into()) };
    let (address, rate): (SocketAddr, f64) = (address.parse()?, rate.parse()?);
    let (due_in, due) = mpsc::unbounded_channel::<Instant>();
    let due = Arc::new(Mutex::new(due));
    let mut asking = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Asking::connect(address, PATH, cookie).await?;
        // Not measured: the proxy opens its own connections now.
        connection.ask().await?;
        let due = Arc::clone(&due);
        asking.push(tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let next = due.lock().await.recv().await;
                let Some(began) = next else { return Ok::<_, Failure>(times) };
                connection.ask().await?;
                times.push(began.elapsed());
            }
        }));
    }
    let began = Instant::now();
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asked = 0_u32;
    while began.elapsed() < SPAN {
        tick.tick().await;
        let now = Instant::now();
        loop {
            let due = began + Duration::from_secs_f64(f64::from(asked) / rate);
            if due > now {
                break;
            }
            due_in.send(if now - due > TIMER { due } else { now })?;
            asked += 1;
        }
    }
    drop(due_in);
    let mut times = Vec::new();
    for task in asking {
        times.extend(task.await??);
    }
    let sorted = Sorted::millis(times);
    Ok(format!("{} {}\n", sorted.median() * 1_000.0, sorted.p99() * 1_000.0))
}
