//! One deployment under traffic, with a victim that dies at chosen points of its journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use super::{
    ending::Ending,
    journal::{Journal, Point},
    scenario::{Release, Scenario},
    victim::{CANDIDATE, STABLE, Victim, control_plane, lose_power},
};
use crate::{
    sandbox::{Sandbox, kill, runs, wait_until},
    visitors::{How, Lost, Method, Seen, Visitors},
};

/// Between two looks at the store.
const TICK: Duration = Duration::from_micros(300);
/// Between two looks for what is not always there.
const LOOK: Duration = Duration::from_millis(2);
/// A deployment that has not ended by then never does.
const PATIENCE: Duration = Duration::from_secs(90);
/// What is left has gone by then.
const SETTLING: Duration = Duration::from_secs(20);
/// A proxy that was killed is back by then, and so is everything after it was started again.
const LONGEST_OUTAGE: Duration = Duration::from_secs(15);
/// Between two requests of a visitor.
const PAUSE: Duration = Duration::from_millis(8);

/// What happened in a round.
pub(crate) struct Round {
    /// Every point that was seen, in order, and which victims there were at it.
    pub(crate) points: Vec<(String, BTreeSet<Victim>)>,
    /// No transition went by between two looks.
    pub(crate) complete: bool,
    /// Points at which the victim died.
    pub(crate) hit: Vec<String>,
    pub(crate) requests: u64,
    pub(crate) lost: Losses,
    /// The longest time for which nobody took connections.
    pub(crate) outage: Duration,
    pub(crate) ending: Ending,
    /// What was promised and not kept.
    pub(crate) broken: Vec<String>,
}

/// How many requests were lost, by what was promised of them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Losses {
    /// While nobody was there to take them: the proxy or everything had been killed.
    pub(crate) in_outages: u64,
    /// While no instance was there by design, or with an instance that died by itself.
    pub(crate) in_gaps: u64,
    /// Against what was promised.
    pub(crate) broken: u64,
}

/// Whom to kill, and where.
pub(crate) struct Attack<'a> {
    pub(crate) victim: Victim,
    pub(crate) at: &'a BTreeSet<String>,
    /// How long after the transition is seen.
    pub(crate) delay: Duration,
    /// How an undisturbed deployment ends.
    pub(crate) expected: &'a Ending,
}

struct Running<'a> {
    scenario: Scenario,
    attack: Option<&'a Attack<'a>>,
    sandbox: Sandbox,
    address: String,
    poison: PathBuf,
    releases: Vec<(&'static str, String)>,
    journal: Option<Journal>,
    points: Vec<(String, BTreeSet<Victim>)>,
    complete: bool,
    hit: Vec<String>,
    /// Nobody was there to take a connection.
    outages: Vec<(Instant, Option<Instant>)>,
    /// The proxy that was killed last: for a moment its socket outlives it.
    former_proxy: Option<u32>,
    /// Since when no instance of what served before is wanted.
    given_up: Option<Instant>,
    /// Instances of the release die now.
    is_ill: bool,
    commands: Vec<Child>,
    /// When instances of the stable revision were killed.
    struck: Vec<Instant>,
}

