//! What happens to a proxy under load.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::ChildStdout,
    sync::Mutex,
};

use crate::{
    Failure,
    book::Book,
    client::Load,
    fleet::{Fleet, Member},
    process::{PATIENCE, Process, TICK},
    report::Report,
    subject::{Contender, Subject},
};

/// How much happens.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The executable that is an instance when it is told `instance VERSION NUMBER`.
    pub application: PathBuf,
    /// How often the shares change, at least.
    pub flips: u32,
    /// From one change to the next.
    pub flip_pause: Duration,
    /// How many answers are waited for where something is to last for a while.
    pub answers: u64,
}

/// The shares that follow each other. Their number has no divisor in common with the steps.
const SHARES: [[u32; 2]; 7] = [[90, 10], [100, 0], [50, 50], [0, 100], [10, 90], [50, 50], [99, 1]];

/// Drives a proxy through all of it and says what became of the requests.
pub async fn run(contender: &Contender, settings: &Settings) -> Result<Report, Failure> {
    let book = Arc::new(Book::default());
    let mut instances = BTreeMap::new();
    let mut members = Vec::new();
    for (number, version) in (1..).zip([0, 1, 0, 1]) {
        let (member, process) = start(&settings.application, version, number).await?;
        members.push(member);
        instances.insert(number, process);
    }
    let fleet = Fleet { shares: SHARES[0], members };
    book.share_begins(fleet.shares);
    let subject = contender.start(&fleet).await?;
    let load = Load::start(&subject.doors(), &book);
    let stage = Stage { subject, fleet, book: Arc::clone(&book) };
    let scenario = Scenario {
        settings,
        book: Arc::clone(&book),
        stage: Mutex::new(stage),
        flips: AtomicU32::new(0),
        all_done: AtomicBool::new(false),
    };
    let mut steps = Steps { scenario: &scenario, instances, next: 5, done: Done::default() };
    // Nothing happens before every kind of client has had an answer.
    eventually("answers for every kind", async || {
        let tallies = book.tallies();
        Ok(crate::Kind::ALL.iter().all(|kind| tallies.get(kind).is_some_and(|t| t.answered > 0)))
    })
    .await?;
    let began = Instant::now();
    tokio::try_join!(scenario.flip(), steps.take())?;
    let took = began.elapsed();
    load.end().await;
    let Steps { done, instances, .. } = steps;
    let flips = scenario.flips.load(Relaxed);
    let mut stage = scenario.stage.into_inner();
    stage.subject.end().await?;
    drop(instances);
    Ok(Report { name: contender.name(), flips, took, done, tallies: book.tallies() })
}

/// What has happened besides the flips.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Instances that came.
    pub joined: u32,
    /// Instances that were drained and stopped.
    pub drained: u32,
    /// Instances that were killed.
    pub killed: u32,
    /// How often nobody was there to publish.
    pub publisher_gone: u32,
    /// How often another process took the proxy's place.
    pub upgraded: u32,
}

/// The proxy and what it was told last.
struct Stage {
    subject: Box<dyn Subject>,
    fleet: Fleet,
    book: Arc<Book>,
}

impl Stage {
    async fn change(&mut self, change: impl FnOnce(&mut Fleet)) -> Result<(), Failure> {
        let mut fleet = self.fleet.clone();
        change(&mut fleet);
        self.book.share_begins(fleet.shares);
        self.subject.publish(&fleet).await?;
        self.book.share_ends(fleet.shares);
        self.fleet = fleet;
        Ok(())
    }
}

struct Scenario<'a> {
    settings: &'a Settings,
    book: Arc<Book>,
    stage: Mutex<Stage>,
    flips: AtomicU32,
    /// The steps have been taken as often as there were flips for them.
    all_done: AtomicBool,
}

