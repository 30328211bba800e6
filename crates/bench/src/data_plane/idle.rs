//! What connections cost on which nothing happens.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    process::Stdio,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{
    Failure,
    data_plane::{
        Field,
        asking::Asking,
        cpu,
        figure::{Bounds, Figures},
        ground::Side,
    },
    say,
};

/// The word by which this program is called again, to keep the connections.
pub(crate) const WORD: &str = "idle";

const COUNT: usize = 10_000;
const READY: &str = "ready";
const BOUNDS: Bounds = Bounds { least: 150.0, aim: 60.0 };

pub(super) async fn measure(field: &Field, figures: &mut Figures) -> Result<(), Failure> {
    if descriptors() < COUNT as u64 + 100 {
        say(&format!(
            "SKIPPED: {COUNT} idle connections: a process may not have so many files open"
        ));
        return Ok(());
    }
    say(&format!("memory: {COUNT} idle connections"));
    let mut others = Vec::new();
    for (index, subject) in field.subjects.iter().enumerate() {
        let own = std::env::current_exe()?;
        let mut command = Command::from(field.ground.command(Side::World, &own));
        command
            .arg(WORD)
            .arg(subject.plain.to_string())
            .arg(&field.cookie)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let said = BufReader::new(output).lines().next_line().await?;
        if said.as_deref() != Some(READY) {
            return Err(format!("{COUNT} connections to {} could not be had", subject.name).into());
        }
        let (resident, proportional) = cpu::memory(subject.pid)?;
        if index == 0 {
            let what = format!("resident memory with {COUNT} idle connections");
            figures.value(&what, Some(BOUNDS), "MiB", resident);
        } else {
            others.push(format!("{} {resident:.1} MiB, Pss {proportional:.1} MiB", subject.name));
        }
        drop(child.stdin.take());
        child.wait().await?;
    }
    figures.text("… of the others", &others.join("; "));
    Ok(())
}

/// How many files a process may have open when it asks for as many as it may.
fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// The client: opens the connections, asks once on each, and keeps them until its input ends.
pub(crate) async fn client(arguments: &[String]) -> Result<String, Failure> {
    let [address, cookie] = arguments else { return Err("address, cookie".into()) };
    let address: SocketAddr = address.parse()?;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let mut kept = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let mut connection = Asking::connect(address, "1k", cookie).await?;
        connection.ask().await?;
        kept.push(connection);
    }
    writeln!(io::stdout().lock(), "{READY}")?;
    // Nothing else is to happen here until then.
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(String::new())
}
