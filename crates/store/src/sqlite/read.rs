//! The statements that read. Each function is one statement, and so sees one moment.

use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension as _, Params, Row};
use serde::de::DeserializeOwned;
use tidegate_types::{
    Counters, DeploymentId, DeploymentKind, ProjectName, Release, ReleaseId, RevisionId, Sample,
    Scope, Timestamp,
};

use super::{
    fault::Fault,
    write::{kind_name, signed, unsigned},
};
use crate::{Deployment, DeploymentDetail, DeploymentFilter, Event, Input, Project, Stored};

pub(super) fn projects(connection: &Connection) -> Result<Vec<Project>, Fault> {
    list(connection, "SELECT name, repository, created_at FROM project ORDER BY name", [], |row| {
        Ok(Project { name: parsed(row, 0)?, repository: row.get(1)?, created_at: time(row, 2)? })
    })
}

const PENDING: &str = "SELECT key, scope, kind, deployment, actor, payload, received_at FROM inbox
    WHERE scope = ?1 AND applied_at IS NULL ORDER BY sequence";

pub(super) fn pending(connection: &Connection, scope: &Scope) -> Result<Vec<Input>, Fault> {
    list(connection, PENDING, [scope.to_string()], |row| {
        Ok(Input {
            key: row.get(0)?,
            scope: parsed(row, 1)?,
            kind: row.get(2)?,
            deployment: number(row, 3)?.map(DeploymentId),
            actor: row.get(4)?,
            payload: json(row, 5)?,
            received_at: time(row, 6)?,
        })
    })
}

const LOAD: &str = "SELECT version, state, wake_at, last_seq FROM scope WHERE scope = ?1";

pub(super) fn load(connection: &Connection, scope: &Scope) -> Result<Option<Stored>, Fault> {
    one(connection, LOAD, [scope.to_string()], |row| {
        Ok(Stored {
            version: unsigned(row.get(0)?)?,
            state: json(row, 1)?,
            wake_at: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
            last_seq: unsigned(row.get(3)?)?,
        })
    })
}

pub(super) fn scopes(connection: &Connection) -> Result<Vec<Scope>, Fault> {
    list(
        connection,
        "SELECT scope FROM scope UNION SELECT scope FROM inbox WHERE applied_at IS NULL ORDER BY 1",
        [],
        |row| parsed(row, 0),
    )
}

const DEPLOYMENT: &str =
    "id, scope, release, kind, status, actor, reason, summary, requested_at, ended_at";

fn to_deployment(row: &Row<'_>) -> Result<Deployment, Fault> {
    Ok(Deployment {
        id: DeploymentId(unsigned(row.get(0)?)?),
        scope: parsed(row, 1)?,
        release: row.get::<_, Option<String>>(2)?.map(ReleaseId::new),
        kind: kind(row, 3)?,
        status: row.get(4)?,
        actor: row.get(5)?,
        reason: row.get(6)?,
        summary: json(row, 7)?,
        requested_at: time(row, 8)?,
        ended_at: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_millis),
    })
}

fn detail() -> String {
    format!(
        "SELECT {DEPLOYMENT}, request, plan FROM deployment
         LEFT JOIN plan ON plan.deployment = deployment.id WHERE id = ?1"
    )
}

pub(super) fn deployment(
    connection: &Connection,
    id: DeploymentId,
) -> Result<Option<DeploymentDetail>, Fault> {
    one(connection, &detail(), [signed(id.0)], |row| {
        Ok(DeploymentDetail {
            deployment: to_deployment(row)?,
            request: json(row, 10)?,
            plan: match row.get_ref(11)?.as_str_or_null().map_err(damaged)? {
                Some(_) => Some(json(row, 11)?),
                None => None,
            },
        })
    })
}

/// One statement for each filter: `?3 IS NULL OR ..` would keep `SQLite` from using an index.
fn listing(filter: &DeploymentFilter) -> String {
    let condition = match filter {
        DeploymentFilter::All => "",
        DeploymentFilter::Project(_) => "project = ?3 AND",
        DeploymentFilter::Scope(_) => "scope = ?3 AND",
    };
    format!(
        "SELECT {DEPLOYMENT} FROM deployment WHERE {condition} id < ?1 ORDER BY id DESC LIMIT ?2"
    )
}

