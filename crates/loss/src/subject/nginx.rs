//! nginx: every change is a new configuration, read by new workers; the old ones end with their
//! connections.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    path::Path,
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

pub(super) struct Nginx {
    process: Process,
    doors: Doors,
    certificate: CertificateFiles,
    in_force: Fleet,
    /// Workers that knew an instance that is gone.
    knowing: HashMap<u32, Vec<u32>>,
    folder: TempDir,
}

impl Nginx {
    pub(super) async fn start(executable: &Path, fleet: &Fleet) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("tg-loss-").tempdir()?;
        let (certificate, trust) = door::certificate(folder.path())?;
        let [plain, http2, tls] = free()?;
        let doors = Doors { plain, http2, tls, trust };
        write(folder.path(), &doors, &certificate, fleet)?;
        let mut command = Command::new(executable);
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start("nginx", &mut command)?;
        let mut started = Self {
            process,
            doors,
            certificate,
            in_force: fleet.clone(),
            knowing: HashMap::new(),
            folder,
        };
        started.renewed(&[]).await?;
        Ok(started)
    }

    fn workers(&self) -> Vec<u32> {
        let pid = self.process.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Waits until there are workers that are not of these, and the others have been told to end.
    async fn renewed(&mut self, before: &[u32]) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let workers = self.workers();
            let is_new = workers.iter().filter(|pid| !before.contains(pid)).count() >= WORKERS;
            let are_told = workers.iter().filter(|pid| before.contains(pid)).all(|pid| ends(*pid));
            if is_new && are_told {
                return Ok(());
            }
            self.process.still_runs()?;
            if Instant::now() > deadline {
                return Err("nginx does not read its configuration".into());
            }
            tokio::time::sleep(TICK).await;
        }
    }
}

const WORKERS: usize = 2;

/// Whether a worker says that it is about to end, or has ended.
fn ends(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.is_empty() || String::from_utf8_lossy(&line).contains("shutting down")
}

fn write(
    folder: &Path,
    doors: &Doors,
    certificate: &CertificateFiles,
    fleet: &Fleet,
) -> Result<(), Failure> {
    let mut text = format!(
        "daemon off;\nuser root;\nworker_processes {WORKERS};\npid {0}/nginx.pid;\nerror_log {0}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {0}/body;\n  proxy_temp_path {0}/proxy;\n\
         fastcgi_temp_path {0}/fastcgi;\n  uwsgi_temp_path {0}/uwsgi;\n  scgi_temp_path {0}/scgi;\n\
         map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n",
        folder.display()
    );
    for version in 0..2 {
        writeln!(text, "  upstream app{version} {{")?;
        for member in fleet.of(version) {
            writeln!(text, "    server {};", member.address)?;
        }
        writeln!(text, "    keepalive 64;\n  }}")?;
    }
    // No place for a share of nothing.
    let pool = match fleet.shares {
        [100, _] => "map $request_id $pool { default app0; }".to_owned(),
        [0, _] => "map $request_id $pool { default app1; }".to_owned(),
        [first, _] => format!("split_clients $request_id $pool {{ {first}% app0; * app1; }}"),
    };
    writeln!(
        text,
        "  {pool}\n  server {{\n    listen {}; listen {} http2; listen {} ssl http2;\n\
         ssl_certificate {}; ssl_certificate_key {};\n\
         location / {{\n      proxy_pass http://$pool;\n      proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade;\n\
         proxy_set_header Connection $connection_upgrade;\n    }}\n  }}\n}}",
        doors.plain,
        doors.http2,
        doors.tls,
        certificate.certificate.display(),
        certificate.key.display(),
    )?;
    fs::write(folder.join("nginx.conf"), text)?;
    Ok(())
}

#[async_trait]
impl Subject for Nginx {
    fn doors(&self) -> Doors {
        self.doors.clone()
    }

    async fn publish(&mut self, fleet: &Fleet) -> Result<(), Failure> {
        write(self.folder.path(), &self.doors, &self.certificate, fleet)?;
        let before = self.workers();
        for gone in self.in_force.members.iter().filter(|member| !fleet.members.contains(member)) {
            self.knowing.insert(gone.number, before.clone());
        }
        self.process.signal(Signal::HUP)?;
        self.renewed(&before).await?;
        self.in_force = fleet.clone();
        Ok(())
    }

    async fn has_forgotten(&mut self, member: &Member) -> Result<bool, Failure> {
        let workers = self.workers();
        let knowing = self.knowing.get(&member.number).map(Vec::as_slice).unwrap_or_default();
        Ok(!knowing.iter().any(|pid| workers.contains(pid)))
    }

    async fn lose_publisher(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn upgrade(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn end(&mut self) -> Result<(), Failure> {
        self.process.signal(Signal::QUIT)?;
        self.process.ended().await.map(|_| ())
    }
}
