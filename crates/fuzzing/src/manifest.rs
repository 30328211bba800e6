//! `tidegate.yaml` as somebody wrote it.

use std::collections::BTreeMap;

use tidegate_manifest::{Checked, Manifest, Problems, read_bytes};
use tidegate_plan::{Current, Request, Running, compile, print};
use tidegate_types::{
    Artifact, DeploymentId, DeploymentKind, Digest, Plan, ProjectName, Release, ReleaseId, Scope,
    Timestamp,
};

use crate::rollout;

/// The engine is driven through plans of at most so many components: more of them take longer and
/// show nothing new.
const MOST_DRIVEN: usize = 8;

pub(crate) fn hold(bytes: &[u8]) {
    match read_bytes(bytes, "tidegate.yaml") {
        Ok(Checked { manifest, warnings }) => {
            assert!(!warnings.has_errors(), "accepted with errors: {warnings}");
            shown(&warnings, bytes);
            plans(&manifest);
        }
        Err(problems) => {
            assert!(problems.has_errors(), "refused without an error");
            shown(&problems, bytes);
        }
    }
}

/// Problems point into the file and can be printed.
fn shown(problems: &Problems, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes);
    for problem in problems {
        let span = problem.span;
        assert!(span.start <= span.end, "{problem:?}");
        if let Ok(text) = text {
            assert!(text.get(span.start..span.end).is_some(), "points nowhere: {problem:?}");
        }
        assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
    }
    for color in [false, true] {
        let rendered = problems.render(color);
        assert_eq!(rendered.is_empty(), problems.is_empty());
        let active = |character: &char| character.is_control() && *character != '\n';
        assert!(color || rendered.chars().all(|c| !active(&c)), "{rendered:?}");
        // Besides its own words a problem has a line of the file and lines of help.
        let spoken = problems.iter().map(|problem| {
            6 + problem.help.as_ref().map_or(0, |help| 1 + help.matches('\n').count())
        });
        assert_eq!(rendered.matches('\n').count(), spoken.sum::<usize>(), "{rendered}");
    }
    assert!(!problems.summary().is_empty());
}

fn plans(manifest: &Manifest) {
    for environment in &manifest.environments {
        let scope =
            Scope { project: manifest.project.clone(), environment: environment.name.clone() };
        let (one, other) = (release(manifest, "1"), release(manifest, "2"));
        let request = |deployment, kind, release, current| Request {
            deployment: DeploymentId(deployment),
            kind,
            scope: &scope,
            manifest,
            release,
            current,
        };
        let nothing = Current::new();
        // Variables without a value are found when a plan is made, and nowhere else.
        let Ok(first) = compile(request(1, DeploymentKind::Deploy, &one, &nothing)) else {
            continue;
        };
        sound(&first);
        let running = running(&first);
        let again = compile(request(2, DeploymentKind::Deploy, &one, &running));
        let again = again.expect("what could be planned once can be planned again");
        assert!(again.rollouts.is_empty(), "what runs already is rolled out again: {again:?}");
        let next = compile(request(2, DeploymentKind::Deploy, &other, &running));
        let next = next.expect("another release of the same manifest can be planned");
        sound(&next);
        let back = compile(request(3, DeploymentKind::Rollback, &other, &running));
        sound(&back.expect("going back can be planned"));
        let bare: Manifest = Manifest { components: Vec::new(), ..manifest.clone() };
        let removed =
            compile(Request { manifest: &bare, ..request(4, next.kind, &other, &running) });
        sound(&removed.expect("removing everything can be planned"));
        if manifest.components.len() <= MOST_DRIVEN {
            rollout::succeeds(&[&first, &next]);
        }
    }
}

/// A release with an artifact for each component.
fn release(manifest: &Manifest, version: &str) -> Release {
    let artifact = |digest: String| Artifact { digest: Digest::new(digest), bytes: 1, files: 1 };
    let project: &ProjectName = &manifest.project;
    Release {
        id: ReleaseId::new(format!("r-{version}")),
        project: project.clone(),
        commit: version.to_owned(),
        version: version.to_owned(),
        subject: String::new(),
        dirty: false,
        built_at: Timestamp::from_millis(0),
        manifest: String::new(),
        artifacts: manifest
            .components
            .iter()
            .map(|component| (component.name.clone(), artifact(format!("sha256:{version}"))))
            .collect(),
    }
}

/// What runs after a first deployment has succeeded.
fn running(plan: &Plan) -> Current {
    let mut current = BTreeMap::new();
    for rollout in &plan.rollouts {
        if let Some(candidate) = &rollout.candidate {
            let serving =
                Some((candidate.id.clone(), candidate.spec.clone(), candidate.spec.replicas));
            current.insert(rollout.component.clone(), Running { serving, warm: None });
        }
    }
    current
}

/// A plan can be printed and is the same after it was stored.
fn sound(plan: &Plan) {
    assert!(!print(plan).is_empty());
    let stored = serde_json::to_vec(plan).expect("a plan can be stored");
    let read: Plan = serde_json::from_slice(&stored).expect("a stored plan can be read");
    assert_eq!(&read, plan, "a plan is another one after it was stored");
}
