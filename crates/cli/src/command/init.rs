//! `tidegate init`.

use std::{fs::OpenOptions, io::Write as _};

use tidegate_manifest::FILE_NAME;
use tidegate_release::{detect, git};

use crate::{context::Context, exit::Exit, fault::Fault, render::table::table};

pub(crate) async fn run(context: &Context) -> Result<Exit, Fault> {
    let repository = git::root_of(&context.directory).await;
    let root = repository.clone().unwrap_or_else(|_| context.directory.clone());
    let path = root.join(FILE_NAME);
    let exists = || {
        Fault::new(Exit::Refused, "exists", format!("{} is there already", path.display()))
            .because("init never writes over a file")
            .next("tidegate check")
            .next(format!("or remove it first: rm {FILE_NAME}"))
    };
    if path.exists() {
        return Err(exists());
    }
    let detected = detect(&root);
    let written = OpenOptions::new().write(true).create_new(true).open(&path);
    written.and_then(|mut file| file.write_all(detected.manifest.as_bytes())).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return exists();
        }
        let what = format!("{} cannot be written: {error}", path.display());
        Fault::new(Exit::Failed, "write", what)
    })?;
    let next = match &repository {
        // Without its files the first commit would be a release that cannot start.
        Ok(root) if git::resolve(root, "HEAD").await.is_err() => {
            "git add -A && git commit -m \"First commit\"".to_owned()
        }
        Ok(_) => format!("git add {FILE_NAME} && git commit -m \"Deploy with Tidegate\""),
        Err(_) => "git init && git add -A && git commit -m \"First commit\"".to_owned(),
    };
    let next = [next, "tidegate deploy".to_owned()];
    if context.json {
        let findings: Vec<_> = detected
            .findings
            .iter()
            .map(|found| {
                serde_json::json!({ "what": found.what, "value": found.value, "why": found.why })
            })
            .collect();
        let answer = serde_json::json!({ "file": path, "findings": findings, "next": next });
        context.print_json("init", &answer);
        return Ok(Exit::Done);
    }
    let heads = ["WHAT", "VALUE", "WHY"].map(|head| context.style.dim(head));
    let mut rows = vec![heads.to_vec()];
    rows.extend(
        detected.findings.iter().map(|found| {
            vec![found.what.clone(), found.value.clone(), context.style.dim(&found.why)]
        }),
    );
    context.print(table(&rows).join("\n"));
    context.print(format!("\n{} {}", context.style.green("✔ wrote"), path.display()));
    context.print(format!("  next    {}", next.join("\n          ")));
    Ok(Exit::Done)
}
