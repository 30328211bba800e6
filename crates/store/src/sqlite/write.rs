//! The statements that write. Each function runs inside a savepoint of the writer's transaction.

use rusqlite::{Connection, OptionalExtension as _, Row};
use tidegate_types::{DeploymentId, DeploymentKind, Release, RevisionId, Sample, Timestamp};

use super::fault::Fault;
use crate::{
    Accepted, Committed, Deployment, Error, Input, NewDeployment, NewInput, Project, Requested,
    Transition,
};

/// `SQLite` has no unsigned numbers. One that is too large for it is none that it ever gave.
pub(super) fn signed<N: TryInto<i64>>(number: N) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Back from [`signed`].
pub(super) fn unsigned(number: i64) -> Result<u64, Fault> {
    u64::try_from(number).map_err(|_| Fault::Damaged(format!("{number} where a count should be")))
}

pub(super) fn kind_name(kind: DeploymentKind) -> &'static str {
    match kind {
        DeploymentKind::Deploy => "deploy",
        DeploymentKind::Rollback => "rollback",
    }
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| {
        Fault::Refused(Error::Invalid { reason: format!("cannot be written as JSON: {error}") })
    })
}

pub(super) fn put_project(connection: &Connection, project: &Project) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO project (name, repository, created_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET repository = excluded.repository",
        )?
        .execute((project.name.as_str(), &project.repository, project.created_at.as_millis()))?;
    Ok(())
}

pub(super) fn request_deployment(
    connection: &Connection,
    new: &NewDeployment,
) -> Result<Requested, Fault> {
    let scope = new.scope.to_string();
    if let Some(key) = &new.key {
        let known = connection
            .prepare_cached("SELECT id, scope FROM deployment WHERE key = ?1")?
            .query_row([key], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        if let Some((id, known_scope)) = known {
            if known_scope != scope {
                return Err(Error::key_of_deployment(key, id, known_scope).into());
            }
            return Ok(Requested { id: DeploymentId(unsigned(id)?), duplicate: true });
        }
    }
    let request = new.request.to_string();
    let at = new.requested_at.as_millis();
    let id: i64 = connection
        .prepare_cached(
            "INSERT INTO deployment
                 (key, scope, project, kind, status, actor, reason, request, summary, requested_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'null', ?9) RETURNING id",
        )?
        .query_row(
            (
                &new.key,
                &scope,
                new.scope.project.as_str(),
                kind_name(new.kind),
                Deployment::REQUESTED,
                &new.actor,
                &new.reason,
                &request,
                at,
            ),
            |row| row.get(0),
        )?;
    let deployment = DeploymentId(unsigned(id)?);
    connection
        .prepare_cached(
            "INSERT INTO inbox (key, scope, kind, deployment, actor, payload, received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            Input::key_of(deployment),
            &scope,
            Input::DEPLOYMENT_REQUESTED,
            id,
            &new.actor,
            &request,
            at,
        ))?;
    Ok(Requested { id: deployment, duplicate: false })
}

