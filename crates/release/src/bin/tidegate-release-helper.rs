//! For tests only; users get all of it within `tidegate`.
//!
//! `shim DIRECTORY` runs a build's job. `build HOME REPOSITORY COMMAND OUTPUT` is a control plane
//! that builds `HEAD` and prints the release, and may be killed while it does.

use std::{path::Path, path::PathBuf, process::ExitCode};

use tidegate_release::{BuildRequest, Builder, git};
use tidegate_types::Timestamp;

#[path = "../../tests/release/manifest.rs"]
mod manifest;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["shim", directory] => {
            tidegate_shim::main(Path::new(directory)).map_err(|error| error.to_string())
        }
        ["build", home, repository, command, output] => build(home, repository, command, output),
        _ => Err("use: shim DIRECTORY, or build HOME REPOSITORY COMMAND OUTPUT".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn build(home: &str, repository: &str, command: &str, output: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let repository = PathBuf::from(repository);
        let executable = std::env::current_exe().map_err(|error| error.to_string())?;
        let commit = git::resolve(&repository, "HEAD").await.map_err(|error| error.to_string())?;
        let manifest =
            manifest::of(vec![manifest::component("api", Some(manifest::build(command, output)))]);
        let request = BuildRequest {
            project: manifest.project.clone(),
            repository,
            commit,
            manifest_text: "the manifest".to_owned(),
            manifest: &manifest,
            clock: &|| Timestamp::from_millis(1),
        };
        let release = Builder::new(PathBuf::from(home), executable)
            .build(request, |_| {})
            .await
            .map_err(|error| error.to_string())?;
        println!("{}", release.id);
        Ok(())
    })
}
