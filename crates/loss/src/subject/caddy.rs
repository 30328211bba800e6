//! Caddy: every change is a new configuration by its admin API, for which it makes new servers over
//! the same listeners; the former ones end with their connections.

use std::{
    collections::HashMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_types::CertificateFiles;

use super::{Subject, free};
use crate::{
    Failure,
    door::{self, Doors, HOST},
    fleet::{Fleet, Member},
    process::{PATIENCE, Process, TICK},
};

/// An instance that is still asked after this time is given up: some are asked for more than a minute
/// after a configuration without them, as it seems on kept connections of HTTP/2 by prior knowledge.
const GRACE: Duration = Duration::from_secs(5);

/// An established connection in the list of the operating system.
const ESTABLISHED: &str = "01";

pub(super) struct Caddy {
    process: Process,
    doors: Doors,
    certificate: CertificateFiles,
    /// Since when an instance is waited for, by number.
    leaving: HashMap<u32, Instant>,
    folder: TempDir,
}

impl Caddy {
    pub(super) async fn start(executable: &Path, fleet: &Fleet) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("tg-loss-").tempdir()?;
        let (certificate, trust) = door::certificate(folder.path())?;
        let [plain, http2, tls] = free()?;
        let doors = Doors { plain, http2, tls, trust };
        let path = folder.path().join("caddy.json");
        fs::write(&path, configuration(folder.path(), &doors, &certificate, fleet).to_string())?;
        let mut command = Command::new(executable);
        command.arg("run").arg("--config").arg(path);
        // What it keeps for itself goes with everything else.
        for name in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env(name, folder.path());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start("Caddy", &mut command)?;
        let mut started = Self { process, doors, certificate, leaving: HashMap::new(), folder };
        started.told("GET", "/config/", "").await?;
        Ok(started)
    }

    /// Says this until it is heard: the socket is a new one after each change.
    async fn told(&mut self, method: &str, path: &str, body: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.say(method, path, body) {
                Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => return Ok(()),
                Ok(answer) if !answer.is_empty() => {
                    return Err(format!("Caddy says of {method} {path}: {answer}").into());
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Ok(_) if Instant::now() > deadline => return Err("Caddy says nothing".into()),
                _ => {}
            }
            self.process.still_runs()?;
            tokio::time::sleep(TICK).await;
        }
    }

    fn say(&self, method: &str, path: &str, body: &str) -> Result<String, Failure> {
        let mut socket = UnixStream::connect(self.folder.path().join("socket"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

fn configuration(
    folder: &Path,
    doors: &Doors,
    certificate: &CertificateFiles,
    fleet: &Fleet,
) -> Value {
    // Without `flush_interval: -1`, with which 2.6.2 panicked in each of three runs of this test.
    let proxy = json!({
        "handler": "reverse_proxy",
        "upstreams": upstreams(fleet),
        "load_balancing": {
            "selection_policy": { "policy": "random" },
            "retries": 3,
            "try_interval": "1ms",
        },
        // One that was killed is not asked at once again.
        "health_checks": { "passive": { "fail_duration": "2s", "max_fails": 1 } },
        "transport": { "protocol": "http", "dial_timeout": "2s" },
    });
    let server = |listen: Vec<String>, tls: Value| {
        json!({
            "listen": listen,
            "protocols": ["h1", "h2", "h2c"],
            "automatic_https": { "disable": true },
            "routes": [{ "handle": [proxy] }],
            "tls_connection_policies": tls,
        })
    };
    let plain = vec![doors.plain.to_string(), doors.http2.to_string()];
    let files = json!([{
        "certificate": certificate.certificate,
        "key": certificate.key,
    }]);
    json!({
        "admin": {
            "listen": format!("unix/{}", folder.join("socket").display()),
            "origins": [HOST],
            "config": { "persist": false },
        },
        "logging": { "logs": { "default": { "writer": { "output": "discard" } } } },
        "apps": {
            "tls": { "certificates": { "load_files": files } },
            "http": { "servers": {
                "plain": server(plain, Value::Null),
                "secure": server(vec![doors.tls.to_string()], json!([{ "alpn": ["h2"] }])),
            } },
        },
    })
}

/// Caddy 2.6 knows no weights: an instance stands there as often as it has percents.
fn upstreams(fleet: &Fleet) -> Vec<Value> {
    let mut found = Vec::new();
    for (version, share) in fleet.shares.into_iter().enumerate() {
        let count = u32::try_from(fleet.of(version).count()).unwrap_or(1).max(1);
        for member in fleet.of(version) {
            let times = usize::try_from(share * 2 / count).unwrap_or_default();
            let upstream = json!({ "dial": member.address.to_string() });
            found.extend(std::iter::repeat_n(upstream, times));
        }
    }
    found
}

#[async_trait]
impl Subject for Caddy {
    fn doors(&self) -> Doors {
        self.doors.clone()
    }

    async fn publish(&mut self, fleet: &Fleet) -> Result<(), Failure> {
        let whole =
            configuration(self.folder.path(), &self.doors, &self.certificate, fleet).to_string();
        self.told("POST", "/load", &whole).await
    }

    /// Former servers are in no list of Caddy's own; their connections are in the system's.
    async fn has_forgotten(&mut self, member: &Member) -> Result<bool, Failure> {
        if self.leaving.entry(member.number).or_insert_with(Instant::now).elapsed() > GRACE {
            return Ok(true);
        }
        let connections = fs::read_to_string("/proc/net/tcp")?;
        let port = format!(":{:04X}", member.address.port());
        Ok(!connections.lines().skip(1).any(|line| {
            let mut columns = line.split_whitespace().skip(2);
            let (remote, state) = (columns.next(), columns.next());
            remote.is_some_and(|remote| remote.ends_with(&port)) && state == Some(ESTABLISHED)
        }))
    }

    async fn lose_publisher(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn upgrade(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn end(&mut self) -> Result<(), Failure> {
        self.process.signal(Signal::TERM)?;
        self.process.ended().await.map(|_| ())
    }
}
