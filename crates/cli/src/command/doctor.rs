//! `tidegate doctor`.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tidegate_engine::EnvironmentView;
use tidegate_proxy::client::Client as ProxyClient;
use tidegate_server::{api::Health, client::Error};
use tidegate_types::Listen;

use crate::{
    certificates::{self, State},
    command::version::VERSION,
    context::{Context, short},
    exit::Exit,
    fault::Fault,
    project::{self, Project},
    render::table::table,
    teardown,
};

/// Less space than this is worth a warning.
const SPACE: u64 = 1 << 30;
/// The engine's time and the wall clock may differ by so many milliseconds.
const DRIFT: i64 = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Grade {
    Pass,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    grade: Grade,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

fn pass(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, grade: Grade::Pass, found: found.into(), remedy: None }
}

fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { check, grade: Grade::Warn, found: found.into(), remedy: Some(remedy.into()) }
}

fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { check, grade: Grade::Fail, found: found.into(), remedy: Some(remedy.into()) }
}

pub(crate) async fn run(context: &Context) -> Result<Exit, Fault> {
    let project = project::here(context).await;
    let health = context.client().health().await;
    let views = context.client().environments(None).await.unwrap_or_default();
    let mut findings = vec![git()];
    findings.extend(repository(context, &project));
    findings.push(home(&context.home));
    findings.extend(space(&context.home));
    findings.push(control_plane(context, &health));
    findings.push(proxy(context, &views).await);
    if let Ok(project) = &project {
        findings.extend(ports(project, &views));
        findings.extend(certificates(project, &context.home));
    }
    findings.extend(health.ok().map(|health| clock(&health)));
    let failed = findings.iter().any(|finding| finding.grade == Grade::Fail);
    if context.json {
        context.print_json("checks", &findings);
    } else {
        context.print(render(context, &findings).join("\n"));
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn render(context: &Context, findings: &[Finding]) -> Vec<String> {
    let style = context.style;
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            let grade = match finding.grade {
                Grade::Pass => style.green("PASS"),
                Grade::Warn => style.yellow("WARN"),
                Grade::Fail => style.red("FAIL"),
            };
            vec![grade, finding.check.to_owned(), finding.found.clone()]
        })
        .collect();
    let mut lines = Vec::new();
    for (line, finding) in table(&rows).into_iter().zip(findings) {
        lines.push(line);
        lines.extend(finding.remedy.iter().map(|remedy| format!("      → {remedy}")));
    }
    lines
}

fn git() -> Finding {
    match Command::new("git").arg("--version").output() {
        Ok(output) if output.status.success() => {
            pass("git", String::from_utf8_lossy(&output.stdout).trim())
        }
        Ok(_) => fail("git", "git does not run", "try `git --version`"),
        Err(error) => fail("git", error.to_string(), "install git"),
    }
}

fn repository(context: &Context, project: &Result<Project, Fault>) -> Vec<Finding> {
    match project {
        Ok(project) => {
            let mut findings = vec![pass("repository", short(&project.root))];
            findings.push(match project::of_work_tree(context, project.root.clone()) {
                Ok(found) => pass("manifest", format!("project {}", found.manifest.project)),
                Err(fault) => fail("manifest", fault.what.clone(), "tidegate check"),
            });
            findings
        }
        Err(fault) if fault.code == "git" => {
            vec![warn("repository", fault.what.clone(), "run it in the repository of a project")]
        }
        Err(fault) => {
            let remedy =
                if fault.code == "no-manifest" { "tidegate init" } else { "tidegate check" };
            vec![fail("manifest", fault.what.clone(), remedy)]
        }
    }
}

/// The nearest folder that is there.
fn existing(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|path| path.is_dir())
        .map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

fn home(home: &Path) -> Finding {
    use rustix::fs::{Access, access};
    let place = existing(home);
    match access(&place, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => pass("home", short(home)),
        Err(error) => fail(
            "home",
            format!("{} cannot be written: {error}", place.display()),
            "make it writable, or choose another with --home or TIDEGATE_HOME",
        ),
    }
}