/// Deploys the second release of a scenario over the first one.
pub(crate) fn run(scenario: Scenario, attack: Option<&Attack<'_>>) -> Round {
    let sandbox = Sandbox::with(&[("tidegate.yaml", &Scenario::first())]);
    sandbox.tidegate(&["deploy"]).expect(0);
    let address = sandbox.status()["address"].as_str().expect("an address").to_owned();
    let poison = sandbox.project().join("poison");
    let visitors = Visitors::who(&address, &[Method::Get, Method::Get, Method::Post], PAUSE);
    wait_until("somebody was served", || !visitors.so_far().answers.is_empty());
    let first = head(&sandbox);
    let second = sandbox.commit(&[("tidegate.yaml", &scenario.second(&poison))]);
    let mut running = Running {
        scenario,
        attack,
        journal: Some(Journal::open(&sandbox.home(), Point::default())),
        address,
        poison,
        releases: vec![("first", first), ("second", second)],
        points: Vec::new(),
        complete: true,
        hit: Vec::new(),
        outages: Vec::new(),
        former_proxy: None,
        given_up: None,
        is_ill: false,
        commands: Vec::new(),
        struck: Vec::new(),
        sandbox,
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| running.watch()));
    if let Err(panic) = result {
        eprintln!("{}", running.account());
        std::panic::resume_unwind(panic);
    }
    let ending = running.settle();
    let seen = visitors.leave();
    let (lost, mut broken) = running.losses(&seen);
    let outage = running.longest_outage();
    if outage > LONGEST_OUTAGE {
        broken.push(format!("nobody took connections for {outage:?}"));
    }
    if let Some(attack) = attack
        && ending != *attack.expected
    {
        broken.push(format!("it ended as\n{ending:#?}\nand not as\n{:#?}", attack.expected));
    }
    if !broken.is_empty() {
        broken.push(running.account());
    }
    // By force: how `down` ends it is tried elsewhere.
    lose_power(&running.sandbox);
    for mut command in running.commands.drain(..) {
        let _ = command.wait();
    }
    Round {
        points: running.points,
        complete: running.complete,
        hit: running.hit,
        requests: seen.requests(),
        lost,
        outage,
        ending,
        broken,
    }
}

fn head(sandbox: &Sandbox) -> String {
    let file = sandbox.project().join(".git/refs/heads/main");
    std::fs::read_to_string(file).expect("a commit").trim().to_owned()
}