pub(super) fn deployments(
    connection: &Connection,
    filter: &DeploymentFilter,
    before: Option<DeploymentId>,
    limit: usize,
) -> Result<Vec<Deployment>, Fault> {
    let before = before.map_or(i64::MAX, |id| signed(id.0));
    let limit = signed(limit);
    let statement = listing(filter);
    match filter {
        DeploymentFilter::All => list(connection, &statement, [before, limit], to_deployment),
        DeploymentFilter::Project(project) => {
            list(connection, &statement, (before, limit, project.as_str()), to_deployment)
        }
        DeploymentFilter::Scope(scope) => {
            list(connection, &statement, (before, limit, scope.to_string()), to_deployment)
        }
    }
}

const EVENT: &str = "scope, seq, deployment, kind, schema, at, actor, payload";

fn to_event(row: &Row<'_>) -> Result<Event, Fault> {
    Ok(Event {
        scope: parsed(row, 0)?,
        seq: unsigned(row.get(1)?)?,
        deployment: number(row, 2)?.map(DeploymentId),
        kind: row.get(3)?,
        schema: row.get(4)?,
        at: time(row, 5)?,
        actor: row.get(6)?,
        payload: json(row, 7)?,
    })
}

fn journal(of: &str) -> String {
    format!("SELECT {EVENT} FROM event WHERE {of} = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")
}

