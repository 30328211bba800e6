//! `tidegate status`.

use tidegate_server::client::Error;

use crate::{
    arguments::InEnvironment, certificates, context::Context, exit::Exit, fault::Fault, follow,
    project, render,
};

pub(crate) async fn run(context: &Context, arguments: &InEnvironment) -> Result<Exit, Fault> {
    let client = context.client();
    let asked = arguments.environment.as_deref();
    let mut views = if asked.is_some() {
        let scope = project::scope(context, asked).await?;
        match client.environment(&scope).await {
            Ok(view) => vec![view],
            Err(Error::Problem(problem)) if problem.status == 404 => {
                return Ok(nothing(context, &scope.to_string(), scope.environment.as_str()));
            }
            Err(error) => return Err(error.into()),
        }
    } else {
        // Out of any project everything in this home is shown.
        let here = project::here(context).await.ok();
        let name = here.as_ref().map(|project| &project.manifest.project);
        client.environments(name).await?
    };
    certificates::add_trouble(&context.home, &mut views).await;
    if context.json {
        context.print_json("environments", &views);
        return Ok(Exit::Done);
    }
    if views.is_empty() {
        return Ok(nothing(context, "this project", ""));
    }
    let (width, _) = follow::size();
    let mut lines = Vec::new();
    for view in &views {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(render::status::render(view, width, view.at, context.style));
    }
    context.print(lines.join("\n"));
    Ok(Exit::Done)
}

fn nothing(context: &Context, place: &str, environment: &str) -> Exit {
    if context.json {
        context.print_json("environments", &serde_json::json!([]));
    } else {
        context.print(format!("nothing was deployed to {place} yet"));
        context.print(format!("  next    tidegate deploy {environment}").trim_end());
    }
    Exit::Done
}
