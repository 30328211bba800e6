//! `HAProxy`: told on its socket; an upgrade is a reload, in which a new process gets the listeners.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use async_trait::async_trait;
use rustix::process::Signal;
use tempfile::TempDir;
use tidegate_types::CertificateFiles;

use super::{Subject, free};
use crate::{
    Failure,
    door::{self, Doors},
    fleet::{Fleet, Member},
    process::{PATIENCE, Process, TICK},
};

/// So many instances can be told to it.
const SLOTS: usize = 24;

pub(super) struct HaProxy {
    process: Process,
    doors: Doors,
    /// Who is where; one who is gone keeps the place until it is forgotten.
    slots: [Option<Member>; SLOTS],
    in_force: Fleet,
    folder: TempDir,
}

impl HaProxy {
    pub(super) async fn start(executable: &Path, fleet: &Fleet) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("tg-loss-").tempdir()?;
        let (certificate, trust) = door::certificate(folder.path())?;
        let [plain, http2, tls] = free()?;
        let doors = Doors { plain, http2, tls, trust };
        let pem = join(folder.path(), &certificate)?;
        let nobody = Fleet { shares: [100, 0], members: Vec::new() };
        let mut slots = [None; SLOTS];
        place(&mut slots, fleet)?;
        write(folder.path(), &doors, &pem, &slots, fleet)?;
        let mut command = Command::new(executable);
        command.arg("-W").arg("-f").arg(folder.path().join("haproxy.cfg"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start("HAProxy", &mut command)?;
        let mut started = Self { process, doors, slots, in_force: nobody, folder };
        started.told("show info", |answer| answer.contains("Pid:")).await?;
        started.in_force = fleet.clone();
        Ok(started)
    }

    /// Says this until the answer is as wanted.
    async fn told(&mut self, words: &str, wanted: fn(&str) -> bool) -> Result<String, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.say(words) {
                Ok(answer) if wanted(&answer) => return Ok(answer),
                Err(error) if Instant::now() > deadline => return Err(error),
                Ok(answer) if Instant::now() > deadline => {
                    return Err(format!("HAProxy says of `{words}`: {answer}").into());
                }
                _ => {}
            }
            self.process.still_runs()?;
            tokio::time::sleep(TICK).await;
        }
    }

    fn say(&self, words: &str) -> Result<String, Failure> {
        let mut socket = UnixStream::connect(self.folder.path().join("socket"))?;
        socket.write_all(format!("{words}\n").as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Certificate and key in one file.
fn join(folder: &Path, certificate: &CertificateFiles) -> Result<PathBuf, Failure> {
    let mut text = fs::read_to_string(&certificate.certificate)?;
    text.push_str(&fs::read_to_string(&certificate.key)?);
    let path = folder.join("both.pem");
    fs::write(&path, text)?;
    Ok(path)
}

/// Gives those who are new a place.
fn place(slots: &mut [Option<Member>; SLOTS], fleet: &Fleet) -> Result<(), Failure> {
    for member in &fleet.members {
        if !slots.contains(&Some(*member)) {
            let free = slots.iter_mut().find(|slot| slot.is_none());
            *free.ok_or("HAProxy has no place left for an instance")? = Some(*member);
        }
    }
    Ok(())
}

/// What one instance gets, so that its version gets its share.
fn weight(fleet: &Fleet, member: &Member) -> u32 {
    let count = u32::try_from(fleet.of(member.version).count()).unwrap_or(1).max(1);
    let is_there = fleet.members.contains(member);
    if is_there { (fleet.shares[member.version] * 2 / count).min(256) } else { 0 }
}

fn write(
    folder: &Path,
    doors: &Doors,
    pem: &Path,
    slots: &[Option<Member>; SLOTS],
    fleet: &Fleet,
) -> Result<(), Failure> {
    let mut text = format!(
        "global\n  stats socket {}/socket level admin expose-fd listeners\n  nbthread 2\n\
         defaults\n  mode http\n  timeout connect 2s\n  timeout client 75s\n  timeout server 60s\n\
         timeout tunnel 60s\n  option redispatch 1\n  retries 3\n\
         retry-on conn-failure empty-response\n\
         frontend door\n  bind {}\n  bind {} proto h2\n  bind {} ssl crt {} alpn h2\n\
         http-request disable-l7-retry if METH_POST\n  default_backend app\n\
         backend app\n  balance roundrobin\n  http-reuse safe\n",
        folder.display(),
        doors.plain,
        doors.http2,
        doors.tls,
        pem.display(),
    );
    for (index, slot) in slots.iter().enumerate() {
        match slot.filter(|member| fleet.members.contains(member)) {
            Some(member) => writeln!(
                text,
                "  server s{index} {} weight {}",
                member.address,
                weight(fleet, &member)
            )?,
            None => writeln!(text, "  server s{index} 127.0.0.1:1 disabled")?,
        }
    }
    fs::write(folder.join("haproxy.cfg"), text)?;
    Ok(())
}

#[async_trait]
impl Subject for HaProxy {
    fn doors(&self) -> Doors {
        self.doors.clone()
    }

    async fn publish(&mut self, fleet: &Fleet) -> Result<(), Failure> {
        let before = self.slots;
        place(&mut self.slots, fleet)?;
        let (mut more, mut less) = (Vec::new(), Vec::new());
        for (index, member) in self.slots.iter().enumerate() {
            let Some(member) = member else { continue };
            let wanted = weight(fleet, member);
            if before[index].is_none() {
                let address = member.address;
                more.push(format!(
                    "set server app/s{index} addr {} port {}",
                    address.ip(),
                    address.port()
                ));
                more.push(format!("set server app/s{index} weight {wanted}"));
                more.push(format!("set server app/s{index} state ready"));
            } else if !fleet.members.contains(member) {
                if self.in_force.members.contains(member) {
                    less.push(format!("set server app/s{index} state drain"));
                }
            } else {
                let former = weight(&self.in_force, member);
                if wanted != former {
                    let words = format!("set server app/s{index} weight {wanted}");
                    if wanted > former { more.push(words) } else { less.push(words) }
                }
            }
        }
        // First those who get more, so that there is always somebody.
        more.append(&mut less);
        for words in more.chunks(8) {
            self.say(&words.join("; "))?;
        }
        self.in_force = fleet.clone();
        Ok(())
    }

    async fn has_forgotten(&mut self, member: &Member) -> Result<bool, Failure> {
        let Some(index) = self.slots.iter().position(|slot| slot.as_ref() == Some(member)) else {
            return Ok(true);
        };
        let name = format!("s{index}");
        let answer = self.say("show stat app 4 -1")?;
        let in_use = answer.lines().find_map(|line| {
            let mut columns = line.split(',').skip(1);
            (columns.next()? == name).then(|| columns.nth(2)?.parse::<u64>().ok())?
        });
        if in_use == Some(0) {
            self.say(&format!("set server app/{name} state maint"))?;
            self.slots[index] = None;
            return Ok(true);
        }
        Ok(false)
    }

    async fn lose_publisher(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn upgrade(&mut self) -> Result<bool, Failure> {
        let pem = self.folder.path().join("both.pem");
        write(self.folder.path(), &self.doors, &pem, &self.slots, &self.in_force)?;
        let pid = |answer: &str| {
            let line = answer.lines().find_map(|line| line.strip_prefix("Pid: "));
            line.map(str::to_owned)
        };
        let before = pid(&self.say("show info")?);
        self.process.signal(Signal::USR2)?;
        let deadline = Instant::now() + PATIENCE;
        while self
            .say("show info")
            .ok()
            .and_then(|answer| pid(&answer))
            .is_none_or(|now| Some(now) == before)
        {
            if Instant::now() > deadline {
                return Err("HAProxy does not reload".into());
            }
            tokio::time::sleep(TICK).await;
        }
        Ok(true)
    }

    async fn end(&mut self) -> Result<(), Failure> {
        self.process.signal(Signal::TERM)?;
        self.process.ended().await.map(|_| ())
    }
}
