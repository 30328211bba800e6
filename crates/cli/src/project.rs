//! Which project and which environment a command is about.

use std::path::{Path, PathBuf};

use tidegate_manifest::{FILE_NAME, Manifest, Problems};
use tidegate_release::{Commit, git};
use tidegate_types::{EnvironmentName, ProjectName, Scope};

use crate::{context::Context, exit::Exit, fault::Fault};

/// The repository that the command runs in, with its manifest.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) manifest: Manifest,
}

/// The problems of a manifest, as a fault.
pub(crate) fn unfit(problems: &Problems, of: &str, context: &Context) -> Fault {
    let mut fault = Fault::new(Exit::Usage, "manifest", format!("{of} does not pass the check"))
        .next("mend the file; `tidegate explain KEY` tells what a key means");
    let text = problems.render(context.talk_style.has_color() && !context.json);
    fault.log = text.lines().map(str::to_owned).collect();
    fault
}

/// The project as the work tree says; as the last commit says when the work tree's manifest is
/// broken.
pub(crate) async fn here(context: &Context) -> Result<Project, Fault> {
    let root = git::root_of(&context.directory).await?;
    match std::fs::read(root.join(FILE_NAME)) {
        Ok(bytes) => match tidegate_manifest::read_bytes(&bytes, FILE_NAME) {
            Ok(checked) => Ok(Project { root, manifest: checked.manifest }),
            Err(problems) => match committed(&root).await {
                Some(manifest) => Ok(Project { root, manifest }),
                None => Err(unfit(&problems, FILE_NAME, context)),
            },
        },
        Err(_) => match committed(&root).await {
            Some(manifest) => Ok(Project { root, manifest }),
            None => Err(missing(&root)),
        },
    }
}

async fn committed(root: &Path) -> Option<Manifest> {
    let head = git::resolve(root, "HEAD").await.ok()?;
    let text = git::file_at(root, &head.hash, FILE_NAME).await.ok()??;
    tidegate_manifest::read(&text, FILE_NAME).ok().map(|checked| checked.manifest)
}

fn missing(root: &Path) -> Fault {
    Fault::new(Exit::Usage, "no-manifest", format!("there is no {FILE_NAME} in {}", root.display()))
        .next("tidegate init")
}

/// The project as `commit` says: its own manifest counts.
pub(crate) async fn of_commit(
    context: &Context,
    root: PathBuf,
    commit: &Commit,
) -> Result<Project, Fault> {
    let text = git::file_at(&root, &commit.hash, FILE_NAME).await?;
    let Some(text) = text else {
        let present = root.join(FILE_NAME).exists();
        let fault = Fault::new(
            Exit::Usage,
            "no-manifest",
            format!("commit {} has no {FILE_NAME}", commit.version),
        );
        return Err(if present {
            fault
                .because("the work tree has one that is not committed")
                .next(format!("git add {FILE_NAME} && git commit -m \"Deploy with Tidegate\""))
                .next("or deploy the work tree as it is: tidegate deploy --dirty")
        } else {
            fault.next("tidegate init")
        });
    };
    match tidegate_manifest::read(&text, FILE_NAME) {
        Ok(checked) => Ok(Project { root, manifest: checked.manifest }),
        Err(problems) => {
            let of = format!("{FILE_NAME} of commit {}", commit.version);
            Err(unfit(&problems, &of, context))
        }
    }
}

/// The project as the work tree says and nothing else.
pub(crate) fn of_work_tree(context: &Context, root: PathBuf) -> Result<Project, Fault> {
    let Ok(bytes) = std::fs::read(root.join(FILE_NAME)) else { return Err(missing(&root)) };
    match tidegate_manifest::read_bytes(&bytes, FILE_NAME) {
        Ok(checked) => Ok(Project { root, manifest: checked.manifest }),
        Err(problems) => Err(unfit(&problems, FILE_NAME, context)),
    }
}

/// The environment that is meant, out of those that the manifest names.
pub(crate) fn choose(manifest: &Manifest, asked: Option<&str>) -> Result<Scope, Fault> {
    let names: Vec<&str> =
        manifest.environments.iter().map(|environment| environment.name.as_str()).collect();
    let found = match asked {
        Some(asked) => {
            let asked = match asked.split_once('/') {
                Some((project, name)) if project == manifest.project.as_str() => name,
                _ => asked,
            };
            manifest
                .environments
                .iter()
                .find(|known| known.name.as_str() == asked)
                .ok_or_else(|| unknown(asked, &manifest.project, &names))?
        }
        None => match manifest.environments.as_slice() {
            [only] => only,
            _ => {
                return Err(Fault::new(
                    Exit::Usage,
                    "which-environment",
                    format!("{} has several environments: say which", manifest.project),
                )
                .because(format!("it has: {}", names.join(", "))));
            }
        },
    };
    Ok(Scope { project: manifest.project.clone(), environment: found.name.clone() })
}

fn unknown(asked: &str, project: &ProjectName, names: &[&str]) -> Fault {
    let fault = Fault::new(
        Exit::Usage,
        "unknown-environment",
        format!("{project} has no environment `{asked}`"),
    )
    .because(format!("it has: {}", names.join(", ")));
    match closest(asked, names) {
        Some(name) => fault.next(format!("did you mean `{name}`?")),
        None => fault,
    }
}

/// The name that was probably meant.
pub(crate) fn closest<'a>(asked: &str, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(asked, name), *name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3) || name.starts_with(asked))
        .min()
        .map(|(_, name)| name)
}

/// The environment that is meant by a command about what runs.
///
/// `project/environment` needs no repository. Otherwise the manifest tells, and after it the
/// control plane: an environment may be there that the manifest no longer names.
pub(crate) async fn scope(context: &Context, asked: Option<&str>) -> Result<Scope, Fault> {
    if let Some(asked) = asked
        && asked.contains('/')
    {
        return asked
            .parse()
            .map_err(|error| Fault::new(Exit::Usage, "environment", format!("{error}")));
    }
    let project = match here(context).await {
        Ok(project) => project,
        Err(fault) => {
            // Out of any repository one environment in this home is no question.
            let known = context.client().environments(None).await.unwrap_or_default();
            let fitting: Vec<&Scope> = known
                .iter()
                .map(|view| &view.scope)
                .filter(|scope| asked.is_none_or(|asked| asked == scope.environment.as_str()))
                .collect();
            return match fitting.as_slice() {
                [only] => Ok((*only).clone()),
                _ => Err(fault),
            };
        }
    };
    let chosen = choose(&project.manifest, asked);
    if let (Err(_), Some(asked)) = (&chosen, asked)
        && let Ok(environment) = asked.parse::<EnvironmentName>()
    {
        let scope = Scope { project: project.manifest.project.clone(), environment };
        if context.client().environment(&scope).await.is_ok() {
            return Ok(scope);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name() {
        let names = ["production", "staging"];
        assert_eq!(closest("prodution", &names), Some("production"));
        assert_eq!(closest("prod", &names), Some("production"));
        assert_eq!(closest("stagin", &names), Some("staging"));
        assert_eq!(closest("elsewhere", &names), None);
    }
}
