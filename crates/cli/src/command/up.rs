//! `tidegate up`.

use crate::{
    command::version::VERSION,
    context::{Context, short},
    control::{self, Up},
    exit::Exit,
    fault::Fault,
};

pub(crate) async fn run(context: &Context) -> Result<Exit, Fault> {
    let (_, health, up) = control::ensure(context).await?;
    if context.json {
        let started = up == Up::Started;
        let answer = serde_json::json!({ "started": started, "health": health });
        context.print_json("up", &answer);
        return Ok(Exit::Done);
    }
    let word = if up == Up::Started { "is up" } else { "was up already" };
    context.print(format!(
        "{} the control plane {word}: process {}, home {}",
        context.style.green("✔"),
        health.pid,
        short(&context.home)
    ));
    if health.version != VERSION {
        context.note(format!(
            "it is version {}, this is {VERSION}: `tidegate down --keep-serving && tidegate up` \
             renews it without touching what serves",
            health.version
        ));
    }
    Ok(Exit::Done)
}
