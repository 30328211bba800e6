//! One revision: its instances, and what is remembered of those that are gone.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tidegate_shim::JobState;
use tidegate_types::{
    Duration, HealthCheck, InstanceFailure, InstanceId, ProcessSpec, RevisionFacts, RevisionId,
    RevisionSpec, Scope, Workload,
    data_plane::{Check, Endpoint, OtherFiles, Upstream},
    shortened,
};
use tokio::sync::Notify;

use super::{
    Context,
    decide::{Health, RevisionView},
    describe,
    instance::{Found, Instance},
    layout::{InstanceRecord, RetiringRecord, RevisionRecord, instance_numbers},
};

/// So many folders of dead instances are kept for their output.
const DEAD_KEPT: usize = 5;
/// So many revisions of an environment that ended are kept for their output.
const KEPT_ENDED: usize = 5;
/// So many lines of output are kept with a failure.
const FAILURE_LINES: usize = 20;
/// After so many starts in a row that failed before there was a process, it is said to be hopeless.
const FAILED_STARTS: u32 = 3;

/// A revision of a scope.
#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) id: RevisionId,
    scope: Scope,
    folder: PathBuf,
    pub(crate) record: RevisionRecord,
    /// `record` is not on disk as it is.
    dirty: bool,
    pub(crate) instances: BTreeMap<u32, Instance>,
    /// For a static site: its files are there.
    files_are_there: bool,
}

impl Revision {
    /// A revision that is not known. Whatever is in its folder all the same, because its record was
    /// lost, is taken over.
    pub(crate) fn new(
        context: &Context,
        scope: &Scope,
        id: &RevisionId,
        spec: RevisionSpec,
        wake: &Arc<Notify>,
    ) -> Self {
        let mut revision = Self::with(context, scope, id, RevisionRecord::new(spec));
        revision.dirty = true;
        if let Err(reason) = revision.adopt_instances(context, wake) {
            tracing::warn!(reason, "taken as a revision without instances");
        }
        revision
    }

    /// A revision as a predecessor of this control plane left it: attaches to what runs, counts
    /// what has ended, starts nothing.
    pub(crate) fn adopt(
        context: &Context,
        scope: &Scope,
        id: &RevisionId,
        wake: &Arc<Notify>,
    ) -> Result<Option<Self>, String> {
        let Some(mut record) = RevisionRecord::read(&context.layout.revision(scope, id))? else {
            return Ok(None);
        };
        record.streak.clamp(context.steady.now());
        let mut revision = Self::with(context, scope, id, record);
        revision.adopt_instances(context, wake)?;
        Ok(Some(revision))
    }

    fn with(context: &Context, scope: &Scope, id: &RevisionId, record: RevisionRecord) -> Self {
        Self {
            id: id.clone(),
            scope: scope.clone(),
            folder: context.layout.revision(scope, id),
            files_are_there: (context.artifacts)(&record.spec.artifact).is_dir(),
            record,
            dirty: false,
            instances: BTreeMap::new(),
        }
    }

    fn adopt_instances(&mut self, context: &Context, wake: &Arc<Notify>) -> Result<(), String> {
        let numbers = instance_numbers(&self.folder)
            .map_err(|error| format!("{}: {error}", self.folder.display()))?;
        for number in numbers {
            self.record.next = self.record.next.max(number.saturating_add(1));
            if !self.record.ended.contains(&number) {
                self.adopt_instance(context, number, wake);
            }
        }
        Ok(())
    }

    fn adopt_instance(&mut self, context: &Context, number: u32, wake: &Arc<Notify>) {
        let directory = self.folder.join(number.to_string());
        let state = tidegate_shim::look(&directory).unwrap_or_else(|error| {
            tracing::warn!(%error, "how an instance ended is unknown");
            JobState::Lost
        });
        let record = InstanceRecord::read(&directory).unwrap_or_else(|reason| {
            tracing::warn!(reason, "an instance is without a port");
            None
        });
        let record =
            record.unwrap_or_else(|| InstanceRecord { port: None, started_at: (context.clock)() });
        match (state, self.process()) {
            (JobState::Running { .. }, Some(process)) => {
                let process = process.clone();
                self.attach(context, &process, Found { number, directory, record }, wake);
            }
            (JobState::NotStarted, _) => {
                // A shim that is just coming up finds that it is not wanted.
                let _ = tidegate_shim::stop(&directory);
                self.record.ended.insert(number);
                self.dirty = true;
            }
            (state, _) => {
                let retiring = RetiringRecord::read(&directory).ok().flatten();
                self.ended(context, number, retiring, &state);
            }
        }
    }

    pub(crate) fn attach(
        &mut self,
        context: &Context,
        process: &ProcessSpec,
        found: Found,
        wake: &Arc<Notify>,
    ) {
        let number = found.number;
        let spec = &self.record.spec;
        let instance = Instance::attach(context, &self.scope, &self.id, spec, process, found, wake);
        // It had failed, and we were killed before that was counted.
        let failed = instance.retiring.as_ref().and_then(|retiring| retiring.failed.clone());
        self.instances.insert(number, instance);
        if let Some(what) = failed {
            self.count_failure(context, number, what);
        }
    }

