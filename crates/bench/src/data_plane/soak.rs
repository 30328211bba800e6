//! Whether the proxy's memory grows: much of what comes to it in a day, in a few minutes.

mod application;
mod clients;

use std::{
    env,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};
use tidegate_types::{
    CertificateFiles, Gateway, InstanceId, Protocol, RevisionId, RouteRule, Share, Tls,
    data_plane::{Endpoint, ProxyBackend, ProxyRoute, ProxyTable, Upstream},
};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use self::{
    application::Instance,
    clients::{Clients, Counts, Kind},
};
use crate::{
    Failure,
    data_plane::{
        built, cpu,
        figure::{Bounds, Figures},
        ground::{Ground, write},
        tidegate::{self, Tidegate},
    },
    say,
};

/// How long, in minutes.
const MINUTES: &str = "SOAK_MINUTES";
const DEFAULT_MINUTES: f64 = 4.0;
const PARTS: usize = 10;
/// Between two tables.
const PUBLISHING: Duration = Duration::from_secs(1);
/// Each so many tables an instance is replaced.
const REPLACING: u64 = 10;
const BOUNDS: Bounds = Bounds { least: 2.0, aim: 2.0 };
/// The host in the certificate.
const HOST: &str = "localhost";

pub(super) async fn measure(figures: &mut Figures) -> Result<(), Failure> {
    let minutes = env::var(MINUTES).ok().map(|minutes| minutes.parse::<f64>()).transpose()?;
    let minutes = minutes.unwrap_or(DEFAULT_MINUTES);
    let whole = Duration::try_from_secs_f64(minutes * 60.0)?;
    say(&format!("soak: {minutes} minutes ({MINUTES}=60 for another time)"));
    let ground = Ground::new()?;
    let proxy = tidegate::start(&ground, &built()?, "tidegate").await?;
    let (tls, trust) = certificate(&ground)?;
    let mut stage = Stage::new(proxy, tls).await?;
    let (plain, secure) = stage.publish().await?;
    let counts = Arc::new(Counts::default());
    let mut clients = Clients::start(plain, secure, &trust, &counts);

    let began = Instant::now();
    let mut resident = Vec::with_capacity(PARTS);
    let mut pace = interval(PUBLISHING);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for part in 1..=PARTS {
        let end = began + whole.mul_f64(f64::from(u32::try_from(part)?) / 10.0);
        while Instant::now() < end {
            tokio::select! {
                _ = pace.tick() => stage.next().await?,
                () = sleep_until(end.into()) => {}
                failed = clients.failed() => return Err(failed),
            }
        }
        let (now, _) = cpu::memory(stage.proxy.server.pid())?;
        say(&format!("soak: {part} of {PARTS}: {now:.2} MiB, {}", counts.told()));
        resident.push(now);
    }
    drop(clients);

    let growth = resident[PARTS - 1] - resident[1];
    figures.value("growth of resident memory, 2nd to 10th tenth", Some(BOUNDS), "MiB", growth);
    let mut parts = String::new();
    for part in &resident {
        write!(parts, "{part:.1} ")?;
    }
    figures.text("… MiB after each tenth", parts.trim_end());
    figures.text(&format!("… in {minutes} minutes"), &counts.told());
    figures.text("… tables, instances replaced", &stage.told());
    // What failed makes a figure about something else.
    let failed = counts.failed.load(Relaxed);
    figures.text("… exchanges that failed", &failed.to_string());
    for kind in Kind::ALL {
        if counts.of(kind) == 0 {
            return Err(format!("no exchange of {kind:?} was completed").into());
        }
    }
    Ok(())
}

/// The proxy and what it was told.
struct Stage {
    proxy: Tidegate,
    tls: CertificateFiles,
    /// Two versions, two instances each.
    instances: Vec<(RevisionId, u32, Instance)>,
    /// It has left the table, and may have something in flight still.
    leaving: Option<Instance>,
    epoch: u64,
    replaced: u32,
}

impl Stage {
    async fn new(proxy: Tidegate, tls: CertificateFiles) -> Result<Self, Failure> {
        let mut instances = Vec::new();
        for (number, version) in (1..).zip([1, 2, 1, 2]) {
            let revision = RevisionId::new(format!("web@{version}"));
            instances.push((revision, number, Instance::start().await?));
        }
        Ok(Self { proxy, tls, instances, leaving: None, epoch: 0, replaced: 0 })
    }

    async fn next(&mut self) -> Result<(), Failure> {
        if self.epoch.is_multiple_of(REPLACING) {
            let (revision, number, oldest) = self.instances.remove(0);
            self.instances.push((revision, number + 4, Instance::start().await?));
            self.replaced += 1;
            // The one before has had the time of ten tables to end.
            self.leaving = Some(oldest);
        }
        self.publish().await.map(|_| ())
    }

    /// Where it is reached, in plain and by TLS.
    async fn publish(&mut self) -> Result<(SocketAddr, SocketAddr), Failure> {
        self.epoch += 1;
        let candidate = [10, 50, 90][usize::try_from(self.epoch % 3)?];
        let backends = vec![
            self.backend("web@1", "stable", 100 - candidate),
            self.backend("web@2", "candidate", candidate),
        ];
        let route = ProxyRoute { rule: RouteRule::everything(), backends };
        let table = |scope| tidegate::table(scope, self.epoch, vec![route.clone()]);
        let plain = self.proxy.client.publish(&table("soak/plain")).await?.address;
        let tls = Tls { certificates: vec![self.tls.clone()], ..Tls::default() };
        let gateway = Gateway { tls: Some(tls.into()), ..Gateway::default() };
        let secure = ProxyTable { gateway, ..table("soak/secure") };
        let secure = self.proxy.client.publish(&secure).await?.address;
        Ok((plain, secure))
    }

    fn backend(&self, revision: &str, role: &str, percent: u32) -> ProxyBackend {
        let of_revision = self.instances.iter().filter(|(one, ..)| one.as_str() == revision);
        let endpoint = |(revision, number, instance): &(RevisionId, u32, Instance)| Endpoint {
            instance: InstanceId::of(revision, *number),
            address: instance.address,
            check: None,
            protocol: Protocol::Http1,
            drain: None,
        };
        ProxyBackend {
            revision: RevisionId::new(revision),
            share: Share::percent(percent),
            role: role.to_owned(),
            upstream: Upstream::Endpoints(of_revision.map(endpoint).collect()),
        }
    }

    fn told(&self) -> String {
        format!("{} of each of two scopes, {}", self.epoch, self.replaced)
    }
}

/// A certificate that signs itself, and who trusts it.
fn certificate(ground: &Ground) -> Result<(CertificateFiles, Arc<ClientConfig>), Failure> {
    let key = rcgen::KeyPair::generate()?;
    let made = rcgen::CertificateParams::new(vec![HOST.to_owned()])?.self_signed(&key)?;
    let at = |name: &str| ground.path().join(name);
    let files = CertificateFiles { certificate: at("soak.crt"), key: at("soak.key") };
    write(&files.certificate, made.pem())?;
    write(&files.key, key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.der().to_vec()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((files, Arc::new(config)))
}
