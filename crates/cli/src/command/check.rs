//! `tidegate check`.

use tidegate_manifest::{FILE_NAME, Manifest, Problems};
use tidegate_release::git;

use crate::{arguments::Check, context::Context, exit::Exit, fault::Fault};

pub(crate) async fn run(context: &Context, arguments: &Check) -> Result<Exit, Fault> {
    let (path, name) = if let Some(file) = &arguments.file {
        (context.directory.join(file), file.display().to_string())
    } else {
        // A manifest can be checked before there is a repository.
        let root = git::root_of(&context.directory).await.ok();
        let root = root.unwrap_or_else(|| context.directory.clone());
        (root.join(FILE_NAME), FILE_NAME.to_owned())
    };
    let bytes = std::fs::read(&path).map_err(|error| {
        let fault =
            Fault::new(Exit::Usage, "no-manifest", format!("{} cannot be read", path.display()))
                .because(error.to_string());
        if arguments.file.is_none() { fault.next("tidegate init") } else { fault }
    })?;
    match tidegate_manifest::read_bytes(&bytes, &name) {
        Ok(checked) => {
            if context.json {
                print_json(context, true, &checked.warnings);
            } else {
                talk(context, &checked.warnings);
                context.print(format!("ok: {}", summary(&checked.manifest)));
            }
            Ok(Exit::Done)
        }
        Err(problems) => {
            if context.json {
                print_json(context, false, &problems);
            } else {
                talk(context, &problems);
                context.talk(format!("{name}: {}", problems.summary()));
            }
            Ok(Exit::Usage)
        }
    }
}

fn print_json(context: &Context, ok: bool, problems: &Problems) {
    context.print_json("check", &serde_json::json!({ "ok": ok, "problems": problems }));
}

fn talk(context: &Context, problems: &Problems) {
    let text = problems.render(context.talk_style.has_color());
    if !text.is_empty() {
        context.talk(text.trim_end());
    }
}

fn summary(manifest: &Manifest) -> String {
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    format!(
        "{}, {}",
        count(manifest.components.len(), "component"),
        count(manifest.environments.len(), "environment")
    )
}
