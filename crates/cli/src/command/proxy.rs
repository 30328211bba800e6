//! `tidegate proxy`: the data plane.

use std::{
    fs::OpenOptions,
    num::NonZero,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tidegate_proxy::Options;

use crate::{
    arguments::{Proxy, ProxyAction},
    context::Context,
    control,
    exit::Exit,
    fault::Fault,
    teardown,
};

/// A proxy that has not taken over by then has a fault.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of its log that are shown when it does not.
const LOG_LINES: usize = 5;

pub(crate) fn run(context: &Context, arguments: &Proxy) -> Result<Exit, Fault> {
    if let Some(ProxyAction::Restart) = arguments.action {
        return restart(context);
    }
    super::serve::log(context.verbose);
    let home = teardown::proxy_folder(&context.home);
    let socket = teardown::proxy_socket(&context.home);
    let processors = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = arguments.workers.unwrap_or_else(processors);
    let take_over = arguments.take_over;
    tidegate_proxy::run(Options { home, socket, workers, take_over })
        .map_err(|error| Fault::new(Exit::Failed, "proxy", error.to_string()))?;
    Ok(Exit::Done)
}

/// Needs no control plane: one that runs finds the new proxy by itself.
fn restart(context: &Context) -> Result<Exit, Fault> {
    let Some(former) = teardown::proxy_process(&context.home) else {
        return Err(Fault::new(Exit::Refused, "proxy", "no proxy runs here").next("tidegate up"));
    };
    let mut child = start(context)?;
    let began = Instant::now();
    while teardown::proxy_process(&context.home) != Some(child.id()) {
        let ended = child.try_wait().is_ok_and(|status| status.is_some());
        if ended || began.elapsed() > PATIENCE {
            let what = format!("the new proxy did not take over; process {former} serves on");
            let log = teardown::proxy_folder(&context.home).join("proxy.log");
            let mut fault = Fault::new(Exit::Failed, "proxy", what)
                .next(format!("the whole log: {}", log.display()));
            fault.log = control::last_lines(&log, LOG_LINES);
            return Err(fault);
        }
        sleep(Duration::from_millis(5));
    }
    let process = child.id();
    if context.json {
        let answer = serde_json::json!({ "process": process, "former": former });
        context.print_json("restarted", &answer);
        return Ok(Exit::Done);
    }
    context.print(format!(
        "{} a new proxy serves (process {process}); no request was lost\n  the former one \
         (process {former}) ends with its last connection, within an hour",
        context.style.green("✔")
    ));
    Ok(Exit::Done)
}

fn start(context: &Context) -> Result<Child, Fault> {
    let failed = |error: std::io::Error| {
        Fault::new(Exit::Failed, "proxy", format!("the new proxy cannot be started: {error}"))
    };
    let log = teardown::proxy_folder(&context.home).join("proxy.log");
    let log = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
    Command::new(super::serve::executable()?)
        .args(["proxy", "--take-over", "--home"])
        .arg(&context.home)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        // A terminal's interrupt is not for it.
        .process_group(0)
        .spawn()
        .map_err(failed)
}
