//! Measures `tidegate proxy` beside nginx and `HAProxy`.
//!
//! One worker each, on a processor of its own; the application and who asks share another one. What
//! a request costs in processor time holds on a machine that does other things as well, which
//! requests per second do not.

mod asking;
mod certificate;
pub(crate) mod constant_rate;
mod cpu;
mod figure;
mod ground;
mod h2load;
pub(crate) mod idle;
mod load;
mod publishing;
mod requests;
mod rivals;
mod rounds;
mod soak;
mod tidegate;
mod visitors;
mod wrk;

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub(crate) use self::{cpu::mebibytes, figure::Figures};
use self::{
    ground::{Ground, find_or_say},
    h2load::H2load,
    load::Clients,
    rivals::{Application, Rival},
    tidegate::Tidegate,
    wrk::Wrk,
};
use crate::Failure;

/// Measure this build of Tidegate in the same rounds: to see what a change is worth.
const BESIDE: &str = "TIDEGATE_BENCH_BESIDE";

/// Everybody who is measured.
struct Field {
    ground: Ground,
    clients: Clients,
    /// Of a visitor that came before.
    cookie: String,
    subjects: Vec<Subject>,
    tidegate: Tidegate,
    _former: Option<Tidegate>,
    _rivals: Vec<Rival>,
    application: Application,
}

/// A proxy in a comparison.
struct Subject {
    name: &'static str,
    pid: u32,
    plain: SocketAddr,
    secure: Option<SocketAddr>,
}

impl Field {
    async fn new() -> Result<Option<Self>, Failure> {
        let (Some(nginx), Some(wrk)) = (
            find_or_say("nginx", "nginx-light", "the whole comparison"),
            find_or_say("wrk", "wrk", "the whole comparison"),
        ) else {
            return Ok(None);
        };
        let haproxy = find_or_say("haproxy", "haproxy", "the rows about HAProxy");
        let openssl = find_or_say("openssl", "openssl", "the rows about TLS and HTTP/2");
        let h2load = find_or_say("h2load", "nghttp2-client", "the rows about HTTP/2");
        let ground = Ground::new()?;
        let certificate =
            openssl.map(|openssl| certificate::make(&ground, &openssl)).transpose()?;
        let certificate = certificate.as_ref();
        let application = rivals::application(&ground, &nginx)?;
        let mut subjects = Vec::new();
        let mut add = |name, pid, plain, secure| {
            subjects.push(Subject { name, pid, plain, secure });
        };
        let tidegate = tidegate::start(&ground, &built()?, "tidegate").await?;
        let (plain, secure) = tidegate::listen(&tidegate, &application, certificate).await?;
        add("Tidegate", tidegate.server.pid(), plain, secure);
        let mut rivals = vec![rivals::nginx(&ground, &nginx, &application, certificate)?];
        add("nginx", rivals[0].server.pid(), rivals[0].plain, rivals[0].secure);
        if let Some(haproxy) = haproxy {
            let rival = rivals::haproxy(&ground, &haproxy, &application, certificate)?;
            add("HAProxy", rival.server.pid(), rival.plain, rival.secure);
            rivals.push(rival);
        }
        let former = match env::var_os(BESIDE) {
            None => None,
            Some(program) => {
                let former = tidegate::start(&ground, Path::new(&program), "former").await?;
                let (plain, secure) = tidegate::listen(&former, &application, certificate).await?;
                add("the other build", former.server.pid(), plain, secure);
                Some(former)
            }
        };
        let cookies = visitors::cookies(subjects[0].plain).await?;
        let script = visitors::script(&ground, &cookies)?;
        let cookie = cookies.into_iter().next().unwrap_or_default();
        let h2load = h2load.map(|program| H2load { program, cookie: cookie.clone() });
        Ok(Some(Self {
            ground,
            clients: Clients { wrk: Wrk { program: wrk, script }, h2load },
            cookie,
            subjects,
            tidegate,
            _former: former,
            _rivals: rivals,
            application,
        }))
    }
}

/// Measures everything, or only the parts that are named.
pub(crate) async fn measure(only: &[String], figures: &mut Figures) -> Result<(), Failure> {
    // Takes minutes and compares nothing: only when it is asked for.
    if only.iter().any(|only| only == "soak") {
        soak::measure(figures).await?;
        if only.len() == 1 {
            return Ok(());
        }
    }
    let Some(field) = Field::new().await? else { return Ok(()) };
    let wanted = |part: &str| only.is_empty() || only.iter().any(|only| only == part);
    if wanted("requests") {
        requests::measure(&field, figures).await?;
    }
    if only.iter().any(|only| only == "counting") {
        requests::counting(figures);
    }
    if wanted("publishing") {
        publishing::measure(&field, figures).await?;
    }
    if wanted("latency") {
        constant_rate::measure(&field, figures).await?;
    }
    if wanted("idle") {
        idle::measure(&field, figures).await?;
    }
    Ok(())
}

/// The binary that was built beside this one.
fn built() -> Result<PathBuf, Failure> {
    let own = env::current_exe()?;
    let path = own.parent().ok_or("this program is in no folder")?.join("tidegate");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{} is missing: run `make bench-proxy`", path.display()).into())
    }
}