    pub(crate) fn process(&self) -> Option<&ProcessSpec> {
        match &self.record.spec.workload {
            Workload::Process(process) => Some(process),
            Workload::Static(_) => None,
        }
    }

    fn health(&self) -> Option<&HealthCheck> {
        self.process().map(|process| &process.health)
    }

    /// Removes instances that have ended, and remembers how.
    pub(crate) fn collect(&mut self, context: &Context, look: bool) {
        let mut ended = Vec::new();
        for instance in self.instances.values_mut() {
            if let Some(state) = instance.ended(look) {
                ended.push((instance.number, state));
            }
        }
        for (number, state) in ended {
            if let Some(instance) = self.instances.remove(&number) {
                if let Some(port) = instance.record.port {
                    context.ports.release(port);
                }
                self.ended(context, number, instance.retiring.clone(), &state);
            }
        }
    }

    fn ended(
        &mut self,
        context: &Context,
        number: u32,
        retiring: Option<RetiringRecord>,
        state: &JobState,
    ) {
        let directory = self.folder.join(number.to_string());
        let (outcome, life) = if let JobState::Exited(record) = state {
            (Some(&record.outcome), record.ended_at.since(record.started_at))
        } else {
            // Whatever it started must not stay behind.
            let _ = tidegate_shim::kill(&directory);
            let started = InstanceRecord::read(&directory).ok().flatten();
            let started = started.map_or_else(|| (context.clock)(), |record| record.started_at);
            (None, (context.clock)().since(started))
        };
        match retiring {
            None => {
                let (what, fatal) = self.explain(context, outcome, life);
                self.fail(context, number, what, fatal, life);
            }
            Some(RetiringRecord { failed: Some(what), .. }) => {
                self.count_failure(context, number, what);
            }
            Some(_) => {}
        }
        self.record.ended.insert(number);
        self.dirty = true;
    }

    fn explain(
        &self,
        context: &Context,
        outcome: Option<&tidegate_shim::Outcome>,
        life: Duration,
    ) -> (String, bool) {
        let artifact = (context.artifacts)(&self.record.spec.artifact);
        if artifact.is_dir() {
            return describe::end(outcome, life);
        }
        let (what, _) = describe::end(outcome, life);
        let what = format!("the folder of its release is missing: {} ({what})", artifact.display());
        (what, true)
    }

    /// Counts a failure that made an instance retire, once.
    pub(crate) fn count_failure(&mut self, context: &Context, number: u32, what: String) {
        let instance = self.instances.get(&number);
        let life = instance
            .map_or(Duration::ZERO, |instance| context.steady.now().since(instance.started));
        // One that was never ready had all the time that it may have: another try takes as long
        // again and tells nothing new. The pause before it is the usual one all the same.
        let was_late = instance.is_some_and(|instance| !instance.checks().was_ready);
        if self.fail(context, number, what, false, life)
            && was_late
            && let Some(failure) = &mut self.record.failure
        {
            failure.fatal = true;
        }
    }

    /// Counts a failure of an instance, once; says whether this was the time.
    fn fail(
        &mut self,
        context: &Context,
        number: u32,
        what: String,
        fatal: bool,
        life: Duration,
    ) -> bool {
        if !self.record.counted.insert(number) {
            return false;
        }
        self.record.exits = self.record.exits.saturating_add(1);
        self.record.streak.add(context.steady.now(), life, fatal);
        self.remember_failure(context, number, what, fatal);
        true
    }

    /// A start that failed before there was a process.
    pub(crate) fn start_failed(&mut self, context: &Context, number: u32, what: String) {
        let now = context.steady.now();
        let fatal = self.record.streak.in_a_row(now) + 1 >= FAILED_STARTS;
        self.record.streak.add(now, Duration::ZERO, false);
        self.record.ended.insert(number);
        self.remember_failure(context, number, what, fatal);
    }

    fn remember_failure(&mut self, context: &Context, number: u32, what: String, fatal: bool) {
        let log = tidegate_shim::tail(&self.folder.join(number.to_string()), FAILURE_LINES)
            .unwrap_or_default();
        self.record.failure = Some(InstanceFailure {
            instance: InstanceId::of(&self.id, number),
            at: (context.clock)(),
            what,
            fatal,
            log: log.iter().map(|line| shortened(&line.text)).collect(),
        });
        self.dirty = true;
    }

