//! `tidegate pause`, `resume`, `skip`, `abort` and `maintenance`.

use tidegate_engine::Verb;
use tidegate_server::{api::Word, client::Client};
use tidegate_types::Scope;

use crate::{
    arguments::{InEnvironment, Maintenance, Switch},
    context::{Context, actor},
    control,
    exit::Exit,
    fault::Fault,
    project,
};

/// How long the proxy may take to confirm.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

pub(crate) async fn run(
    context: &Context,
    arguments: &InEnvironment,
    verb: Verb,
) -> Result<Exit, Fault> {
    say(context, arguments.environment.as_deref(), verb, None).await
}

/// Keeps requests away, or lets them in again.
pub(crate) async fn maintenance(context: &Context, arguments: &Maintenance) -> Result<Exit, Fault> {
    let (verb, message) = match arguments.switch {
        Switch::On => (Verb::Maintenance, arguments.message.clone()),
        Switch::Off => (Verb::Live, None),
    };
    say(context, arguments.environment.as_deref(), verb, message).await
}

async fn say(
    context: &Context,
    environment: Option<&str>,
    verb: Verb,
    message: Option<String>,
) -> Result<Exit, Fault> {
    let (client, ..) = control::ensure(context).await?;
    let scope = project::scope(context, environment).await?;
    let view = client.environment(&scope).await?;
    // The deployment that is meant is the one that is seen: should it end meanwhile, the word must
    // not reach the next one. Maintenance is said of the environment, whatever is under way.
    let deployment =
        view.deployment.as_ref().filter(|_| !matches!(verb, Verb::Maintenance | Verb::Live));
    let seen = deployment.map(|deployment| deployment.id);
    // The same for the bake that is skipped.
    let place = deployment.and_then(|deployment| deployment.place);
    let place = place.filter(|_| verb == Verb::Skip);
    let word = Word { deployment: seen, place, message, actor: actor() };
    if let Err(error) = client.command(&scope, verb, &word).await {
        return Err(super::deploy::in_the_way(&client, &scope, error.into()).await);
    }
    let environment = &scope.environment;
    let confirmed = match verb {
        Verb::Maintenance | Verb::Live => confirmed(&client, &scope, verb).await?,
        Verb::Pause | Verb::Resume | Verb::Skip | Verb::Abort => true,
    };
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
        Verb::Maintenance => format!(
            "every new request to {environment} is answered with 503; instances and deployments go on"
        ),
        Verb::Live => format!("requests to {environment} go to the application again"),
    };
    context.print(format!("{} {sentence}", context.style.green("✔")));
    if !confirmed {
        let mark = context.style.yellow("!");
        context.print(format!(
            "{mark} the proxy has not confirmed it yet; it is said again until it does"
        ));
    }
    let next = match verb {
        Verb::Pause => "resume",
        Verb::Maintenance => "maintenance off",
        Verb::Live => "status",
        Verb::Resume | Verb::Skip | Verb::Abort => "watch",
    };
    context.print(format!("  next    tidegate {next} {environment}"));
    Ok(Exit::Done)
}

/// Waits until the proxy does as was said; false when it takes too long.
async fn confirmed(client: &Client, scope: &Scope, verb: Verb) -> Result<bool, Fault> {
    let mut views = client.watch(scope).await?;
    let wanted = verb == Verb::Maintenance;
    let follows = async {
        while let Some(view) = views.next().await? {
            if view.confirmed && view.maintenance.is_some() == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    };
    tokio::time::timeout(PATIENCE, follows).await.unwrap_or(Ok(false))
}
