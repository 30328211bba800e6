//! What is wanted in one environment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_types::{
    ComponentName, DeploymentId, DeploymentKind, Epoch, Gateway, Generation, Maintenance,
    ReleaseId, RevisionId, RouteEntry, RouteRule, RouteTable, Scope, Share, Timestamp,
    WantedRevision, WeightedRevision,
};

use crate::{Deployment, Failure};

/// Everything that is wanted in one environment of one project. The unit of storage: one
/// transition replaces it whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Which environment.
    pub scope: Scope,
    /// Of the route table; grows with every change of it.
    pub epoch: Epoch,
    /// Of the list of wanted revisions; grows with every change of it.
    pub generation: Generation,
    /// Where the environment is reached.
    pub gateway: Gateway,
    /// No request goes to anybody, until a person says otherwise. No deployment changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The components that are there.
    pub components: BTreeMap<ComponentName, Component>,
    /// The revisions that shall run. A revision that is not here is stopped and forgotten.
    pub revisions: BTreeMap<RevisionId, WantedRevision>,
    /// The release that the latest deployment to succeed brought.
    pub release: Option<ReleaseId>,
    /// The deployment that is under way; at most one.
    pub deployment: Option<Deployment>,
    /// Releases that finished their bake here, in the order in which they first did, each once.
    pub verified: Vec<Verified>,
    /// How the latest deployment ended.
    pub latest: Option<Ended>,
}

/// What is wanted of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// What serves, as far as deployments that have ended are concerned.
    pub serving: Option<RevisionId>,
    /// Who gets which share; empty when nobody takes requests. A share of 0 is reached by header.
    pub shares: Vec<(RevisionId, Share)>,
    /// What served before and still runs, so that going back is one write.
    pub warm: Option<Warm>,
}

/// So many verified releases can be gone back to.
const REMEMBERED: usize = 50;

/// Compared in this order: hundredths of a percent of traffic, then the deployment.
type Claim = (u32, Option<DeploymentId>);

/// A revision that runs without traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// Which one.
    pub revision: RevisionId,
    /// It is stopped then.
    pub until: Timestamp,
}

/// A release that finished its bake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The release.
    pub release: ReleaseId,
    /// What people call it.
    pub version: String,
    /// When, for the latest time.
    pub at: Timestamp,
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Why there was one.
    pub kind: DeploymentKind,
    /// What it brought; none when it failed before there was a release.
    pub release: Option<ReleaseId>,
    /// What people call that release.
    pub version: Option<String>,
    /// How.
    pub outcome: Outcome,
    /// Why, unless it succeeded.
    pub failure: Option<Failure>,
    /// When.
    pub at: Timestamp,
}

/// The four ways in which a deployment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The candidates serve and are verified.
    Succeeded,
    /// No traffic was moved and nothing that served was touched.
    Failed,
    /// The old revisions serve again.
    RolledBack,
    /// What serves is not what should; a person has to act.
    Degraded,
}

