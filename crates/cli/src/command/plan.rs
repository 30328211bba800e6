//! `tidegate plan`.

use crate::{arguments::Plan, context::Context, control, exit::Exit, fault::Fault};

pub(crate) async fn run(context: &Context, arguments: &Plan) -> Result<Exit, Fault> {
    let request = super::deploy::request(context, &arguments.source).await?;
    let (client, ..) = control::ensure(context).await?;
    context.talk("the release is built now, unless it was before …");
    let planned = client.plan(request).await?;
    if context.json {
        context.print_json("plan", &planned.plan);
    } else {
        context.print(planned.text);
    }
    Ok(Exit::Done)
}
