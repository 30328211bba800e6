-- Times are milliseconds since 1970-01-01 UTC. Columns called state, plan, request, summary,
-- payload, counters and body hold JSON as text.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE project (
    name       TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row is the unit of consistency: version is compared and swapped by each transition.
CREATE TABLE scope (
    scope      TEXT PRIMARY KEY,             -- project/environment
    version    INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,             -- of its latest event
    state      TEXT NOT NULL,
    wake_at    INTEGER,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE deployment (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again
    key          TEXT UNIQUE,
    scope        TEXT NOT NULL,
    project      TEXT NOT NULL,              -- the first half of scope, to list by
    release      TEXT,
    kind         TEXT NOT NULL,
    status       TEXT NOT NULL,
    actor        TEXT NOT NULL,
    reason       TEXT,
    request      TEXT NOT NULL,
    summary      TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    ended_at     INTEGER
) STRICT;
CREATE INDEX deployment_of_scope ON deployment (scope);      -- and id, which every index ends with
CREATE INDEX deployment_of_project ON deployment (project);

-- Apart from deployment, whose row is written again and again while the plan never changes.
CREATE TABLE plan (
    deployment INTEGER PRIMARY KEY REFERENCES deployment,
    plan       TEXT NOT NULL
) STRICT;

CREATE TABLE event (
    scope      TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    deployment INTEGER REFERENCES deployment,
    kind       TEXT NOT NULL,
    schema     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    actor      TEXT,
    payload    TEXT NOT NULL,
    PRIMARY KEY (scope, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_of_deployment ON event (deployment, seq) WHERE deployment IS NOT NULL;

CREATE TABLE inbox (
    sequence    INTEGER PRIMARY KEY,         -- the order of acceptance, whatever the clock says
    key         TEXT NOT NULL UNIQUE,
    scope       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    deployment  INTEGER REFERENCES deployment,
    actor       TEXT NOT NULL,
    payload     TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    applied_at  INTEGER
) STRICT;
CREATE INDEX inbox_pending ON inbox (scope, sequence) WHERE applied_at IS NULL;

CREATE TABLE release (
    id          TEXT PRIMARY KEY,
    project     TEXT NOT NULL,
    commit_hash TEXT NOT NULL,
    version     TEXT NOT NULL,
    dirty       INTEGER NOT NULL,
    built_at    INTEGER NOT NULL,
    body        TEXT NOT NULL
) STRICT;
CREATE INDEX release_of_project ON release (project, built_at, id);
CREATE INDEX release_of_commit ON release (project, commit_hash, built_at, id) WHERE dirty = 0;

CREATE TABLE sample (
    deployment INTEGER NOT NULL REFERENCES deployment,
    revision   TEXT NOT NULL,
    to_at      INTEGER NOT NULL,
    from_at    INTEGER NOT NULL,
    counters   TEXT NOT NULL,
    PRIMARY KEY (deployment, revision, to_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX sample_by_end ON sample (to_at);
