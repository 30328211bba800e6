//! Rust: the binaries of a package or of a workspace.

use super::{
    draft::{Draft, name_from},
    folder::Folder,
};

/// Crates that a program which answers requests is likely to use.
const SERVERS: [&str; 12] = [
    "actix-web",
    "axum",
    "hyper",
    "ntex",
    "poem",
    "rocket",
    "rouille",
    "salvo",
    "tide",
    "tiny_http",
    "tonic",
    "warp",
];
/// Binaries of a developer, not of a product.
const HELPERS: [&str; 4] = ["xtask", "bench", "fuzz", "codegen"];

pub(crate) fn detect(folder: &Folder) -> Vec<Draft> {
    let Some(manifest) = folder.toml("Cargo.toml") else {
        return Vec::new();
    };
    let locked = if folder.has("Cargo.lock") { " --locked" } else { "" };
    let mut drafts = binaries(folder, &manifest, folder, locked);
    for member in members(folder, &manifest) {
        if let Some(manifest) = member.toml("Cargo.toml") {
            drafts.extend(binaries(&member, &manifest, folder, locked));
        }
    }
    drafts
}

fn binaries(folder: &Folder, manifest: &toml::Table, root: &Folder, locked: &str) -> Vec<Draft> {
    let Some(package) = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(toml::Value::as_str)
    else {
        return Vec::new();
    };
    let mut names: Vec<String> = manifest
        .get("bin")
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|bin| Some(bin.get("name")?.as_str()?.to_owned()))
        .collect();
    if folder.has("src/main.rs") && !names_main(manifest) {
        names.insert(0, package.to_owned());
    }
    let bin = folder.folder("src/bin");
    names.extend(bin.files_ending(".rs").map(|file| file.trim_end_matches(".rs").to_owned()));
    names.extend(
        bin.folders().filter(|folder| folder.has("main.rs")).map(|folder| folder.name().to_owned()),
    );
    names.retain(|name| !HELPERS.contains(&name.as_str()));
    let mut seen = Vec::new();
    names.retain(|name| {
        let new = !seen.contains(name);
        seen.push(name.clone());
        new
    });
    let serves = manifest
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .is_some_and(|table| table.keys().any(|name| SERVERS.contains(&name.as_str())));
    let in_workspace = folder.path != root.path;
    names
        .iter()
        .map(|name| {
            let why = if in_workspace {
                format!("{}/Cargo.toml has the binary {name}", folder.path)
            } else {
                format!("Cargo.toml has the binary {name}")
            };
            let only = match (in_workspace, names.len()) {
                (false, 1) => String::new(),
                (false, _) => format!(" --bin {name}"),
                (true, 1) => format!(" -p {package}"),
                (true, _) => format!(" -p {package} --bin {name}"),
            };
            let mut draft = Draft::process(folder, "Rust", &why, &format!("./{name}"))
                .built(
                    &format!("cargo build --release{locked}{only}"),
                    &format!("target/release/{name}"),
                )
                .named(&name_from(name).unwrap_or_default())
                .without_port_if_worker();
            if let Some(build) = &mut draft.build
                && in_workspace
            {
                build.directory = Some(root.path.clone());
            }
            if draft.listens() && !serves {
                draft = draft.note(
                    "Does it listen on $PORT? If it serves nothing, remove `port` and `route`.",
                );
            }
            draft
        })
        .collect()
}

/// Whether a `[[bin]]` gives `src/main.rs` another name.
fn names_main(manifest: &toml::Table) -> bool {
    manifest
        .get("bin")
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
        .any(|bin| bin.get("path").and_then(toml::Value::as_str) == Some("src/main.rs"))
}

/// The folders of the workspace's members; a `*` may stand for one part of the path.
fn members(folder: &Folder, manifest: &toml::Table) -> Vec<Folder> {
    let workspace = manifest.get("workspace");
    let listed = |key: &str| -> Vec<String> {
        workspace
            .and_then(|workspace| workspace.get(key))
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_str)
            .map(|path| path.trim_start_matches("./").trim_end_matches('/').to_owned())
            .collect()
    };
    let excluded = listed("exclude");
    listed("members")
        .iter()
        .flat_map(|member| expand(folder, member))
        .filter(|member| !excluded.contains(&member.path) && member.path != folder.path)
        .filter(|member| !HELPERS.contains(&member.name()))
        .collect()
}

fn expand(folder: &Folder, pattern: &str) -> Vec<Folder> {
    let (part, rest) =
        pattern.split_once('/').map_or((pattern, None), |(part, rest)| (part, Some(rest)));
    let here: Vec<Folder> = if part.contains('*') {
        let (start, end) = part.split_once('*').unwrap_or((part, ""));
        folder
            .folders()
            .filter(|folder| folder.name().starts_with(start) && folder.name().ends_with(end))
            .collect()
    } else if part != ".." && folder.has_folder(part) {
        vec![folder.folder(part)]
    } else {
        Vec::new()
    };
    match rest {
        None => here,
        Some(rest) => here.iter().flat_map(|folder| expand(folder, rest)).collect(),
    }
}