pub(super) fn events(
    connection: &Connection,
    scope: &Scope,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, Fault> {
    list(connection, &journal("scope"), (scope.to_string(), signed(after), signed(limit)), to_event)
}

pub(super) fn deployment_events(
    connection: &Connection,
    id: DeploymentId,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, Fault> {
    list(connection, &journal("deployment"), (signed(id.0), signed(after), signed(limit)), to_event)
}

const RELEASE: &str = "SELECT body FROM release WHERE id = ?1";

pub(super) fn release(connection: &Connection, id: &ReleaseId) -> Result<Option<Release>, Fault> {
    one(connection, RELEASE, [id.as_str()], |row| json(row, 0))
}

const RELEASES: &str =
    "SELECT body FROM release WHERE project = ?1 ORDER BY built_at DESC, id DESC LIMIT ?2";

pub(super) fn releases(
    connection: &Connection,
    project: &ProjectName,
    limit: usize,
) -> Result<Vec<Release>, Fault> {
    list(connection, RELEASES, (project.as_str(), signed(limit)), |row| json(row, 0))
}

const RELEASE_OF_COMMIT: &str =
    "SELECT body FROM release WHERE project = ?1 AND commit_hash = ?2 AND dirty = 0
    ORDER BY built_at DESC, id DESC LIMIT 1";

pub(super) fn release_of_commit(
    connection: &Connection,
    project: &ProjectName,
    commit: &str,
) -> Result<Option<Release>, Fault> {
    one(connection, RELEASE_OF_COMMIT, (project.as_str(), commit), |row| json(row, 0))
}

const SAMPLES: &str = "SELECT from_at, to_at, counters FROM sample
    WHERE deployment = ?1 AND revision = ?2 AND to_at > ?3 ORDER BY to_at";

pub(super) fn samples(
    connection: &Connection,
    deployment: DeploymentId,
    revision: &RevisionId,
    since: Timestamp,
) -> Result<Vec<Sample>, Fault> {
    list(connection, SAMPLES, (signed(deployment.0), revision.as_str(), since.as_millis()), |row| {
        Ok(Sample { from: time(row, 0)?, to: time(row, 1)?, counters: json::<Counters>(row, 2)? })
    })
}

pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<String>, Fault> {
    one(connection, "SELECT value FROM meta WHERE key = ?1", [key], |row| Ok(row.get(0)?))
}

fn list<T>(
    connection: &Connection,
    statement: &str,
    parameters: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn one<T>(
    connection: &Connection,
    statement: &str,
    parameters: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    connection
        .prepare_cached(statement)?
        .query_row(parameters, |row| Ok(read(row)))
        .optional()?
        .transpose()
}

fn damaged(error: impl std::fmt::Display) -> Fault {
    Fault::Damaged(error.to_string())
}

/// Says which column, for a person who has to look at the file.
fn column_damaged(row: &Row<'_>, column: usize, why: &dyn std::fmt::Display) -> Fault {
    let name = row.as_ref().column_name(column).unwrap_or("?").to_owned();
    Fault::Damaged(format!("a row with a wrong `{name}`: {why}"))
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(row: &Row<'_>, column: usize) -> Result<T, Fault> {
    let text = row.get_ref(column)?.as_str().map_err(damaged)?;
    text.parse().map_err(|error: T::Err| column_damaged(row, column, &error))
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, Fault> {
    let text = row.get_ref(column)?.as_str().map_err(damaged)?;
    serde_json::from_str(text).map_err(|error| column_damaged(row, column, &error))
}

fn kind(row: &Row<'_>, column: usize) -> Result<DeploymentKind, Fault> {
    let text = row.get_ref(column)?.as_str().map_err(damaged)?;
    [DeploymentKind::Deploy, DeploymentKind::Rollback]
        .into_iter()
        .find(|kind| kind_name(*kind) == text)
        .ok_or_else(|| column_damaged(row, column, &format!("`{text}` is no kind")))
}

fn number(row: &Row<'_>, column: usize) -> Result<Option<u64>, Fault> {
    row.get::<_, Option<i64>>(column)?.map(unsigned).transpose()
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, Fault> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        Options,
        sqlite::{
            connection,
            migration::{MIGRATIONS, migrate},
        },
    };

    fn database(folder: &Path) -> Connection {
        let path = folder.join("tidegate.db");
        let mut connection = connection::open_writer(&path, &Options::default()).unwrap();
        migrate(&mut connection, &path, MIGRATIONS).unwrap();
        connection
    }

    /// Ten thousand deployments must not make these slower than ten: nothing is read through or
    /// sorted.
    #[test]
    fn no_question_grows_with_the_history() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(folder.path());
        let scope: Scope = "shop/production".parse().unwrap();
        for statement in [
            PENDING,
            LOAD,
            &detail(),
            &listing(&DeploymentFilter::All),
            &listing(&DeploymentFilter::Project(scope.project.clone())),
            &listing(&DeploymentFilter::Scope(scope)),
            &journal("scope"),
            &journal("deployment"),
            RELEASE,
            RELEASES,
            RELEASE_OF_COMMIT,
            SAMPLES,
            "DELETE FROM sample WHERE to_at < ?1",
            "UPDATE inbox SET applied_at = 1 WHERE key = ?1 AND scope = ?2 AND applied_at IS NULL",
        ] {
            // The plan is the same whatever is asked for.
            let asked = statement.replace('?', "'a' || ");
            let steps = list(&connection, &format!("EXPLAIN QUERY PLAN {asked}"), [], |row| {
                Ok(row.get::<_, String>("detail")?)
            });
            for step in steps.unwrap() {
                assert!(step.starts_with("SEARCH"), "{statement}: {step}");
            }
        }
    }

    #[test]
    fn a_row_that_nobody_stored_is_told_with_its_column() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(folder.path());
        for (name, state, expected) in
            [("shop/production", "{", "wrong `state`"), ("production", "{}", "wrong `scope`")]
        {
            connection
                .execute("INSERT INTO scope VALUES (?1, 1, 0, ?2, NULL, 0)", [name, state])
                .unwrap();
            let fault = match name.parse() {
                Ok(scope) => load(&connection, &scope).unwrap_err(),
                Err(_) => scopes(&connection).unwrap_err(),
            };
            let told = fault.into_error("read", Path::new("tidegate.db")).to_string();
            assert!(told.contains(expected), "{told}");
        }
    }
}
