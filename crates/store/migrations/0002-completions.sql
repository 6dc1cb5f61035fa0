-- Jobs that have done their work, by the hash of their template: they are not run again.

CREATE TABLE completions (
    stack    INTEGER NOT NULL REFERENCES stacks (id) ON DELETE CASCADE,
    service  TEXT    NOT NULL,
    hash     TEXT    NOT NULL,
    replicas INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (stack, service, hash)
) STRICT, WITHOUT ROWID;
