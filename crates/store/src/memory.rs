//! A store in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tidegate_types::{
    DeploymentId, ProjectName, Release, ReleaseId, RevisionId, Sample, Scope, Timestamp,
};

use crate::{
    Accepted, Committed, Deployment, DeploymentDetail, DeploymentFilter, Error, Event, Input,
    NewDeployment, NewInput, Project, Requested, Store, Stored, Transition,
};

/// Keeps everything in memory. Clones share what they keep, so that a simulated control plane can
/// die and another one start over the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    meta: BTreeMap<String, String>,
    projects: BTreeMap<ProjectName, Project>,
    scopes: BTreeMap<Scope, Stored>,
    /// By number; the numbers are 1, 2, 3 and so on.
    deployments: BTreeMap<DeploymentId, DeploymentDetail>,
    deployment_keys: BTreeMap<String, DeploymentId>,
    /// Of each scope; the event with the number n is at n - 1.
    events: BTreeMap<Scope, Vec<Event>>,
    /// In the order of acceptance, with whether it was applied.
    inbox: Vec<(Input, bool)>,
    /// Where each key is in `inbox`.
    inbox_keys: BTreeMap<String, usize>,
    releases: BTreeMap<ReleaseId, Release>,
    samples: BTreeMap<(DeploymentId, RevisionId), BTreeMap<Timestamp, Sample>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No method leaves the tables half changed, so that a poisoned lock is as good as any.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn deployment_of(&self, scope: &Scope, id: DeploymentId) -> Result<(), Error> {
        match self.deployments.get(&id) {
            Some(found) if found.deployment.scope == *scope => Ok(()),
            _ => Err(Error::no_deployment(id, scope)),
        }
    }

    fn request(&mut self, new: NewDeployment) -> Result<Requested, Error> {
        if let Some(key) = &new.key
            && let Some(&id) = self.deployment_keys.get(key)
        {
            let scope = &self.deployments[&id].deployment.scope;
            if *scope != new.scope {
                return Err(Error::key_of_deployment(key, id, scope));
            }
            return Ok(Requested { id, duplicate: true });
        }
        let id = DeploymentId(self.deployments.len() as u64 + 1);
        if let Some(key) = new.key {
            self.deployment_keys.insert(key, id);
        }
        self.receive(Input {
            key: Input::key_of(id),
            scope: new.scope.clone(),
            kind: Input::DEPLOYMENT_REQUESTED.to_owned(),
            deployment: Some(id),
            actor: new.actor.clone(),
            payload: new.request.clone(),
            received_at: new.requested_at,
        });
        self.deployments.insert(
            id,
            DeploymentDetail {
                deployment: Deployment {
                    id,
                    scope: new.scope,
                    release: None,
                    kind: new.kind,
                    status: Deployment::REQUESTED.to_owned(),
                    actor: new.actor,
                    reason: new.reason,
                    summary: serde_json::Value::Null,
                    requested_at: new.requested_at,
                    ended_at: None,
                },
                request: new.request,
                plan: None,
            },
        );
        Ok(Requested { id, duplicate: false })
    }

    fn receive(&mut self, input: Input) {
        self.inbox_keys.insert(input.key.clone(), self.inbox.len());
        self.inbox.push((input, false));
    }

    fn accept(&mut self, new: NewInput) -> Result<Accepted, Error> {
        if new.key.starts_with(Input::OWN_KEYS) {
            return Err(Error::own_key(&new.key));
        }
        if let Some(&place) = self.inbox_keys.get(&new.key) {
            let (input, _) = &self.inbox[place];
            if input.scope != new.scope || input.kind != new.kind {
                return Err(Error::key_of_input(&new.key, &input.kind, &input.scope));
            }
            return Ok(Accepted::Duplicate);
        }
        self.receive(Input {
            key: new.key,
            scope: new.scope,
            kind: new.kind,
            deployment: None,
            actor: new.actor,
            payload: new.payload,
            received_at: new.received_at,
        });
        Ok(Accepted::New)
    }

    /// Looks at everything that could be refused before it changes anything.
    fn commit(&mut self, transition: Transition) -> Result<Committed, Error> {
        let scope = &transition.scope;
        let stored = self.scopes.get(scope);
        let found = stored.map_or(0, |stored| stored.version);
        if found != transition.expected_version {
            return Err(Error::Conflict {
                scope: scope.clone(),
                expected: transition.expected_version,
                found,
            });
        }
        let mut applied = Vec::new();
        for key in &transition.applied {
            match self.inbox_keys.get(key) {
                Some(&place)
                    if self.inbox[place].0.scope == *scope
                        && !self.inbox[place].1
                        && !applied.contains(&place) =>
                {
                    applied.push(place);
                }
                _ => return Err(Error::not_pending(key, scope)),
            }
        }
        let named = transition.deployments.iter().map(|update| update.id);
        let mentioned = transition.events.iter().filter_map(|event| event.deployment);
        for id in named.chain(mentioned) {
            self.deployment_of(scope, id)?;
        }

        for place in applied {
            self.inbox[place].1 = true;
        }
        for update in transition.deployments {
            if let Some(detail) = self.deployments.get_mut(&update.id) {
                let deployment = &mut detail.deployment;
                deployment.status = update.status;
                deployment.summary = update.summary;
                deployment.release = update.release.or(deployment.release.take());
                deployment.ended_at = update.ended_at.or(deployment.ended_at);
                detail.plan = update.plan.or(detail.plan.take());
            }
        }
        let journal = self.events.entry(scope.clone()).or_default();
        for event in transition.events {
            journal.push(Event {
                scope: scope.clone(),
                seq: journal.len() as u64 + 1,
                deployment: event.deployment,
                kind: event.kind,
                schema: event.schema,
                at: transition.at,
                actor: event.actor,
                payload: event.payload,
            });
        }
        let committed = Committed { version: found + 1, last_seq: journal.len() as u64 };
        self.scopes.insert(
            transition.scope,
            Stored {
                version: committed.version,
                state: transition.state,
                wake_at: transition.wake_at,
                last_seq: committed.last_seq,
            },
        );
        Ok(committed)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put_project(&self, project: &Project) -> Result<(), Error> {
        self.tables()
            .projects
            .entry(project.name.clone())
            .and_modify(|known| known.repository.clone_from(&project.repository))
            .or_insert_with(|| project.clone());
        Ok(())
    }

    async fn projects(&self) -> Result<Vec<Project>, Error> {
        Ok(self.tables().projects.values().cloned().collect())
    }

    async fn request_deployment(&self, deployment: NewDeployment) -> Result<Requested, Error> {
        self.tables().request(deployment)
    }

    async fn accept(&self, input: NewInput) -> Result<Accepted, Error> {
        self.tables().accept(input)
    }

    async fn pending(&self, scope: &Scope) -> Result<Vec<Input>, Error> {
        let tables = self.tables();
        let pending = tables.inbox.iter().filter(|(_, applied)| !applied);
        Ok(pending
            .filter(|(input, _)| input.scope == *scope)
            .map(|(input, _)| input.clone())
            .collect())
    }

    async fn load(&self, scope: &Scope) -> Result<Option<Stored>, Error> {
        Ok(self.tables().scopes.get(scope).cloned())
    }

    async fn scopes(&self) -> Result<Vec<Scope>, Error> {
        let tables = self.tables();
        let waiting = tables.inbox.iter().filter(|(_, applied)| !applied);
        let mut scopes: Vec<Scope> = waiting.map(|(input, _)| input.scope.clone()).collect();
        scopes.extend(tables.scopes.keys().cloned());
        scopes.sort_unstable_by_key(ToString::to_string);
        scopes.dedup();
        Ok(scopes)
    }

    async fn commit(&self, transition: Transition) -> Result<Committed, Error> {
        self.tables().commit(transition)
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentDetail>, Error> {
        Ok(self.tables().deployments.get(&id).cloned())
    }

    async fn deployments(
        &self,
        filter: &DeploymentFilter,
        before: Option<DeploymentId>,
        limit: usize,
    ) -> Result<Vec<Deployment>, Error> {
        let tables = self.tables();
        let below = tables.deployments.range(..before.unwrap_or(DeploymentId(u64::MAX)));
        Ok(below
            .rev()
            .map(|(_, detail)| &detail.deployment)
            .filter(|deployment| match filter {
                DeploymentFilter::All => true,
                DeploymentFilter::Project(project) => deployment.scope.project == *project,
                DeploymentFilter::Scope(scope) => deployment.scope == *scope,
            })
            .take(limit)
            .cloned()
            .collect())
    }

    async fn events(&self, scope: &Scope, after: u64, limit: usize) -> Result<Vec<Event>, Error> {
        let tables = self.tables();
        let journal = tables.events.get(scope).into_iter().flatten();
        Ok(journal.filter(|event| event.seq > after).take(limit).cloned().collect())
    }

    async fn deployment_events(
        &self,
        id: DeploymentId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        let tables = self.tables();
        let scope = tables.deployments.get(&id).map(|detail| &detail.deployment.scope);
        let journal = scope.and_then(|scope| tables.events.get(scope));
        Ok(journal
            .into_iter()
            .flatten()
            .filter(|event| event.deployment == Some(id) && event.seq > after)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn put_release(&self, release: &Release) -> Result<(), Error> {
        let mut tables = self.tables();
        if let Some(known) = tables.releases.get(&release.id) {
            return Error::unless_same_release(release, known.project.as_str(), &known.commit);
        }
        tables.releases.insert(release.id.clone(), release.clone());
        Ok(())
    }

    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>, Error> {
        Ok(self.tables().releases.get(id).cloned())
    }

    async fn releases(&self, project: &ProjectName, limit: usize) -> Result<Vec<Release>, Error> {
        let tables = self.tables();
        let of_project = tables.releases.values();
        let mut releases: Vec<_> =
            of_project.filter(|release| release.project == *project).collect();
        releases.sort_by(|a, b| (b.built_at, &b.id).cmp(&(a.built_at, &a.id)));
        Ok(releases.into_iter().take(limit).cloned().collect())
    }

    async fn release_of_commit(
        &self,
        project: &ProjectName,
        commit: &str,
    ) -> Result<Option<Release>, Error> {
        let tables = self.tables();
        let clean = tables.releases.values().filter(|release| !release.dirty);
        Ok(clean
            .filter(|release| release.project == *project && release.commit == commit)
            .max_by_key(|release| (release.built_at, &release.id))
            .cloned())
    }

    async fn put_samples(
        &self,
        deployment: DeploymentId,
        samples: Vec<(RevisionId, Sample)>,
    ) -> Result<(), Error> {
        let mut tables = self.tables();
        if !tables.deployments.contains_key(&deployment) {
            return Err(Error::no_deployment(deployment, "the store"));
        }
        for (revision, sample) in samples {
            let of_revision = tables.samples.entry((deployment, revision)).or_default();
            of_revision.insert(sample.to, sample);
        }
        Ok(())
    }

    async fn samples(
        &self,
        deployment: DeploymentId,
        revision: &RevisionId,
        since: Timestamp,
    ) -> Result<Vec<Sample>, Error> {
        let tables = self.tables();
        let samples = tables.samples.get(&(deployment, revision.clone()));
        let samples = samples.into_iter().flat_map(BTreeMap::values);
        Ok(samples.filter(|sample| sample.to > since).cloned().collect())
    }

    async fn forget_samples(&self, before: Timestamp) -> Result<u64, Error> {
        let mut forgotten = 0;
        for samples in self.tables().samples.values_mut() {
            let kept = samples.split_off(&before);
            forgotten += samples.len() as u64;
            *samples = kept;
        }
        Ok(forgotten)
    }

    async fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        Ok(self.tables().meta.get(key).cloned())
    }

    async fn set_meta(&self, key: &str, value: &str) -> Result<(), Error> {
        self.tables().meta.insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}
