-- Tickets of which a reopening was told lately: how often, and whether they are open since. That goes into the dedup keys of
-- what is told of them.
CREATE TABLE reopenings (
    slot       INTEGER NOT NULL,
    tenant     TEXT    NOT NULL,
    ticket_id  TEXT    NOT NULL,
    times      INTEGER NOT NULL,
    open       INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    PRIMARY KEY (slot, tenant, ticket_id)
) STRICT, WITHOUT ROWID;

-- When a webhook last made a job of the kind 'confirm', by its dedup key.
CREATE TABLE confirmed (
    slot  INTEGER NOT NULL,
    key   BLOB    NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (slot, key)
) STRICT, WITHOUT ROWID;

-- Reopenings that the history does not have yet: no other row is in it.
CREATE INDEX jobs_reopen ON jobs (slot, tenant, ticket_id) WHERE kind = 'reopen';
