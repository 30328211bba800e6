//! `tidegate rollback`.

use tidegate_engine::{DeploymentRequest, Wish};
use tidegate_server::api::Back;

use crate::{
    arguments::Rollback,
    context::{Context, actor},
    control,
    exit::Exit,
    fault::Fault,
    project,
};

pub(crate) async fn run(context: &Context, arguments: &Rollback) -> Result<Exit, Fault> {
    let (client, ..) = control::ensure(context).await?;
    let scope = project::scope(context, arguments.place.environment.as_deref()).await?;
    let back = Back {
        release: arguments.to.clone(),
        unverified: arguments.unverified,
        actor: actor(),
        reason: arguments.reason.clone(),
    };
    // Going back is never delayed by the wish to show it first: a plan that cannot be made is no
    // reason not to try.
    let shown = client
        .plan(DeploymentRequest {
            scope: scope.clone(),
            wish: Wish::Earlier { release: back.release.clone(), unverified: back.unverified },
            actor: back.actor.clone(),
            reason: None,
        })
        .await;
    if let Ok(planned) = shown {
        context.talk(planned.text.trim_end());
    }
    let id = match client.rollback(&scope, &back).await {
        Ok(id) => id,
        Err(error) => return Err(super::deploy::in_the_way(&client, &scope, error.into()).await),
    };
    super::deploy::follow(context, &scope, id, &arguments.wait).await
}
