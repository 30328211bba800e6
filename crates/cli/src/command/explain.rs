//! `tidegate explain`.

use crate::{arguments::Explain, context::Context, exit::Exit, fault::Fault};

pub(crate) fn run(context: &Context, arguments: &Explain) -> Result<Exit, Fault> {
    let key = arguments.key.as_deref().unwrap_or_default();
    let text = tidegate_manifest::explain(key)
        .map_err(|unknown| Fault::new(Exit::Usage, "unknown-key", unknown.to_string()))?;
    if context.json {
        context.print_json("explanation", &serde_json::json!({ "key": key, "text": text }));
    } else {
        context.print(text);
    }
    Ok(Exit::Done)
}
