-- accepted_ms says since when a job is in the queue: since it was accepted or, when it was a dead letter, since it was put back.
-- Of those that were put back, first_accepted_ms says when they were accepted; it is NULL in all others.
ALTER TABLE jobs ADD COLUMN first_accepted_ms INTEGER;
ALTER TABLE dead_letters ADD COLUMN first_accepted_ms INTEGER;

-- The times in which the jobs of a tenant could not run, the last few for each reason. until_ms is NULL while one lasts.
CREATE TABLE tenant_waits (
    tenant      TEXT    NOT NULL,
    incarnation INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    since_ms    INTEGER NOT NULL,
    until_ms    INTEGER,
    PRIMARY KEY (tenant, incarnation, reason, since_ms)
) STRICT, WITHOUT ROWID;
