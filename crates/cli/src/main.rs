//! `tidegate`: one binary for the command line, the control plane, the data plane and the shim.

mod arguments;
mod certificates;
mod command;
mod context;
mod control;
mod demo;
mod deployment;
mod exit;
mod fault;
mod follow;
mod project;
mod render;
mod style;
mod teardown;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{arguments::Arguments, exit::Exit};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, everything else is a mistake of the caller.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let (Ok(exit) | Err(exit)) = command::run(arguments);
    exit.into()
}
