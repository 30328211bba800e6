//! `tidegate proxy`, and the tables that are published to it.

use std::{net::SocketAddr, path::Path, time::Instant};

use tidegate_proxy::client::Client;
use tidegate_types::{
    CertificateFiles, Epoch, Gateway, Handling, InstanceId, Protocol, RevisionId, RouteRule, Share,
    Sticky, Tls,
    data_plane::{Endpoint, ProxyBackend, ProxyRoute, ProxyTable, Upstream},
};

use crate::{
    Failure,
    data_plane::{
        certificate::Pair,
        ground::{Ground, PATIENCE, Server, Side},
        rivals::Application,
    },
};

/// A running proxy, reachable by its control socket.
#[derive(Debug)]
pub(crate) struct Tidegate {
    pub(crate) client: Client,
    pub(crate) server: Server,
}

/// Starts the proxy with one worker.
pub(crate) async fn start(
    ground: &Ground,
    program: &Path,
    name: &str,
) -> Result<Tidegate, Failure> {
    let home = ground.path().join(name);
    let mut command = ground.command(Side::Proxy, program);
    command.arg("--home").arg(&home).args(["proxy", "--workers", "1"]);
    let server = ground.serve(name, command, &[])?;
    // Where the control plane puts it.
    let client = Client::new(home.join("proxy").join("control.sock"));
    let began = Instant::now();
    while let Err(error) = client.tables().await {
        if began.elapsed() > PATIENCE {
            return Err(format!("{name} does not answer: {error}").into());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(Tidegate { client, server })
}

/// Where it is reached, in plain and, with a certificate, by TLS.
pub(crate) async fn listen(
    tidegate: &Tidegate,
    application: &Application,
    certificate: Option<&Pair>,
) -> Result<(SocketAddr, Option<SocketAddr>), Failure> {
    let plain = split(tidegate, application, None).await?;
    Ok(match certificate {
        None => (plain, None),
        files => (plain, Some(split(tidegate, application, files).await?)),
    })
}

/// Where 90 % of the visitors go to one version and 10 % to the other, and stay there.
async fn split(
    tidegate: &Tidegate,
    application: &Application,
    certificate: Option<&Pair>,
) -> Result<SocketAddr, Failure> {
    let handling = Handling { sticky: Some(Sticky::Cookie), ..Handling::default() };
    let rule = RouteRule { handling, ..RouteRule::everything() };
    let route = ProxyRoute { rule, backends: both("web", application) };
    let (scope, gateway) = match certificate {
        None => ("bench/plain", Gateway::default()),
        Some(files) => {
            let certificate = files.certificate.clone();
            let pair = CertificateFiles { certificate, key: files.key.clone() };
            let tls = Some(Tls { certificates: vec![pair], ..Tls::default() }.into());
            ("bench/secure", Gateway { tls, ..Gateway::default() })
        }
    };
    let table = ProxyTable { gateway, ..table(scope, 1, vec![route]) };
    Ok(tidegate.client.publish(&table).await?.address)
}

/// Both versions of a component.
pub(crate) fn both(component: &str, application: &Application) -> Vec<ProxyBackend> {
    vec![
        backend(component, 1, 90, "stable", application.stable),
        backend(component, 2, 10, "candidate", application.candidate),
    ]
}

fn backend(
    component: &str,
    number: u32,
    percent: u32,
    role: &str,
    address: SocketAddr,
) -> ProxyBackend {
    let revision = RevisionId::new(format!("{component}@{number}"));
    let instance = InstanceId::of(&revision, 1);
    ProxyBackend {
        revision,
        share: Share::percent(percent),
        role: role.to_owned(),
        upstream: Upstream::Endpoints(vec![Endpoint {
            instance,
            address,
            check: None,
            protocol: Protocol::Http1,
            drain: None,
        }]),
    }
}

/// A table of a scope that has these routes.
pub(crate) fn table(scope: &str, epoch: u64, routes: Vec<ProxyRoute>) -> ProxyTable {
    ProxyTable {
        #[expect(clippy::expect_used, reason = "the scopes are written in this program")]
        scope: scope.parse().expect("a scope"),
        epoch: Epoch(epoch),
        membership: 0,
        gateway: Gateway::default(),
        routes,
    }
}
