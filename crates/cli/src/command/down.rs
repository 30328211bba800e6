//! `tidegate down`.

use std::time::{Duration, Instant};

use tidegate_server::client::Error;
use tokio::time::sleep;

use crate::{arguments::Down, context::Context, control, exit::Exit, fault::Fault, teardown};

/// A control plane that is told to end is gone by then.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(context: &Context, arguments: &Down) -> Result<Exit, Fault> {
    let ended = end_control_plane(context).await?;
    if arguments.keep_serving {
        let what = if ended { "is down" } else { "was not up" };
        report(context, &format!("the control plane {what}; instances and proxy serve on"));
        return Ok(Exit::Done);
    }
    // Done here and not by the control plane: so it is the same when that died before, and the
    // user sees what happens.
    if teardown::was_up(&context.home) {
        teardown::stop_everything(&context.home, &|text| context.talk(text)).await?;
    }
    report(context, "everything is down: instances, proxy and control plane");
    Ok(Exit::Done)
}

fn report(context: &Context, text: &str) {
    if context.json {
        context.print_json("down", &serde_json::json!({ "done": text }));
    } else {
        context.print(format!("{} {text}", context.style.green("✔")));
    }
}

/// Ends the control plane; says whether there was one.
async fn end_control_plane(context: &Context) -> Result<bool, Fault> {
    control::refuse_stopped(&context.home)?;
    let client = context.client();
    let health = match client.health().await {
        Ok(health) => health,
        Err(Error::Unreachable { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    for view in client.environments(None).await.unwrap_or_default() {
        if let Some(deployment) = &view.deployment {
            context.note(format!(
                "deployment {} to {} is under way; it goes on at the next `tidegate up`",
                deployment.id, view.scope
            ));
        }
    }
    client.shutdown(false).await?;
    let began = Instant::now();
    while control::runs(health.pid) {
        if began.elapsed() > PATIENCE {
            let what = format!(
                "the control plane (process {}) did not end within {} s",
                health.pid,
                PATIENCE.as_secs()
            );
            let log = control::log_of(&context.home);
            return Err(Fault::new(Exit::Failed, "down", what)
                .next(format!("its log: {}", log.display()))
                .next(format!("kill -9 {} and run `tidegate down` again", health.pid)));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(true)
}
