-- dedup_current: the generation that takes new keys; dedup_since_ms: since when.
CREATE TABLE meta (
    key   TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('dedup_current', 0), ('dedup_since_ms', 0);

CREATE TABLE dedup_0 (
    slot INTEGER NOT NULL,
    key  BLOB    NOT NULL,
    PRIMARY KEY (slot, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE dedup_1 (
    slot INTEGER NOT NULL,
    key  BLOB    NOT NULL,
    PRIMARY KEY (slot, key)
) STRICT, WITHOUT ROWID;

-- Live jobs only: a finished one is deleted, a hopeless one moves to dead_letters.
CREATE TABLE jobs (
    slot           INTEGER NOT NULL,
    id             BLOB    NOT NULL,
    tenant         TEXT    NOT NULL,
    tool_type      TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    ticket_id      TEXT    NOT NULL,
    correlation_id TEXT    NOT NULL,
    metadata       TEXT    NOT NULL,
    accepted_ms    INTEGER NOT NULL,
    due_ms         INTEGER NOT NULL,              -- queued: from when it may be taken; running: when its lease ends
    running        INTEGER NOT NULL DEFAULT 0,
    fence          INTEGER NOT NULL DEFAULT 0,    -- raised by each claim
    attempt        INTEGER NOT NULL DEFAULT 0,    -- counted by the claim
    errors         TEXT    NOT NULL DEFAULT '[]',
    sent           INTEGER NOT NULL DEFAULT 0,    -- the note may have been posted
    PRIMARY KEY (slot, id)
) STRICT, WITHOUT ROWID;
-- With accepted_ms in it, depth and oldest age are read from the index alone.
CREATE INDEX jobs_due ON jobs (slot, tenant, due_ms, accepted_ms);

-- The fence stays, so that a lease from before can match nothing when the job is put back.
CREATE TABLE dead_letters (
    slot           INTEGER NOT NULL,
    id             BLOB    NOT NULL,
    tenant         TEXT    NOT NULL,
    tool_type      TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    ticket_id      TEXT    NOT NULL,
    correlation_id TEXT    NOT NULL,
    metadata       TEXT    NOT NULL,
    accepted_ms    INTEGER NOT NULL,
    fence          INTEGER NOT NULL,
    attempt        INTEGER NOT NULL,
    errors         TEXT    NOT NULL,
    sent           INTEGER NOT NULL,
    died_ms        INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    PRIMARY KEY (slot, id)
) STRICT, WITHOUT ROWID;