    /// Puts on disk what changed, and forgets the oldest dead instances. What cannot be written is
    /// tried again the next time.
    pub(crate) fn save(&mut self) -> Result<(), String> {
        if !self.dirty {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)
            .map_err(|error| format!("{}: {error}", self.folder.display()))?;
        self.record.write(&self.folder)?;
        self.dirty = false;
        let surplus = self.record.ended.len().saturating_sub(DEAD_KEPT);
        for number in self.record.ended.clone().into_iter().take(surplus) {
            let directory = self.folder.join(number.to_string());
            match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, folder = %directory.display(), "could not be removed");
                }
                _ => {
                    // On disk with the next change: a number without a folder does no harm.
                    self.record.ended.remove(&number);
                    self.record.counted.remove(&number);
                }
            }
        }
        Ok(())
    }

    /// Puts aside what is on disk of it. Why it failed is asked after it is gone, so that the last
    /// few of an environment keep their logs.
    pub(crate) fn put_aside(&self, context: &Context) -> std::io::Result<()> {
        let ended = context.layout.ended(&self.scope);
        fs::create_dir_all(&ended)?;
        let aside = ended.join(self.id.as_str());
        let moved = remove_folder(&aside).and_then(|()| fs::rename(&self.folder, &aside));
        if moved.is_err() {
            return remove_folder(&self.folder);
        }
        let mut kept: Vec<((i64, i64), PathBuf)> = fs::read_dir(&ended)?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let known = entry.metadata().ok()?;
                // When it was put here: a move changes nothing else of a folder.
                Some(((known.ctime(), known.ctime_nsec()), entry.path()))
            })
            .collect();
        kept.sort();
        let surplus = kept.len().saturating_sub(KEPT_ENDED);
        kept.into_iter().take(surplus).try_for_each(|(_, folder)| remove_folder(&folder))
    }

    pub(crate) fn view(
        &self,
        context: &Context,
        wanted: Option<u32>,
        has_left: impl Fn(&InstanceId) -> bool,
    ) -> RevisionView {
        let now = context.steady.now();
        let process = self.process();
        RevisionView {
            // A static site needs no instances.
            wanted: process.and(wanted),
            fixed_port: process.is_some_and(|process| process.fixed_port.is_some()),
            drain: process.map_or(Duration::ZERO, |process| process.stop.drain),
            deadline: self.health().map_or(Duration::ZERO, |health| health.deadline),
            failures: self.record.streak.in_a_row(now),
            not_before: self.record.streak.not_before(now),
            instances: self.instances.values().map(|instance| instance.view(&has_left)).collect(),
        }
    }

    /// Where its requests go now; `others` are the sites that it answers assets from besides its
    /// own, if it is one.
    pub(crate) fn upstream(&self, context: &Context, others: Vec<OtherFiles>) -> Upstream {
        match &self.record.spec.workload {
            Workload::Static(site) => Upstream::Files {
                root: (context.artifacts)(&self.record.spec.artifact),
                single_page: site.single_page,
                others,
            },
            Workload::Process(process) => {
                let route = self.record.spec.route.as_ref();
                let protocol = route.map(|route| route.handling.protocol).unwrap_or_default();
                let ready = self
                    .instances
                    .values()
                    .filter(|instance| instance.retiring.is_none())
                    .filter(|instance| instance.checks().health() == Health::Ready);
                let endpoint = |instance: &Instance| {
                    let address = ([127, 0, 0, 1], instance.record.port?).into();
                    Some(Endpoint {
                        instance: instance.id.clone(),
                        address,
                        check: Check::of(&process.health),
                        protocol,
                        drain: Some(process.stop.drain),
                    })
                };
                Upstream::Endpoints(ready.filter_map(endpoint).collect())
            }
        }
    }

    pub(crate) fn facts(&self) -> RevisionFacts {
        let mut facts = RevisionFacts {
            exits: self.record.exits,
            failure: self.record.failure.clone(),
            ..RevisionFacts::default()
        };
        if self.process().is_none() {
            facts.ready = u32::from(self.files_are_there);
        }
        for instance in self.instances.values() {
            let checks = instance.checks();
            facts.running += 1;
            if instance.retiring.is_some() {
                facts.draining += 1;
            } else if checks.health() == Health::Ready {
                facts.ready += 1;
            }
            if checks.was_ready {
                facts.failed_checks = facts.failed_checks.max(checks.failed);
            }
            facts.instances.push(instance.facts(&checks));
        }
        facts
    }

    /// Looks whether the files of a static site are there.
    pub(crate) fn look_for_files(&mut self, context: &Context) {
        if self.process().is_none() {
            self.files_are_there = (context.artifacts)(&self.record.spec.artifact).is_dir();
        }
    }

    /// The sentence for an instance that was not ready in time.
    pub(crate) fn too_late(&self, number: u32) -> String {
        let deadline = self.health().map_or(Duration::ZERO, |health| health.deadline);
        let said = self.said(number);
        format!("not ready within {deadline}: {said}")
    }

    /// The sentence for an instance that is broken.
    pub(crate) fn broken(&self, number: u32) -> String {
        let count =
            self.instances.get(&number).map_or(0, |instance| instance.checks().live_failed());
        format!("replaced after {count} failed checks in a row: {}", self.said(number))
    }

    fn said(&self, number: u32) -> String {
        self.instances
            .get(&number)
            .and_then(|instance| instance.checks().said)
            .unwrap_or_else(|| "no check was made".to_owned())
    }
}

fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