impl Scenario<'_> {
    /// Changes the shares again and again while the steps are taken.
    async fn flip(&self) -> Result<(), Failure> {
        let mut pace = tokio::time::interval(self.settings.flip_pause);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for shares in SHARES.into_iter().cycle() {
            if self.all_done.load(Relaxed) {
                break;
            }
            pace.tick().await;
            self.stage.lock().await.change(|fleet| fleet.shares = shares).await?;
            self.flips.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    async fn answers(&self, count: u64) -> Result<(), Failure> {
        let before = self.book.answered();
        let reached = async || Ok(self.book.answered() >= before + count);
        eventually("clients are answered", reached).await
    }

    async fn answers_of(&self, member: &Member, count: u64) -> Result<(), Failure> {
        let before = self.book.answers_of(member.number);
        let reached = async || Ok(self.book.answers_of(member.number) >= before + count);
        eventually("an instance answers", reached).await
    }

    /// Takes an instance out of the fleet; returns when nothing is in flight to it.
    async fn forget(&self, member: &Member) -> Result<(), Failure> {
        let without = |fleet: &mut Fleet| fleet.members.retain(|one| one != member);
        self.stage.lock().await.change(without).await?;
        let forgotten = async || self.stage.lock().await.subject.has_forgotten(member).await;
        eventually("nothing is in flight to an instance", forgotten).await
    }
}

/// Waits for a condition.
async fn eventually(
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await? {
        if Instant::now() > deadline {
            return Err(format!("gave up waiting: {what}").into());
        }
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}

/// What is done beside the flips, one after another.
struct Steps<'a> {
    scenario: &'a Scenario<'a>,
    /// Those that run, by number.
    instances: BTreeMap<u32, Process>,
    next: u32,
    done: Done,
}

impl Steps<'_> {
    async fn take(&mut self) -> Result<(), Failure> {
        let wanted = self.scenario.settings.flips;
        for version in [0, 1].into_iter().cycle() {
            self.join(version).await?;
            self.drain(version).await?;
            self.lose_publisher().await?;
            self.kill(version).await?;
            self.join(version).await?;
            self.upgrade().await?;
            if self.scenario.flips.load(Relaxed) >= wanted {
                break;
            }
        }
        self.scenario.all_done.store(true, Relaxed);
        Ok(())
    }

    async fn join(&mut self, version: usize) -> Result<(), Failure> {
        let number = self.next;
        self.next += 1;
        let application = &self.scenario.settings.application;
        let (member, process) = start(application, version, number).await?;
        self.instances.insert(number, process);
        self.scenario.stage.lock().await.change(|fleet| fleet.members.push(member)).await?;
        self.scenario.answers_of(&member, 1).await?;
        self.done.joined += 1;
        Ok(())
    }

    /// The one that has been there for the longest time.
    async fn oldest(&self, version: usize) -> Result<Member, Failure> {
        let stage = self.scenario.stage.lock().await;
        let oldest = stage.fleet.of(version).next().copied();
        oldest.ok_or_else(|| "nobody is left".into())
    }

    async fn drain(&mut self, version: usize) -> Result<(), Failure> {
        let member = self.oldest(version).await?;
        self.scenario.forget(&member).await?;
        if let Some(mut process) = self.instances.remove(&member.number) {
            process.signal(Signal::TERM)?;
            let status = process.ended().await?;
            if !status.success() {
                return Err(format!("an instance ended badly: {status}").into());
            }
        }
        self.done.drained += 1;
        Ok(())
    }

    async fn kill(&mut self, version: usize) -> Result<(), Failure> {
        let member = self.oldest(version).await?;
        // In the middle of its work.
        self.scenario.answers_of(&member, 3).await?;
        if let Some(mut process) = self.instances.remove(&member.number) {
            self.scenario.book.kill_begins(member.number);
            process.signal(Signal::KILL)?;
            process.ended().await?;
            self.scenario.book.kill_ends();
        }
        // Nobody has noticed yet.
        self.scenario.answers(self.scenario.settings.answers).await?;
        self.scenario.forget(&member).await?;
        self.done.killed += 1;
        Ok(())
    }

    async fn lose_publisher(&mut self) -> Result<(), Failure> {
        let mut stage = self.scenario.stage.lock().await;
        if stage.subject.lose_publisher().await? {
            // The flips wait for the stage, too.
            self.scenario.answers(self.scenario.settings.answers).await?;
            self.done.publisher_gone += 1;
        }
        Ok(())
    }

    async fn upgrade(&mut self) -> Result<(), Failure> {
        if self.scenario.stage.lock().await.subject.upgrade().await? {
            self.scenario.answers(self.scenario.settings.answers).await?;
            self.done.upgraded += 1;
        }
        Ok(())
    }
}

async fn start(
    application: &Path,
    version: usize,
    number: u32,
) -> Result<(Member, Process), Failure> {
    let mut command = Command::new(application);
    command.args(["instance", crate::content::VERSIONS[version], &number.to_string()]);
    // It ends when its input does, which we hold open.
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Process::start("an instance", &mut command)?;
    let said = process.child().stdout.take().ok_or("an instance has no output")?;
    let mut lines = BufReader::new(ChildStdout::from_std(said)?).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
    let port: u16 = line.ok_or("an instance ended at once")?.parse()?;
    let member = Member { version, number, address: ([127, 0, 0, 1], port).into() };
    Ok((member, process))
}
