//! Go: the main package of a module, and those below `cmd`.

use super::{draft::Draft, folder::Folder};

pub(crate) fn detect(folder: &Folder) -> Vec<Draft> {
    let Some(module) = folder.text("go.mod") else {
        return Vec::new();
    };
    let mut drafts = Vec::new();
    if is_main(folder) {
        let name = module_name(&module).unwrap_or_else(|| folder.name().to_owned());
        drafts.push(draft(folder, &name, ".", "go.mod and a main package"));
    }
    for command in folder.folder("cmd").folders() {
        if is_main(&command) {
            let name = command.name();
            let why = format!("go.mod and the main package cmd/{name}");
            drafts.push(draft(folder, name, &format!("./cmd/{name}"), &why));
        }
    }
    drafts
}

fn draft(folder: &Folder, name: &str, package: &str, why: &str) -> Draft {
    // Without the folder and the commit in it, the program changes only when its sources do.
    let run = format!("go build -trimpath -buildvcs=false -o bin/{name} {package}");
    Draft::process(folder, "Go", why, &format!("./{name}"))
        .built(&run, &format!("bin/{name}"))
        .named(name)
        .without_port_if_worker()
}

fn is_main(folder: &Folder) -> bool {
    folder
        .files_ending(".go")
        .filter(|name| !name.ends_with("_test.go"))
        .filter_map(|name| folder.text(name))
        .any(|text| {
            text.lines()
                .map(str::trim)
                .any(|line| line == "package main" || line.starts_with("package main //"))
        })
}

/// `shop` for `module example.org/team/shop/v2`.
fn module_name(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("module "))?;
    let is_version = |part: &str| {
        part.strip_prefix('v').is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let name = path.trim().trim_matches('"').rsplit('/').find(|part| !is_version(part))?;
    let usable = name
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
    (usable && !name.is_empty()).then(|| name.to_owned())
}
