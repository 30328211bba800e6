//! `tidegate schema`.

use crate::{context::Context, exit::Exit};

pub(crate) fn run(context: &Context) -> Exit {
    // The schema is the answer itself, for editors: nothing is put around it.
    let schema = tidegate_manifest::json_schema();
    context.print(serde_json::to_string_pretty(&schema).unwrap_or_default());
    Exit::Done
}