pub(super) fn accept(connection: &Connection, new: &NewInput) -> Result<Accepted, Fault> {
    if new.key.starts_with(Input::OWN_KEYS) {
        return Err(Error::own_key(&new.key).into());
    }
    let scope = new.scope.to_string();
    let inserted = connection
        .prepare_cached(
            "INSERT INTO inbox (key, scope, kind, actor, payload, received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key) DO NOTHING",
        )?
        .execute((
            &new.key,
            &scope,
            &new.kind,
            &new.actor,
            new.payload.to_string(),
            new.received_at.as_millis(),
        ))?;
    if inserted == 1 {
        return Ok(Accepted::New);
    }
    let (known_scope, kind): (String, String) = connection
        .prepare_cached("SELECT scope, kind FROM inbox WHERE key = ?1")?
        .query_row([&new.key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if known_scope == scope && kind == new.kind {
        Ok(Accepted::Duplicate)
    } else {
        Err(Error::key_of_input(&new.key, &kind, known_scope).into())
    }
}

/// A transition with its JSON written.
#[derive(Debug)]
pub(super) struct EncodedTransition {
    transition: Transition,
    scope: String,
    state: String,
    /// Of each event.
    payloads: Vec<String>,
    /// Summary and plan of each deployment.
    deployments: Vec<(String, Option<String>)>,
}

impl EncodedTransition {
    pub(super) fn of(transition: Transition) -> Self {
        let deployments = transition.deployments.iter().map(|update| {
            let plan = update.plan.as_ref().map(ToString::to_string);
            (update.summary.to_string(), plan)
        });
        let payloads = transition.events.iter().map(|event| event.payload.to_string());
        Self {
            scope: transition.scope.to_string(),
            state: transition.state.to_string(),
            payloads: payloads.collect(),
            deployments: deployments.collect(),
            transition,
        }
    }
}

pub(super) fn commit(
    connection: &Connection,
    encoded: &EncodedTransition,
) -> Result<Committed, Fault> {
    let committed = replace_state(connection, encoded)?;
    apply_inputs(connection, encoded)?;
    update_deployments(connection, encoded)?;
    append_events(connection, encoded, committed.last_seq)?;
    Ok(committed)
}

/// The compare-and-set on which everything rests.
fn replace_state(connection: &Connection, encoded: &EncodedTransition) -> Result<Committed, Fault> {
    let transition = &encoded.transition;
    let expected = signed(transition.expected_version);
    let values = (
        &encoded.scope,
        &encoded.state,
        transition.wake_at.map(Timestamp::as_millis),
        transition.at.as_millis(),
        signed(transition.events.len()),
    );
    let numbers = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let replaced = if expected == 0 {
        connection
            .prepare_cached(
                "INSERT INTO scope (scope, version, state, wake_at, updated_at, last_seq)
                 VALUES (?1, 1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (scope) DO NOTHING RETURNING version, last_seq",
            )?
            .query_row(values, numbers)
    } else {
        let (scope, state, wake_at, at, events) = values;
        connection
            .prepare_cached(
                "UPDATE scope SET version = version + 1, state = ?2, wake_at = ?3, updated_at = ?4,
                     last_seq = last_seq + ?5
                 WHERE scope = ?1 AND version = ?6 RETURNING version, last_seq",
            )?
            .query_row((scope, state, wake_at, at, events, expected), numbers)
    };
    if let Some((version, last_seq)) = replaced.optional()? {
        return Ok(Committed { version: unsigned(version)?, last_seq: unsigned(last_seq)? });
    }
    let found: Option<i64> = connection
        .prepare_cached("SELECT version FROM scope WHERE scope = ?1")?
        .query_row([&encoded.scope], |row| row.get(0))
        .optional()?;
    Err(Fault::Refused(Error::Conflict {
        scope: transition.scope.clone(),
        expected: transition.expected_version,
        found: unsigned(found.unwrap_or(0))?,
    }))
}

/// An input is used up once: a key that is not pending refuses the whole transition.
fn apply_inputs(connection: &Connection, encoded: &EncodedTransition) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "UPDATE inbox SET applied_at = ?3 WHERE key = ?1 AND scope = ?2 AND applied_at IS NULL",
    )?;
    let transition = &encoded.transition;
    for key in &transition.applied {
        let at = transition.at.as_millis();
        if statement.execute((key, &encoded.scope, at))? != 1 {
            return Err(Error::not_pending(key, &transition.scope).into());
        }
    }
    Ok(())
}

fn update_deployments(connection: &Connection, encoded: &EncodedTransition) -> Result<(), Fault> {
    let pieces = encoded.transition.deployments.iter();
    for (update, (summary, plan)) in pieces.zip(&encoded.deployments) {
        let updated = connection
            .prepare_cached(
                "UPDATE deployment SET status = ?3, summary = ?4, release = coalesce(?5, release),
                     ended_at = coalesce(?6, ended_at)
                 WHERE id = ?1 AND scope = ?2",
            )?
            .execute((
                signed(update.id.0),
                &encoded.scope,
                &update.status,
                summary,
                update.release.as_ref().map(tidegate_types::ReleaseId::as_str),
                update.ended_at.map(Timestamp::as_millis),
            ))?;
        if updated != 1 {
            return Err(Error::no_deployment(update.id, &encoded.scope).into());
        }
        if let Some(plan) = plan {
            connection
                .prepare_cached(
                    "INSERT INTO plan (deployment, plan) VALUES (?1, ?2)
                     ON CONFLICT (deployment) DO UPDATE SET plan = excluded.plan",
                )?
                .execute((signed(update.id.0), plan))?;
        }
    }
    Ok(())
}

fn append_events(
    connection: &Connection,
    encoded: &EncodedTransition,
    last_seq: u64,
) -> Result<(), Fault> {
    let transition = &encoded.transition;
    let first_seq = signed(last_seq) - signed(transition.events.len()) + 1;
    let mut known = None;
    for ((event, payload), seq) in transition.events.iter().zip(&encoded.payloads).zip(first_seq..)
    {
        // The events of a transition are nearly always all of one deployment.
        if let Some(id) = event.deployment
            && known != Some(id)
        {
            let found = connection
                .prepare_cached("SELECT 1 FROM deployment WHERE id = ?1 AND scope = ?2")?
                .exists((signed(id.0), &encoded.scope))?;
            if !found {
                return Err(Error::no_deployment(id, &encoded.scope).into());
            }
            known = Some(id);
        }
        connection
            .prepare_cached(
                "INSERT INTO event (scope, seq, deployment, kind, schema, at, actor, payload)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute((
                &encoded.scope,
                seq,
                event.deployment.map(|id| signed(id.0)),
                &event.kind,
                event.schema,
                transition.at.as_millis(),
                &event.actor,
                payload,
            ))?;
    }
    Ok(())
}

