//! `tidegate pause`, `resume`, `skip` and `abort`.

use tidegate_engine::Verb;
use tidegate_server::api::Word;

use crate::{
    arguments::InEnvironment,
    context::{Context, actor},
    control,
    exit::Exit,
    fault::Fault,
    project,
};

pub(crate) async fn run(
    context: &Context,
    arguments: &InEnvironment,
    verb: Verb,
) -> Result<Exit, Fault> {
    let (client, ..) = control::ensure(context).await?;
    let scope = project::scope(context, arguments.environment.as_deref()).await?;
    let view = client.environment(&scope).await?;
    // The deployment that is meant is the one that is seen: should it end meanwhile, the word must
    // not reach the next one.
    let seen = view.deployment.as_ref().map(|deployment| deployment.id);
    // The same for the bake that is skipped.
    let place = view.deployment.as_ref().and_then(|deployment| deployment.place);
    let place = place.filter(|_| verb == Verb::Skip);
    let word = Word { deployment: seen, place, actor: actor() };
    if let Err(error) = client.command(&scope, verb, &word).await {
        return Err(super::deploy::in_the_way(&client, &scope, error.into()).await);
    }
    let environment = &scope.environment;
    let id = seen.map(|id| format!(" {id}")).unwrap_or_default();
    if context.json {
        let answer = serde_json::json!({ "verb": verb, "scope": scope, "deployment": seen });
        context.print_json("done", &answer);
        return Ok(Exit::Done);
    }
    let sentence = match verb {
        Verb::Pause => {
            format!("deployment{id} takes no further step; guards keep watching and still go back")
        }
        Verb::Resume => format!("deployment{id} goes on"),
        Verb::Skip => format!("deployment{id} goes on without the rest of the bake"),
        Verb::Abort => format!("deployment{id} goes back to what served before"),
    };
    context.print(format!("{} {sentence}", context.style.green("✔")));
    let next = if verb == Verb::Pause { "resume" } else { "watch" };
    context.print(format!("  next    tidegate {next} {environment}"));
    Ok(Exit::Done)
}
