//! What a deployment starts from, and where a rollback goes to.

use tidegate_core::Environment;
use tidegate_types::{ReleaseId, RevisionId};

use crate::{Current, Error, Wish};

/// The release that a rollback goes to; none for a deployment of a commit.
pub(crate) fn earlier(environment: &Environment, wish: &Wish) -> Result<Option<ReleaseId>, Error> {
    let Wish::Earlier { release, unverified } = wish else { return Ok(None) };
    let verified = &environment.verified;
    let scope = &environment.scope;
    if let Some(wanted) = release {
        let known = verified
            .iter()
            .rev()
            .find(|known| known.release.as_str() == wanted || &known.version == wanted);
        return match known {
            Some(known) => Ok(Some(known.release.clone())),
            None if *unverified => Ok(Some(ReleaseId::new(wanted.clone()))),
            None => Err(Error::NoTarget {
                why: format!("no release {wanted} has finished a bake in {scope}"),
                mend: format!(
                    "choose one of: {}; or, if it was built but never verified here, add \
                     --unverified to take it all the same",
                    list(verified)
                ),
            }),
        };
    }
    let present = environment.release.as_ref();
    let place = verified.iter().position(|known| Some(&known.release) == present);
    let before = &verified[..place.unwrap_or(verified.len())];
    match before.last() {
        Some(earlier) => Ok(Some(earlier.release.clone())),
        None => Err(Error::NoTarget {
            why: format!("there is no verified release before the present one in {scope}"),
            mend: if verified.len() > 1 {
                format!("choose one with --to: {}", list(verified))
            } else {
                "deploy another commit: `tidegate deploy --ref REF`".to_owned()
            },
        }),
    }
}

fn list(verified: &[tidegate_core::Verified]) -> String {
    if verified.is_empty() {
        return "none is verified yet".to_owned();
    }
    let names: Vec<String> = verified
        .iter()
        .rev()
        .take(5)
        .map(|known| format!("{} ({})", known.version, known.release))
        .collect();
    names.join(", ")
}

/// What is there, as the plan needs it.
#[must_use]
pub fn current(environment: &Environment) -> Current {
    let spec = |revision: &RevisionId| {
        environment.revisions.get(revision).map(|wanted| (wanted.spec.clone(), wanted.replicas))
    };
    environment
        .components
        .iter()
        .map(|(name, component)| {
            let serving = component
                .serving
                .as_ref()
                .and_then(|id| spec(id).map(|(spec, replicas)| (id.clone(), spec, replicas)));
            let warm = component.warm.as_ref().and_then(|warm| {
                spec(&warm.revision).map(|(spec, _)| (warm.revision.clone(), spec))
            });
            (name.clone(), tidegate_plan::Running { serving, warm })
        })
        .collect()
}