pub(super) fn put_release(connection: &Connection, release: &Release) -> Result<(), Fault> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO release (id, project, commit_hash, version, dirty, built_at, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO NOTHING",
        )?
        .execute((
            release.id.as_str(),
            release.project.as_str(),
            &release.commit,
            &release.version,
            release.dirty,
            release.built_at.as_millis(),
            to_json(release)?,
        ))?;
    if inserted == 1 {
        return Ok(());
    }
    let (project, commit): (String, String) = connection
        .prepare_cached("SELECT project, commit_hash FROM release WHERE id = ?1")?
        .query_row([release.id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Error::unless_same_release(release, &project, &commit)?)
}

pub(super) fn put_samples(
    connection: &Connection,
    deployment: DeploymentId,
    samples: &[(RevisionId, Sample)],
) -> Result<(), Fault> {
    let found = connection
        .prepare_cached("SELECT 1 FROM deployment WHERE id = ?1")?
        .exists([signed(deployment.0)])?;
    if !found {
        return Err(Error::no_deployment(deployment, "the store").into());
    }
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO sample (deployment, revision, to_at, from_at, counters)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (revision, sample) in samples {
        statement.execute((
            signed(deployment.0),
            revision.as_str(),
            sample.to.as_millis(),
            sample.from.as_millis(),
            to_json(&sample.counters)?,
        ))?;
    }
    Ok(())
}

pub(super) fn forget_samples(connection: &Connection, before: Timestamp) -> Result<u64, Fault> {
    let forgotten = connection
        .prepare_cached("DELETE FROM sample WHERE to_at < ?1")?
        .execute([before.as_millis()])?;
    Ok(forgotten as u64)
}

pub(super) fn set_meta(connection: &Connection, key: &str, value: &str) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute((key, value))?;
    Ok(())
}