impl Environment {
    /// An environment to which nothing was deployed yet.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            epoch: Epoch::default(),
            generation: Generation::default(),
            gateway: Gateway::default(),
            maintenance: None,
            components: BTreeMap::new(),
            revisions: BTreeMap::new(),
            release: None,
            deployment: None,
            verified: Vec::new(),
            latest: None,
        }
    }

    /// The revisions that shall run: the whole list.
    #[must_use]
    pub fn wanted(&self) -> Vec<WantedRevision> {
        self.revisions.values().cloned().collect()
    }

    /// The routing, a pure function of the state.
    ///
    /// Revisions of one component may answer under different rules while a rollout changes the
    /// rule; each rule then has an entry, with the same shares. Where two components claim the same
    /// requests (one takes the other's route over, as when it is renamed), the one that gives its
    /// claim more traffic has them, and the newer one when both give all.
    #[must_use]
    pub fn route_table(&self) -> RouteTable {
        let mut claims: Vec<(Claim, RouteEntry)> = Vec::new();
        for (name, component) in &self.components {
            for entry in self.entries(name, component) {
                claims.push((self.claim(component, &entry.rule), entry));
            }
        }
        // The strongest claim to the same requests comes first, and only the first one counts.
        claims.sort_by(|(claim, entry), (other_claim, other)| {
            requests(&entry.rule).cmp(&requests(&other.rule)).then(other_claim.cmp(claim))
        });
        claims.dedup_by(|(_, entry), (_, other)| requests(&entry.rule) == requests(&other.rule));
        let routes = claims.into_iter().map(|(_, entry)| entry).collect();
        RouteTable {
            scope: self.scope.clone(),
            epoch: self.epoch,
            gateway: Gateway { maintenance: self.maintenance.clone(), ..self.gateway.clone() },
            routes,
        }
    }

    fn entries(&self, name: &ComponentName, component: &Component) -> Vec<RouteEntry> {
        let backends: Vec<WeightedRevision> = component
            .shares
            .iter()
            .map(|(revision, share)| WeightedRevision {
                revision: revision.clone(),
                share: *share,
                role: self.role(name, revision).to_owned(),
            })
            .collect();
        let named = component.shares.iter().map(|(revision, _)| revision);
        let mut rules: Vec<&RouteRule> = named
            .chain(component.serving.as_ref())
            .filter_map(|revision| self.revisions.get(revision)?.spec.route.as_ref())
            .collect();
        rules.sort();
        rules.dedup();
        rules
            .into_iter()
            .map(|rule| RouteEntry {
                component: name.clone(),
                rule: rule.clone(),
                backends: backends.clone(),
            })
            .collect()
    }

    /// How strong a component's claim to a rule is: the traffic of its revisions under that rule,
    /// then the newest of them.
    fn claim(&self, component: &Component, rule: &RouteRule) -> Claim {
        let under_rule = component.shares.iter().filter(|(revision, _)| {
            self.revisions
                .get(revision)
                .is_some_and(|wanted| wanted.spec.route.as_ref() == Some(rule))
        });
        let traffic = under_rule.clone().map(|(_, share)| share.hundredths()).sum();
        (traffic, under_rule.filter_map(|(revision, _)| revision.deployment()).max())
    }

    /// Whether another component would answer the requests of `rule` if `component` did not.
    pub(crate) fn has_another_for(&self, component: &ComponentName, rule: &RouteRule) -> bool {
        self.components.iter().filter(|(name, _)| *name != component).any(|(_, other)| {
            other.shares.iter().any(|(revision, share)| {
                *share > Share::NONE
                    && self
                        .revisions
                        .get(revision)
                        .and_then(|wanted| wanted.spec.route.as_ref())
                        .is_some_and(|known| requests(known) == requests(rule))
            })
        })
    }

    fn role(&self, component: &ComponentName, revision: &RevisionId) -> &'static str {
        let candidate = self
            .deployment
            .as_ref()
            .and_then(|deployment| deployment.plan.as_ref())
            .and_then(|plan| plan.rollouts.iter().find(|rollout| &rollout.component == component))
            .and_then(|rollout| rollout.candidate.as_ref());
        if candidate.is_some_and(|candidate| &candidate.id == revision) {
            "candidate"
        } else {
            "stable"
        }
    }

    /// The share of a revision in its component.
    #[must_use]
    pub fn share(&self, component: &ComponentName, revision: &RevisionId) -> Share {
        self.components
            .get(component)
            .and_then(|component| component.shares.iter().find(|(named, _)| named == revision))
            .map_or(Share::NONE, |(_, share)| *share)
    }

    /// The releases that serve, as far as deployments that have ended are concerned.
    #[must_use]
    pub fn serving_releases(&self) -> Vec<&ReleaseId> {
        let mut releases: Vec<&ReleaseId> = self
            .components
            .values()
            .filter_map(|component| component.serving.as_ref())
            .filter_map(|revision| self.revisions.get(revision))
            .map(|revision| &revision.spec.release)
            .collect();
        releases.sort();
        releases.dedup();
        releases
    }

    /// Whether `release` finished its bake here.
    #[must_use]
    pub fn is_verified(&self, release: &ReleaseId) -> bool {
        self.verified.iter().any(|verified| &verified.release == release)
    }

    /// Remembers that a release finished its bake. The list is part of every stored transition, so
    /// the oldest are forgotten; all that ever happened is in the journal.
    pub(crate) fn remember_verified(&mut self, verified: Verified) {
        if let Some(known) =
            self.verified.iter_mut().find(|known| known.release == verified.release)
        {
            known.at = verified.at;
            return;
        }
        self.verified.push(verified);
        let surplus = self.verified.len().saturating_sub(REMEMBERED);
        self.verified.drain(..surplus);
    }

    /// Replaces the shares of a component and says whether that changed anything. A revision that
    /// takes no requests (a worker) has none.
    pub(crate) fn set_shares(
        &mut self,
        component: &ComponentName,
        shares: Vec<(RevisionId, Share)>,
    ) -> bool {
        let shares: Vec<_> =
            shares.into_iter().filter(|(revision, _)| self.is_routed(revision)).collect();
        let Some(component) = self.components.get_mut(component) else {
            return false;
        };
        if component.shares == shares {
            return false;
        }
        component.shares = shares;
        true
    }

    /// Whether a revision takes requests.
    pub(crate) fn is_routed(&self, revision: &RevisionId) -> bool {
        self.revisions.get(revision).is_some_and(|wanted| wanted.spec.route.is_some())
    }

    /// Sets how many instances of a revision shall run.
    pub(crate) fn set_replicas(&mut self, revision: &RevisionId, replicas: u32) {
        if let Some(wanted) = self.revisions.get_mut(revision) {
            wanted.replicas = replicas;
        }
    }
}

/// Which requests a rule is for.
fn requests(rule: &RouteRule) -> (Option<&str>, &str) {
    (rule.host.as_deref(), &rule.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_verified_releases_are_forgotten_and_a_known_one_keeps_its_place() {
        let mut environment = Environment::new("shop/production".parse().unwrap());
        let verified = |number: usize, at: i64| Verified {
            release: ReleaseId::new(format!("r-{number}")),
            version: format!("v{number}"),
            at: Timestamp::from_millis(at),
        };
        for number in 0..=REMEMBERED {
            environment.remember_verified(verified(number, 0));
        }
        assert_eq!(environment.verified.len(), REMEMBERED);
        assert_eq!(environment.verified[0], verified(1, 0));
        environment.remember_verified(verified(1, 7));
        assert_eq!(environment.verified[0], verified(1, 7));
        assert_eq!(environment.verified.len(), REMEMBERED);
    }
}
