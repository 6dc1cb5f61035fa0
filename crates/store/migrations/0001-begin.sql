-- Landed migrations are never edited; a change is a new file. Times are nanoseconds since 1970, UTC.

CREATE TABLE stacks (
    id          INTEGER PRIMARY KEY,
    project     TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    uid_base    INTEGER NOT NULL UNIQUE,
    generation  INTEGER NOT NULL,
    desire      TEXT    NOT NULL,
    allocation  TEXT,
    created_at  INTEGER NOT NULL,
    UNIQUE (project, environment)
) STRICT;

CREATE TABLE releases (
    stack       INTEGER NOT NULL REFERENCES stacks (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    bundle      TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    message     TEXT,
    config_hash TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    state       TEXT    NOT NULL CHECK (state IN ('planned', 'running', 'done', 'failed', 'superseded')),
    outcome     TEXT,
    PRIMARY KEY (stack, number)
) STRICT, WITHOUT ROWID;

-- The stack is named, not referred to: its events outlive it.
CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time    INTEGER NOT NULL,
    stack   TEXT,
    subject TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    cause   TEXT,
    text    TEXT    NOT NULL,
    data    TEXT
) STRICT;
CREATE INDEX events_by_stack ON events (stack, id);

CREATE TABLE runs (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    stack    INTEGER NOT NULL REFERENCES stacks (id) ON DELETE CASCADE,
    basis    INTEGER NOT NULL,
    digest   TEXT    NOT NULL,
    plan     TEXT    NOT NULL,
    begun_at INTEGER NOT NULL,
    ended_at INTEGER,
    ending   TEXT CHECK (ending IN ('complete', 'stopped', 'failed', 'interrupted')),
    CHECK ((ended_at IS NULL) = (ending IS NULL))
) STRICT;
CREATE INDEX runs_by_stack ON runs (stack, id);
-- At most one run of a stack is open.
CREATE UNIQUE INDEX open_runs ON runs (stack) WHERE ended_at IS NULL;

CREATE TABLE steps (
    run      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step     INTEGER NOT NULL,
    begun_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome  TEXT CHECK (outcome IN ('done', 'failed', 'given up')),
    error    TEXT,
    PRIMARY KEY (run, step),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
