//! `tidegate version`.

use crate::{context::Context, exit::Exit};

/// Of this binary.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn run(context: &Context) -> Exit {
    if context.json {
        context.print_json("version", &VERSION);
    } else {
        context.print(format!("tidegate {VERSION}"));
    }
    Exit::Done
}
