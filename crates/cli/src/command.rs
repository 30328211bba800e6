//! One file for each command.

mod check;
mod control;
mod demo;
mod deploy;
mod doctor;
mod down;
mod explain;
mod history;
mod init;
mod logs;
mod plan;
mod proxy;
mod rollback;
mod schema;
pub(crate) mod serve;
mod shim;
mod simulate;
mod status;
mod up;
pub(crate) mod version;
mod watch;

use std::io::{self, Write as _};

use tidegate_engine::Verb;

use crate::{
    arguments::{Arguments, Command},
    context::Context,
    exit::Exit,
    fault::Fault,
    style::Style,
};

/// Runs the command and reports its fault.
pub(crate) fn run(arguments: Arguments) -> Result<Exit, Exit> {
    let context = Context::new(&arguments.global).map_err(|fault| {
        let _ = writeln!(io::stderr(), "{}", fault.render(Style::plain()).join("\n"));
        fault.exit
    })?;
    dispatch(&context, arguments.command).map_err(|fault| {
        context.report(&fault);
        fault.exit
    })
}

fn dispatch(context: &Context, command: Command) -> Result<Exit, Fault> {
    match command {
        Command::Init => wait(init::run(context)),
        Command::Demo(options) => wait(demo::run(context, &options)),
        Command::Up => wait(up::run(context)),
        Command::Down(arguments) => wait(down::run(context, &arguments)),
        Command::Doctor => wait(doctor::run(context)),
        Command::Check(arguments) => wait(check::run(context, &arguments)),
        Command::Plan(arguments) => wait(plan::run(context, &arguments)),
        Command::Simulate(arguments) => wait(simulate::run(context, &arguments)),
        Command::Deploy(arguments) => wait(deploy::run(context, &arguments)),
        Command::Status(arguments) => wait(status::run(context, &arguments)),
        Command::Watch(arguments) => wait(watch::run(context, &arguments)),
        Command::Logs(arguments) => wait(logs::run(context, &arguments)),
        Command::History(arguments) => wait(history::run(context, &arguments)),
        Command::Explain(arguments) => explain::run(context, &arguments),
        Command::Rollback(arguments) => wait(rollback::run(context, &arguments)),
        Command::Pause(arguments) => wait(control::run(context, &arguments, Verb::Pause)),
        Command::Resume(arguments) => wait(control::run(context, &arguments, Verb::Resume)),
        Command::Skip(arguments) => wait(control::run(context, &arguments, Verb::Skip)),
        Command::Abort(arguments) => wait(control::run(context, &arguments, Verb::Abort)),
        Command::Maintenance(arguments) => wait(control::maintenance(context, &arguments)),
        Command::Schema => Ok(schema::run(context)),
        Command::Serve(arguments) => serve::run(context, &arguments),
        Command::Proxy(arguments) => proxy::run(context, &arguments),
        Command::Shim(arguments) => shim::run(&arguments),
        Command::Version => Ok(version::run(context)),
    }
}

/// Runs a command that only asks and waits; one thread is enough for it.
fn wait(command: impl Future<Output = Result<Exit, Fault>>) -> Result<Exit, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Exit::Failed, "runtime", format!("cannot start: {error}")))?;
    runtime.block_on(command)
}
