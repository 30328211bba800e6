//! `tidegate proxy`: the data plane.

use std::num::NonZero;

use tidegate_proxy::Options;

use crate::{arguments::Proxy, context::Context, exit::Exit, fault::Fault, teardown};

pub(crate) fn run(context: &Context, arguments: &Proxy) -> Result<Exit, Fault> {
    super::serve::log(context.verbose);
    let home = teardown::proxy_folder(&context.home);
    let socket = teardown::proxy_socket(&context.home);
    let processors = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = arguments.workers.unwrap_or_else(processors);
    tidegate_proxy::run(Options { home, socket, workers })
        .map_err(|error| Fault::new(Exit::Failed, "proxy", error.to_string()))?;
    Ok(Exit::Done)
}