fn space(home: &Path) -> Option<Finding> {
    let stat = rustix::fs::statvfs(existing(home)).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!("{} GiB free", free >> 30);
    Some(if free < SPACE {
        warn("disk", found, "free some space: builds and artifacts go to the home")
    } else {
        pass("disk", found)
    })
}

fn control_plane(context: &Context, health: &Result<Health, Error>) -> Finding {
    match health {
        Ok(health) if health.version == VERSION => {
            pass("control plane", format!("up, process {}, version {VERSION}", health.pid))
        }
        Ok(health) => warn(
            "control plane",
            format!("version {}, this is {VERSION}", health.version),
            "tidegate down --keep-serving && tidegate up",
        ),
        Err(Error::Unreachable { .. }) if !context.home.join(teardown::STORE).exists() => {
            pass("control plane", "not started yet; the first `tidegate deploy` starts it")
        }
        Err(Error::Unreachable { .. }) => warn("control plane", "not up", "tidegate up"),
        Err(error) => fail("control plane", error.to_string(), "tidegate up"),
    }
}

async fn proxy(context: &Context, views: &[EnvironmentView]) -> Finding {
    let needed = views.iter().any(|view| view.address.is_some());
    match ProxyClient::new(teardown::proxy_socket(&context.home)).tables().await {
        Ok(tables) => {
            let deaf: Vec<String> = tables
                .iter()
                .filter(|served| served.address.is_none())
                .map(|served| served.table.scope.to_string())
                .collect();
            if deaf.is_empty() {
                pass("proxy", format!("up, serves {} environments", tables.len()))
            } else {
                fail(
                    "proxy",
                    format!("it cannot listen for {}", deaf.join(", ")),
                    "find out who has the port, end it, then deploy again",
                )
            }
        }
        Err(_) if !needed => pass("proxy", "not needed yet"),
        Err(error) => fail("proxy", error.to_string(), "tidegate up starts it again"),
    }
}

fn ports(project: &Project, views: &[EnvironmentView]) -> Vec<Finding> {
    let ours: Vec<&str> = views.iter().filter_map(|view| view.address.as_deref()).collect();
    project
        .manifest
        .environments
        .iter()
        .filter_map(|environment| match environment.gateway.listen {
            Listen::Address(address) => Some((environment, address)),
            Listen::Automatic => None,
        })
        .map(|(environment, address)| {
            let name = &environment.name;
            if ours.contains(&address.to_string().as_str()) {
                return pass("port", format!("{address} of {name} is ours"));
            }
            match free(address) {
                Ok(()) => pass("port", format!("{address} of {name} is free")),
                Err(error) => fail(
                    "port",
                    format!("{address} of {name}: {error}"),
                    "end what has it, or change `listen` of the environment",
                ),
            }
        })
        .collect()
}

fn certificates(project: &Project, home: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for environment in &project.manifest.environments {
        let Some(tls) = &environment.gateway.tls else {
            continue;
        };
        let mut add = |state, renew, mend| {
            let of = |what| format!("{}: {what}", environment.name);
            findings.push(match state {
                State::Good(what) => pass("tls", of(what)),
                State::Doubtful(what) => warn("tls", of(what), renew),
                State::Bad(what) => fail("tls", of(what), mend),
            });
        };
        for files in &tls.certificates {
            add(
                certificates::of_files(files),
                "renew it: the new file is read within a second and needs no deployment",
                "mend the files, or change `tls` of the environment",
            );
        }
        for state in certificates::of_orders(home, tls) {
            add(
                state,
                "the proxy orders it once the environment is deployed, and tries again by itself",
                "mend that; the proxy tries again by itself, and `tidegate proxy restart` at once",
            );
        }
    }
    findings
}

fn free(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn clock(health: &Health) -> Finding {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let wall = i64::try_from(wall).unwrap_or(i64::MAX);
    let drift = wall.saturating_sub(health.now.as_millis());
    if drift.abs() <= DRIFT {
        return pass("clock", "the engine's time is the wall clock's");
    }
    let direction = if drift > 0 { "behind" } else { "ahead of" };
    warn(
        "clock",
        format!("the engine's time is {} s {direction} the wall clock", drift.abs() / 1_000),
        "the wall clock was set while the engine ran; bakes and deadlines are not affected, and \
         the next boot brings both together",
    )
}
