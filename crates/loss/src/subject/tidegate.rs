//! The proxy of this project.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use async_trait::async_trait;
use rustix::process::Signal;
use tempfile::TempDir;
use tidegate_proxy::client::{Client, ClientError};
use tidegate_types::{
    CertificateFiles, Duration, Epoch, Gateway, InstanceId, Protocol, RevisionId, RouteRule, Scope,
    Share, Tls,
    data_plane::{
        Check, Endpoint, ProxyBackend, ProxyRoute, ProxyTable, Question, Request, Upstream,
    },
};

use super::Subject;
use crate::{
    Failure,
    content::VERSIONS,
    door::{self, Doors},
    fleet::{Fleet, Member},
    process::{PATIENCE, Process, TICK},
};

/// It, and the proxies in whose place it is.
pub(super) struct Tidegate {
    executable: PathBuf,
    process: Process,
    formers: Vec<Process>,
    client: Client,
    certificate: CertificateFiles,
    doors: Doors,
    epoch: u64,
    /// Last, as it is in use by all that is above.
    home: TempDir,
}

/// One scope for each door, as a scope has one.
const SCOPES: [&str; 2] = ["loss/plain", "loss/encrypted"];

fn control_socket(home: &Path) -> PathBuf {
    home.join("proxy").join("control.sock")
}

impl Tidegate {
    pub(super) async fn start(executable: &Path, fleet: &Fleet) -> Result<Self, Failure> {
        let home = tempfile::Builder::new().prefix("tg-loss-").tempdir()?;
        let (certificate, trust) = door::certificate(home.path())?;
        let process = spawn(executable, home.path(), false)?;
        let nowhere = ([127, 0, 0, 1], 0).into();
        let doors = Doors { plain: nowhere, http2: nowhere, tls: nowhere, trust };
        let client = Client::new(control_socket(home.path()));
        let mut started = Self {
            executable: executable.to_owned(),
            process,
            formers: Vec::new(),
            client,
            certificate,
            doors,
            epoch: 0,
            home,
        };
        started.in_charge().await?;
        started.publish(fleet).await?;
        Ok(started)
    }

    /// Waits until the process started last is the one that answers.
    async fn in_charge(&mut self) -> Result<(), Failure> {
        let lock = self.home.path().join("proxy").join("proxy.lock");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let holder = fs::read_to_string(&lock).unwrap_or_default();
            if holder.trim() == self.process.id().to_string() && self.client.tables().await.is_ok()
            {
                return Ok(());
            }
            self.process.still_runs().map_err(|error| self.with_log(&error))?;
            if Instant::now() > deadline {
                return Err(self.with_log(&"the proxy does not answer".into()));
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn with_log(&self, error: &Failure) -> Failure {
        let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(8).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("{error}\n{}", last.join("\n")).into()
    }

    fn table(&self, scope: Scope, tls: bool, fleet: &Fleet) -> ProxyTable {
        let backends = (0..VERSIONS.len()).map(|version| {
            let revision = revision(version);
            let endpoints = fleet.of(version).map(|member| Endpoint {
                instance: instance(member),
                address: member.address,
                check: Some(check()),
                protocol: Protocol::Http1,
                drain: None,
            });
            ProxyBackend {
                share: Share::percent(fleet.shares[version]),
                role: if version == 0 { "stable" } else { "candidate" }.to_owned(),
                upstream: Upstream::Endpoints(endpoints.collect()),
                revision,
            }
        });
        let tls = tls
            .then(|| Tls { certificates: vec![self.certificate.clone()], ..Tls::default() }.into());
        ProxyTable {
            scope,
            epoch: Epoch(self.epoch),
            membership: 0,
            gateway: Gateway { tls, ..Gateway::default() },
            routes: vec![ProxyRoute {
                rule: RouteRule::everything(),
                backends: backends.collect(),
            }],
        }
    }
}

fn revision(version: usize) -> RevisionId {
    RevisionId::new(format!("app@{}", version + 1))
}

fn instance(member: &Member) -> InstanceId {
    InstanceId::of(&revision(member.version), member.number)
}

/// As a component would have it.
fn check() -> Check {
    Check {
        question: Question::Http { path: "/get/0".to_owned() },
        interval: Duration::from_millis(250),
        timeout: Duration::from_secs(2),
        failures: 3,
        successes: 1,
    }
}

fn spawn(executable: &Path, home: &Path, take_over: bool) -> Result<Process, Failure> {
    let log = File::options().create(true).append(true).open(home.join("log"))?;
    let mut command = Command::new(executable);
    command.arg("--home").arg(home).args(["proxy", "--workers", "2"]);
    if take_over {
        command.arg("--take-over");
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Process::start("the proxy", &mut command)
}

#[async_trait]
impl Subject for Tidegate {
    fn doors(&self) -> Doors {
        self.doors.clone()
    }

    async fn publish(&mut self, fleet: &Fleet) -> Result<(), Failure> {
        self.epoch += 1;
        for (name, tls) in SCOPES.into_iter().zip([false, true]) {
            let table = self.table(name.parse()?, tls, fleet);
            let deadline = Instant::now() + PATIENCE;
            // While one proxy takes the place of another, nobody may answer for a moment; every
            // call can be made again.
            let published = loop {
                match self.client.publish(&table).await {
                    Err(ClientError::Unreachable { .. } | ClientError::Timeout { .. })
                        if Instant::now() < deadline =>
                    {
                        self.process.still_runs().map_err(|error| self.with_log(&error))?;
                        tokio::time::sleep(TICK).await;
                    }
                    outcome => break outcome?,
                }
            };
            if tls {
                self.doors.tls = published.address;
            } else {
                (self.doors.plain, self.doors.http2) = (published.address, published.address);
            }
        }
        Ok(())
    }

    async fn has_forgotten(&mut self, member: &Member) -> Result<bool, Failure> {
        for name in SCOPES {
            match self.client.traffic(&name.parse()?).await {
                Ok(traffic) => {
                    let in_flight = traffic.in_flight.get(&instance(member)).copied();
                    if in_flight.unwrap_or(0) > 0 {
                        return Ok(false);
                    }
                }
                // Unknown is not nothing.
                Err(ClientError::Unreachable { .. } | ClientError::Timeout { .. }) => {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    async fn lose_publisher(&mut self) -> Result<bool, Failure> {
        let socket = control_socket(self.home.path());
        self.client = Client::new(&socket);
        let nobody = Fleet { shares: [0, 0], members: Vec::new() };
        self.epoch += 1;
        let table = self.table(SCOPES[0].parse()?, false, &nobody);
        let line = serde_json::to_vec(&Request::Publish(table))?;
        // It would take everything from everybody, were it not cut off before its end.
        UnixStream::connect(socket)?.write_all(&line)?;
        Ok(true)
    }

    async fn upgrade(&mut self) -> Result<bool, Failure> {
        let help = Command::new(&self.executable).args(["proxy", "--help"]).output()?;
        if !String::from_utf8_lossy(&help.stdout).contains("--take-over") {
            return Ok(false);
        }
        let successor = spawn(&self.executable, self.home.path(), true)?;
        self.formers.push(std::mem::replace(&mut self.process, successor));
        self.in_charge().await?;
        Ok(true)
    }

    async fn end(&mut self) -> Result<(), Failure> {
        self.process.signal(Signal::TERM)?;
        for process in self.formers.iter_mut().chain([&mut self.process]) {
            let status = process.ended().await?;
            if !status.success() {
                return Err(format!("the proxy ended badly: {status}").into());
            }
        }
        Ok(())
    }
}
