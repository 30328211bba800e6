//! `tidegate simulate`.

use serde_json::json;
use tidegate_manifest::Manifest;
use tidegate_release::git;
use tidegate_sim::forecast::{self, Question};

use crate::{
    arguments::Simulate,
    context::Context,
    exit::Exit,
    fault::Fault,
    project::{self, closest},
    render,
};

pub(crate) async fn run(context: &Context, arguments: &Simulate) -> Result<Exit, Fault> {
    let manifest = manifest(context, arguments).await?;
    let scope = project::choose(&manifest, arguments.place.environment.as_deref())?;
    let question = Question {
        manifest,
        environment: scope.environment.clone(),
        component: arguments.component.clone(),
        rate: arguments.rate,
        errors: arguments.errors.fraction(),
        p95: arguments.p95,
        runs: arguments.runs,
        seed: arguments.seed,
        faults: arguments.faults.clone(),
    };
    let forecast = forecast::forecast(&question).map_err(|error| refused(error, &question))?;
    let hints = forecast::hints(&question, &forecast).map_err(|error| refused(error, &question))?;
    if context.json {
        let value = json!({ "scope": scope, "forecast": forecast, "hints": hints });
        context.print_json("simulation", &value);
    } else {
        let text = render::simulate::render(&scope, &forecast, &hints, context.style);
        context.print(text.join("\n"));
    }
    Ok(Exit::Done)
}

/// The manifest that is asked about: a strategy can be tried before it is committed, and before
/// there is a repository.
async fn manifest(context: &Context, arguments: &Simulate) -> Result<Manifest, Fault> {
    if let Some(file) = &arguments.file {
        let name = file.display().to_string();
        let bytes = std::fs::read(context.directory.join(file)).map_err(|error| {
            Fault::new(Exit::Usage, "no-manifest", format!("{name} cannot be read"))
                .because(error.to_string())
        })?;
        return match tidegate_manifest::read_bytes(&bytes, &name) {
            Ok(checked) => Ok(checked.manifest),
            Err(problems) => Err(project::unfit(&problems, &name, context)),
        };
    }
    if let Some(reference) = &arguments.reference {
        let root = git::root_of(&context.directory).await?;
        let commit = git::resolve(&root, reference).await?;
        return Ok(project::of_commit(context, root, &commit).await?.manifest);
    }
    let root = git::root_of(&context.directory).await.ok();
    let root = root.unwrap_or_else(|| context.directory.clone());
    Ok(project::of_work_tree(context, root)?.manifest)
}

fn refused(error: forecast::Error, question: &Question) -> Fault {
    let code = match &error {
        forecast::Error::Plan(_) => "plan",
        forecast::Error::NoComponent { .. } => "unknown-component",
        forecast::Error::NoSuchFault { .. } => "unfit-fault",
    };
    let fault = Fault::new(Exit::Usage, code, error.to_string());
    match error {
        forecast::Error::Plan(_) => fault.next("tidegate check"),
        forecast::Error::NoComponent { asked, .. } => {
            let components = question.manifest.components.iter();
            let names: Vec<&str> = components.map(|component| component.name.as_str()).collect();
            match closest(asked.as_str(), &names) {
                Some(name) => fault.next(format!("did you mean `{name}`?")),
                None => fault,
            }
        }
        forecast::Error::NoSuchFault { .. } => {
            fault.next("choose another component with --component, or another fault")
        }
    }
}
