-- Rows are appended in the order in which they come, whatever their slot: one page takes several, and only short index
-- entries go to places of their own.
CREATE TABLE jobs_appended (
    seq            INTEGER NOT NULL PRIMARY KEY,
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
    sent           INTEGER NOT NULL DEFAULT 0     -- the note may have been posted
) STRICT;
INSERT INTO jobs_appended (slot, id, tenant, tool_type, kind, ticket_id, correlation_id, metadata, accepted_ms, due_ms,
                           running, fence, attempt, errors, sent)
SELECT slot, id, tenant, tool_type, kind, ticket_id, correlation_id, metadata, accepted_ms, due_ms,
       running, fence, attempt, errors, sent
FROM jobs ORDER BY accepted_ms;
DROP TABLE jobs;
ALTER TABLE jobs_appended RENAME TO jobs;
CREATE UNIQUE INDEX jobs_id ON jobs (slot, id);
-- With accepted_ms in it, depth and oldest age are read from the index alone.
CREATE INDEX jobs_due ON jobs (slot, tenant, due_ms, accepted_ms);

-- Dedup keys that have just come, in that order, until they are sorted into their generation. dedup_run: the run that
-- takes new keys; the other is being sorted in, or empty.
CREATE TABLE dedup_run_0 (
    slot INTEGER NOT NULL,
    key  BLOB    NOT NULL
) STRICT;
CREATE TABLE dedup_run_1 (
    slot INTEGER NOT NULL,
    key  BLOB    NOT NULL
) STRICT;
INSERT INTO meta (key, value) VALUES ('dedup_run', 0);
