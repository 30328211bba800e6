//! `tidegate history`.

use crate::{
    arguments::History, context::Context, exit::Exit, fault::Fault, follow, project, render,
};

pub(crate) async fn run(context: &Context, arguments: &History) -> Result<Exit, Fault> {
    let client = context.client();
    let health = client.health().await?;
    let scope = project::scope(context, arguments.place.environment.as_deref()).await?;
    let rows = client.deployments(Some(&scope), None, arguments.number).await?;
    if context.json {
        context.print_json("deployments", &rows);
        return Ok(Exit::Done);
    }
    let (width, _) = follow::size();
    context.print(render::history::render(&rows, width, health.now, context.style).join("\n"));
    Ok(Exit::Done)
}
