//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use tidegate_sim::forecast::{Fault, Rate};
use tidegate_types::{ComponentName, Duration, InvalidDuration, InvalidShare, Share};

/// Continuous delivery that goes back by itself.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true, infer_long_args = false)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Run as if started in this folder.
    #[arg(short = 'C', long, global = true, value_name = "FOLDER")]
    pub(crate) directory: Option<PathBuf>,
    /// Where Tidegate keeps its data [default: ~/.local/state/tidegate].
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_HOME",
        hide_env_values = true,
        value_name = "FOLDER"
    )]
    pub(crate) home: Option<PathBuf>,
    /// Answer with one JSON value on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No colour.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Say more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at this repository and write a first tidegate.yaml
    Init,
    /// See it work: a real project, a bad release, and the way back
    Demo(crate::demo::Options),
    /// Start the control plane in the background
    Up,
    /// Stop everything: instances, proxy and control plane
    Down(Down),
    /// Find out what is not as it should be
    Doctor,
    /// Check tidegate.yaml
    Check(Check),
    /// Show what a deployment would do
    Plan(Plan),
    /// Try the plan on bad versions: how often would it go back, and how soon?
    Simulate(Simulate),
    /// Deploy a commit
    Deploy(Deploy),
    /// Show what serves and what is under way
    Status(InEnvironment),
    /// Follow the deployment under way, or the next one
    Watch(Watch),
    /// Show the output of instances
    Logs(Logs),
    /// List deployments
    History(History),
    /// Explain a key of tidegate.yaml
    Explain(Explain),
    /// Go back to an earlier release
    Rollback(Rollback),
    /// Hold the deployment under way; guards keep watching
    Pause(InEnvironment),
    /// Let a paused deployment go on
    Resume(InEnvironment),
    /// End the present bake now
    Skip(InEnvironment),
    /// Make the deployment under way go back
    Abort(InEnvironment),
    /// Keep requests away from an environment and let them in again
    Maintenance(Maintenance),
    /// Print the JSON Schema of tidegate.yaml
    Schema,
    /// Run the control plane
    Serve(Serve),
    /// Run the data plane, or restart it without losing a request
    Proxy(Proxy),
    /// Run one command so that it outlives whoever started it
    #[command(hide = true)]
    Shim(Shim),
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct InEnvironment {
    /// Of this project, or `project/environment`; not needed when there is only one.
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Maintenance {
    /// Whether it begins or ends.
    pub(crate) switch: Switch,
    /// Of this project, or `project/environment`; not needed when there is only one.
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// A sentence for those who come, in place of the usual one.
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    /// Every request is answered with 503.
    On,
    /// Requests go to the application again.
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Stop the control plane only; instances and proxy serve on.
    #[arg(long)]
    pub(crate) keep_serving: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// In place of the repository's tidegate.yaml.
    pub(crate) file: Option<PathBuf>,
}

/// What is deployed.
#[derive(Debug, Args)]
pub(crate) struct Source {
    #[command(flatten)]
    pub(crate) place: InEnvironment,
    /// A branch, tag or commit [default: HEAD].
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) reference: Option<String>,
    /// Take the work tree as it is, uncommitted changes included.
    #[arg(long, conflicts_with = "reference")]
    pub(crate) dirty: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) source: Source,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    #[command(flatten)]
    pub(crate) place: InEnvironment,
    /// Take tidegate.yaml of this branch, tag or commit [default: that of the work tree].
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) reference: Option<String>,
    /// In place of the repository's tidegate.yaml.
    #[arg(long, value_name = "FILE", conflicts_with = "reference")]
    pub(crate) file: Option<PathBuf>,
    /// Requests to each component that takes some.
    #[arg(long, value_name = "RATE", default_value = "20/s")]
    pub(crate) rate: Rate,
    /// The share of requests that fail also when all is well.
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = errors)]
    pub(crate) errors: Share,
    /// The latency that 95% of the requests do not exceed when all is well.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = latency)]
    pub(crate) p95: Duration,
    /// How often each fault is run, 1 to 10000.
    #[arg(long, value_name = "NUMBER", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) runs: u32,
    /// Only this one, and `healthy`; may be repeated [default: all that can show].
    #[arg(long = "fault", value_name = "NAME")]
    pub(crate) faults: Vec<Fault>,
    /// The component whose new version is bad [default: the first that takes requests].
    #[arg(long, value_name = "NAME")]
    pub(crate) component: Option<ComponentName>,
    /// Of what is drawn: the same gives the same.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
}

fn errors(text: &str) -> Result<Share, String> {
    let share: Share = text.parse().map_err(|error: InvalidShare| error.to_string())?;
    if share == Share::ALL {
        return Err("when all requests fail nothing is well: write less than 100%".to_owned());
    }
    Ok(share)
}

fn latency(text: &str) -> Result<Duration, String> {
    let duration: Duration = text.parse().map_err(|error: InvalidDuration| error.to_string())?;
    if duration.is_zero() || duration > Duration::from_hours(1) {
        return Err(format!("`{text}` is no latency: write 1ms to 1h, as in `200ms`"));
    }
    Ok(duration)
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// How long a deployment is followed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wait {
    /// Do not follow it.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Follow it for so long at most, as in `10m`; it goes on all the same.
    #[arg(long, value_name = "TIME", conflicts_with = "no_wait")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) place: InEnvironment,
    /// End with the exit code of the deployment.
    #[arg(long)]
    pub(crate) exit_status: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Of this component only.
    pub(crate) component: Option<String>,
    /// In this environment.
    #[arg(short, long = "env", value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// Go on with new lines until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// So many lines of each instance.
    #[arg(short = 'n', long, default_value_t = 50, value_name = "NUMBER")]
    pub(crate) lines: usize,
    /// Of this release only, by id or version.
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) place: InEnvironment,
    /// So many deployments.
    #[arg(short = 'n', long, default_value_t = 20, value_name = "NUMBER")]
    pub(crate) number: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// As in `components.api.health`, or its last part alone; all keys when absent.
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) place: InEnvironment,
    /// This release, by id or version [default: the verified one before the present one].
    #[arg(long, value_name = "RELEASE")]
    pub(crate) to: Option<String>,
    /// Take a release that never finished a bake there.
    #[arg(long, requires = "to")]
    pub(crate) unverified: bool,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Leave the session and the folder of whoever started it.
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Proxy {
    #[command(subcommand)]
    pub(crate) action: Option<ProxyAction>,
    /// How many threads answer requests; one for each processor when absent.
    #[arg(long)]
    pub(crate) workers: Option<usize>,
    /// Take the place of the proxy that runs here without losing a request; fails when none runs.
    #[arg(long)]
    pub(crate) take_over: bool,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ProxyAction {
    /// Put a new proxy in the place of the one that runs; no request is lost
    Restart,
}

#[derive(Debug, Args)]
pub(crate) struct Shim {
    /// The job's folder.
    pub(crate) folder: PathBuf,
}
