//! `tidegate watch`.

use tidegate_types::DeploymentId;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    arguments::Watch,
    context::Context,
    deployment,
    exit::Exit,
    fault::Fault,
    follow::{self, Followed},
    project, render,
};

pub(crate) async fn run(context: &Context, arguments: &Watch) -> Result<Exit, Fault> {
    let scope = project::scope(context, arguments.place.environment.as_deref()).await?;
    let client = context.client();
    let mut views = client.watch(&scope).await?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| {
        Fault::new(Exit::Failed, "signal", format!("Ctrl-C cannot be heard: {error}"))
    })?;
    let mut told = false;
    let id: DeploymentId = loop {
        let view = tokio::select! {
            view = views.next() => view?,
            _ = interrupt.recv() => return Ok(Exit::Interrupted),
        };
        let Some(view) = view else {
            return Err(Fault::new(Exit::Unreachable, "unreachable", "the control plane ended")
                .next("tidegate up"));
        };
        if let Some(running) = &view.deployment {
            break running.id;
        }
        if !told {
            let (width, _) = follow::size();
            let lines = render::status::render(&view, width, view.at, context.talk_style);
            context.talk(lines.join("\n"));
            context.talk("waits for the next deployment; Ctrl-C ends");
            told = true;
        }
    };
    match follow::follow(context, &scope, id, None).await? {
        Followed::Ended(row, view) => match deployment::report(context, &row, &view) {
            Ok(exit) if arguments.exit_status => Ok(exit),
            Ok(_) => Ok(Exit::Done),
            Err(fault) if arguments.exit_status => Err(fault),
            Err(fault) => {
                context.report(&fault);
                Ok(Exit::Done)
            }
        },
        Followed::Interrupted | Followed::TimedOut(_) => {
            context.talk(format!("deployment {id} goes on without you"));
            Ok(Exit::Interrupted)
        }
    }
}
