//! `tidegate deploy`.

use std::path::Path;

use tidegate_engine::{DeploymentRequest, Wish};
use tidegate_manifest::FILE_NAME;
use tidegate_release::git;
use tidegate_server::client::Client;
use tidegate_types::{DeploymentId, Scope};

use crate::{
    arguments::{Deploy, Source, Wait},
    context::{Context, actor},
    control, deployment,
    exit::Exit,
    fault::Fault,
    follow::{self, Followed},
    project,
};

pub(crate) async fn run(context: &Context, arguments: &Deploy) -> Result<Exit, Fault> {
    let mut request = request(context, &arguments.source).await?;
    request.reason.clone_from(&arguments.reason);
    let scope = request.scope.clone();
    let (client, ..) = control::ensure(context).await?;
    let id = match client.deploy(request).await {
        Ok(id) => id,
        Err(error) => return Err(in_the_way(&client, &scope, error.into()).await),
    };
    follow(context, &scope, id, &arguments.wait).await
}

/// What is asked for, with the commit pinned: a branch may move while it is prepared.
pub(crate) async fn request(
    context: &Context,
    source: &Source,
) -> Result<DeploymentRequest, Fault> {
    let root = git::root_of(&context.directory).await?;
    let asked = source.place.environment.as_deref();
    let (scope, reference) = if source.dirty {
        let project = project::of_work_tree(context, root.clone())?;
        (project::choose(&project.manifest, asked)?, "HEAD".to_owned())
    } else {
        let reference = source.reference.as_deref().unwrap_or("HEAD");
        let commit = git::resolve(&root, reference).await?;
        let project = project::of_commit(context, root.clone(), &commit).await?;
        if source.reference.is_none() {
            left_out(context, &root).await;
        }
        (project::choose(&project.manifest, asked)?, commit.hash)
    };
    Ok(DeploymentRequest {
        scope,
        wish: Wish::Commit { repository: root, reference, dirty: source.dirty },
        actor: actor(),
        reason: None,
    })
}

/// Says that the work tree holds more than the commit.
async fn left_out(context: &Context, root: &Path) {
    let changed = git::changed_files(root).await.unwrap_or(0);
    if changed == 0 {
        return;
    }
    let files = if changed == 1 { "1 changed file is" } else { "changed files are" };
    let number = if changed == 1 { String::new() } else { format!("{changed} ") };
    let broken = match std::fs::read(root.join(FILE_NAME)) {
        Ok(bytes) => tidegate_manifest::read_bytes(&bytes, FILE_NAME).is_err(),
        Err(_) => false,
    };
    let check = if broken {
        format!("; {FILE_NAME} in the work tree does not pass `tidegate check`")
    } else {
        String::new()
    };
    context.note(format!(
        "{number}{files} not committed and not part of this (--dirty takes them){check}"
    ));
}

/// A refusal with what serves now.
pub(crate) async fn in_the_way(client: &Client, scope: &Scope, mut fault: Fault) -> Fault {
    if fault.state.is_empty()
        && let Ok(view) = client.environment(scope).await
    {
        fault.state = crate::render::status::serves(&view);
    }
    fault.place.get_or_insert_with(|| scope.to_string());
    fault
}

/// Follows a deployment that was begun, and says how it ended.
pub(crate) async fn follow(
    context: &Context,
    scope: &Scope,
    id: DeploymentId,
    wait: &Wait,
) -> Result<Exit, Fault> {
    let environment = &scope.environment;
    if wait.no_wait {
        if context.json {
            context.print_json("deployment", &serde_json::json!({ "id": id, "scope": scope }));
        } else {
            context.print(format!("deployment {id} to {scope} has begun"));
            context.print(format!("  next    tidegate watch {environment}"));
        }
        return Ok(Exit::Done);
    }
    match follow::follow(context, scope, id, wait.timeout).await? {
        Followed::Ended(row, view) => deployment::report(context, &row, &view),
        Followed::Interrupted => {
            context.talk(format!("deployment {id} goes on without you"));
            context.talk(format!("  next    tidegate watch {environment}"));
            context.talk(format!("          tidegate abort {environment}"));
            Ok(Exit::Interrupted)
        }
        Followed::TimedOut(view) => {
            let waiting = view.deployment.as_ref().and_then(|running| running.waiting.as_ref());
            let mut fault = Fault::new(
                Exit::Waiting,
                "timeout",
                format!("deployment {id} is not at its end; it goes on"),
            )
            .at(scope.to_string());
            if let Some(waiting) = waiting {
                fault.cause = Some(format!("it waits for {}", waiting.on));
                fault.next.push(format!("ended by {}", waiting.ends));
            }
            fault.state = crate::render::status::serves(&view);
            Err(fault.next(format!("tidegate watch {environment}")))
        }
    }
}
