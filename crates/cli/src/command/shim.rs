//! `tidegate shim`: parents one command.

use crate::{arguments::Shim, exit::Exit, fault::Fault};

pub(crate) fn run(arguments: &Shim) -> Result<Exit, Fault> {
    tidegate_shim::main(&arguments.folder)
        .map_err(|error| Fault::new(Exit::Failed, "shim", error.to_string()))?;
    Ok(Exit::Done)
}