impl Running<'_> {
    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().expect("the journal is open")
    }

    /// Follows the deployment to its end, and kills on the way.
    fn watch(&mut self) {
        let began = Instant::now();
        let mut last = self.journal().point_for_certain().clone();
        let start = last.version;
        let deploy = self
            .sandbox
            .command(&["deploy", "--no-wait"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tidegate runs");
        self.commands.push(deploy);
        let (mut since, mut looked) = (Instant::now(), Instant::now());
        let mut unchanged_until = began;
        loop {
            assert!(began.elapsed() < PATIENCE, "the deployment does not end");
            let before = Instant::now();
            let point = self.journal().point().clone();
            if point != last {
                self.complete &= point.version == last.version + 1;
                self.points.push((point.name.clone(), BTreeSet::new()));
                since = Instant::now();
                looked = since.checked_sub(LOOK).unwrap_or(since);
                last = point;
                self.look_at_the_state(unchanged_until);
            }
            unchanged_until = before;
            self.see_the_proxy_back();
            if last.version > start && self.is_due(&last.name) && since.elapsed() >= self.delay() {
                self.strike(&last);
            }
            if last.version > start && looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.poison();
                self.note_victims();
                if self.is_over() {
                    return;
                }
            }
            std::thread::sleep(TICK);
        }
    }

    fn delay(&self) -> Duration {
        self.attack.map_or(Duration::ZERO, |attack| attack.delay)
    }

    fn is_due(&self, point: &str) -> bool {
        self.attack.is_some_and(|attack| {
            attack.at.contains(point)
                && !self.hit.iter().any(|hit| hit == point)
                && self.hit.len() < attack.victim.kills_in_a_round()
                // The one that was killed last has to be back.
                && self.outages.iter().all(|(_, until)| until.is_some())
        })
    }

    /// In an undisturbed run: who could have been killed here.
    fn note_victims(&mut self) {
        if self.attack.is_some() {
            return;
        }
        let home = self.sandbox.home();
        if let Some((_, victims)) = self.points.last_mut() {
            for victim in super::victim::VICTIMS {
                if !victims.contains(&victim) && victim.find(&home).is_some() {
                    victims.insert(victim);
                }
            }
        }
    }

    /// Whether the state machine has nothing more to do.
    fn is_over(&mut self) -> bool {
        let name = self.points.last().map(|(name, _)| name.clone()).unwrap_or_default();
        if !(name.contains("ended") || name.contains("retired")) {
            return false;
        }
        let state = self.journal().state();
        let components = state["components"].as_object().cloned().unwrap_or_default();
        state["deployment"].is_null()
            && state["latest"]["deployment"] == 2
            && components.values().all(|component| component["warm"].is_null())
    }

    /// Looks at what was decided, as far as it matters to what is asked of it here.
    fn look_at_the_state(&mut self, unchanged_until: Instant) {
        let state = self.journal().state();
        let stable = &state["revisions"][STABLE]["replicas"];
        if self.given_up.is_none() && stable.as_u64().unwrap_or(0) == 0 {
            self.given_up = Some(unchanged_until);
        }
        let progress = &state["deployment"]["progress"][0];
        let shares = &state["components"]["api"]["shares"];
        let has_all = shares
            .as_array()
            .into_iter()
            .flatten()
            .any(|share| share[0] == CANDIDATE && share[1] == 10_000);
        let ill = match self.scenario.release {
            Release::Dying => !progress["first_traffic_at"].is_null(),
            Release::DyingLate => !progress["first_traffic_at"].is_null() && has_all,
            _ => false,
        };
        self.is_ill = ill && state["deployment"]["stage"]["rolling"].is_object();
    }

    /// From a certain point on a dying release dies again and again.
    fn poison(&self) {
        if self.is_ill && !self.poison.exists() {
            std::fs::write(&self.poison, "").expect("a file can be written");
        }
    }

    /// Kills the victim if it is there.
    fn strike(&mut self, point: &Point) {
        let Some(victim) = self.attack.map(|attack| attack.victim) else { return };
        let home = self.sandbox.home();
        let Some(pid) = victim.find(&home) else { return };
        let from = Instant::now();
        kill(pid);
        if !victim.takes_the_control_plane() {
            // A version that is the same after it as before was the one at which it died.
            let after = self.journal().point_for_certain().clone();
            if after == *point {
                self.hit.push(point.name.clone());
            }
            wait_until("the victim is gone", || !runs(pid));
            if victim == Victim::Proxy {
                self.former_proxy = Some(pid);
                self.outages.push((from, None));
            } else if victim == Victim::StableShim {
                self.struck.push(from);
            }
            return;
        }
        if victim == Victim::Machine {
            lose_power(&self.sandbox);
            self.outages.push((from, None));
        }
        wait_until("the control plane is gone", || !runs(pid));
        let after = self.journal().point_for_certain().clone();
        self.hit.push(after.name.clone());
        // Nobody reads while it starts, so that it finds the store as after any crash.
        self.journal = None;
        if victim == Victim::ControlPlaneTwice {
            self.kill_what_comes_back(pid);
        }
        self.sandbox.tidegate(&["up"]).expect(0);
        self.journal = Some(Journal::open(&home, after));
        if victim == Victim::Machine {
            wait_until("somebody answers again", || self.see_the_proxy_back());
        }
    }

    /// Starts the control plane and kills it somewhere on its way up.
    fn kill_what_comes_back(&mut self, former: u32) {
        let up = self
            .sandbox
            .command(&["up"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tidegate runs");
        self.commands.push(up);
        let home = self.sandbox.home();
        let came = || control_plane(&home).filter(|pid| *pid != former && runs(*pid));
        wait_until("the control plane comes back", || came().is_some());
        // While it opens the store, when it has said what it wants, and when it has looked.
        let moments = [0, 40, 150, 320, 400];
        std::thread::sleep(Duration::from_millis(moments[self.hit.len() % moments.len()]));
        if let Some(pid) = came() {
            kill(pid);
            wait_until("the control plane is gone", || !runs(pid));
        }
        // It starts no other one, once it has given up.
        for mut command in self.commands.drain(..) {
            let _ = command.wait();
        }
    }

    /// Notes when a proxy that was killed answers again; says whether it does.
    fn see_the_proxy_back(&mut self) -> bool {
        let Some((_, until @ None)) = self.outages.last_mut() else { return true };
        let is_back = if self.attack.is_some_and(|attack| attack.victim == Victim::Machine) {
            answers(&self.address)
        } else {
            let found = Victim::Proxy.find(&self.sandbox.home());
            found.is_some()
                && found != self.former_proxy
                && TcpStream::connect(&self.address).is_ok()
        };
        if is_back {
            *until = Some(Instant::now());
        }
        is_back
    }

    /// Waits until what is left is what was expected; without an attack, until it stays the same.
    fn settle(&mut self) -> Ending {
        let began = Instant::now();
        let mut last: Option<Ending> = None;
        let mut same = 0;
        loop {
            let ending = Ending::of(&self.sandbox, &self.releases);
            match self.attack {
                Some(attack) if ending == *attack.expected => return ending,
                None if last.as_ref() == Some(&ending) => {
                    same += 1;
                    if same >= 8 {
                        return ending;
                    }
                }
                _ => same = 0,
            }
            if began.elapsed() > SETTLING {
                return ending;
            }
            last = Some(ending);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn longest_outage(&self) -> Duration {
        let lengths = self.outages.iter().map(|(from, until)| {
            until.unwrap_or_else(Instant::now).saturating_duration_since(*from)
        });
        lengths.max().unwrap_or_default()
    }

    /// Counts what was lost; says what of it was promised not to be.
    fn losses(&self, seen: &Seen) -> (Losses, Vec<String>) {
        let mut losses = Losses::default();
        let mut broken: BTreeMap<String, usize> = BTreeMap::new();
        for lost in &seen.lost {
            if self.is_of_an_outage(lost) {
                losses.in_outages += 1;
            } else if self.is_of_a_gap(lost) {
                losses.in_gaps += 1;
            } else {
                losses.broken += 1;
                *broken.entry(lost.to_string()).or_default() += 1;
            }
        }
        let said = broken.into_iter().map(|(how, count)| format!("{count} requests lost: {how}"));
        (losses, said.collect())
    }

    /// It was in flight when the proxy was killed, or came before there was another one.
    fn is_of_an_outage(&self, lost: &Lost) -> bool {
        self.outages.iter().any(|(from, until)| {
            let until = until.unwrap_or_else(Instant::now);
            let overlaps = lost.began <= until && lost.ended >= *from;
            // The first request on a connection that the proxy took with it.
            let was_cut = matches!(lost.how, How::Broken(_)) && lost.opened <= until;
            overlaps || (was_cut && lost.ended >= *from)
        })
    }

    /// Nobody was there by design, or the instance that had it died of it.
    fn is_of_a_gap(&self, lost: &Lost) -> bool {
        let refused = |status, reason: &str| lost.how == How::Refused(status, reason.to_owned());
        // Recreate never runs both, and rolling keeps nothing warm: when what comes dies, nobody is
        // there until what served before has been started again.
        let has_nobody = self.scenario.strategy.has_gap
            || self.scenario.release.dies()
                && self.given_up.is_some_and(|since| lost.ended >= since);
        let in_gap = has_nobody && refused(503, "nobody-ready");
        // It reached an instance that died of it. A POST may not be sent again, a GET to others.
        let died = self.scenario.release.dies()
            && (lost.method == Method::Post || has_nobody)
            && refused(502, "no-answer");
        // It is sent three times at most, so that one that ends whoever takes it ends no more than
        // three. Two that died by themselves and the one that was killed are three.
        let thrice = self.scenario.release.dies()
            && lost.method == Method::Get
            && self.struck.iter().any(|at| lost.began <= *at && *at <= lost.ended)
            && refused(502, "no-answer");
        in_gap || died || thrice
    }

    /// What helps to understand a failure.
    fn account(&mut self) -> String {
        let tail = |path: &str| {
            let text = std::fs::read_to_string(self.sandbox.home().join(path)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        let (serve, proxy) = (tail("serve.log"), tail("proxy/proxy.log"));
        format!(
            "hit: {:?}\npoints: {:#?}\nserve.log:\n{serve}\nproxy.log:\n{proxy}",
            self.hit,
            self.points.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        )
    }
}

/// Whether a request is answered by an application.
fn answers(address: &str) -> bool {
    use std::io::{Read as _, Write as _};
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
